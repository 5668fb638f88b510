"""The application: routes, answers, errors in one form, security headers, counting.

FastAPI writes the OpenAPI description from the models in `schemas`; bodies are read by `uploads`, under `limits`, and
not by FastAPI, which would take any size.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import roc
from roc.server import schemas
from roc.server.counters import CONTENT_TYPE
from roc.server.errors import STATUS_CODES, Refusal, error_body
from roc.server.keys import Keys
from roc.server.limits import Counted, Limits, drain
from roc.server.ranking import rank
from roc.server.service import Service
from roc.server.uploads import Order, Upload, read_rank, read_reward, read_score

PAGE = Path(__file__).parent / "page"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""That go with every answer."""

WHAT = {
    400: "The body cannot be taken apart",
    401: "No API key, or a wrong one",
    408: "The body took too long",
    413: "Too many bytes, images or pixels",
    415: "Neither multipart/form-data nor application/json, or an odd charset",
    422: "Not what was expected, or not one image can be read",
    503: "Busy, loading, or a process ended; Retry-After tells when to try again",
    504: "No answer in time",
}

Found = list[dict[str, Any]]
Read = Callable[[Headers, AsyncIterator[bytes], Limits], Awaitable[Order]]
Answered = TypeVar("Answered")


def create_app(
    service: Service,
    *,
    keys: Keys | None = None,
    cors_origins: Sequence[str] = (),
    on_failure: Callable[[str], None] = lambda reason: None,
) -> FastAPI:
    """The application around a service, which starts and ends with it.

    Args:
        service: that answers; it must not have been started.
        keys: that open /v1; None = open to everybody.
        cors_origins: pages elsewhere that may ask from a browser.
        on_failure: called with the reason where the model cannot be loaded.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        watch = asyncio.create_task(_report(service, on_failure))
        try:
            yield
        finally:
            watch.cancel()
            await service.close()

    # No pages of documentation: they would load scripts from elsewhere.
    app = FastAPI(
        title="roc", version=roc.__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)
    app.include_router(_pages(service))
    app.include_router(_routes(service, keys or Keys()))
    if cors_origins:
        app.add_middleware(
            _Cors,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(_Around, service=service)
    app.openapi = lambda: _description(app, service, bool(keys))  # type: ignore[method-assign]
    return app


async def _report(service: Service, on_failure: Callable[[str], None]) -> None:
    on_failure(await service.over())


# --- pages and probes -------------------------------------------------------------------------------------------------


def _pages(service: Service) -> APIRouter:
    router = APIRouter()
    unready = {503: {"model": schemas.Status, "description": "The model is not loaded"}}

    @router.head("/", include_in_schema=False)
    @router.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return _file("index.html")

    @router.get("/page/{name}", include_in_schema=False)
    async def part_of_page(name: str) -> FileResponse:
        return _file(name)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", response_model=schemas.Status, tags=["probes"])
    async def healthz() -> JSONResponse:
        """Whether the server is alive."""
        return JSONResponse({"status": "ok"})

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", response_model=schemas.Status, responses=unready, tags=["probes"])
    async def readyz() -> JSONResponse:
        """Whether the model can be asked."""
        return JSONResponse({"status": "ready" if service.ready else "loading"}, 200 if service.ready else 503)

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        tags=["probes"],
    )
    async def metrics() -> Response:
        """Counters, for Prometheus."""
        service.counters.bytes.set(service.bodies.bytes)
        return Response(service.counters.text(), headers={"Content-Type": CONTENT_TYPE})

    return router


def _file(name: str) -> FileResponse:
    # Looked up among the files there are, so that no name leads anywhere else.
    path = next((path for path in PAGE.glob("*") if path.name == name and path.suffix in MEDIA_TYPES), None)
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


# --- the routes below /v1 ---------------------------------------------------------------------------------------------


def _routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["scores"])

    def check_key(request: Request) -> None:
        if not keys.open(request.headers.get("authorization")):
            raise Refusal(
                401, "unauthorized", "no API key, or a wrong one; send the header `Authorization: Bearer KEY`"
            )

    async def answer(
        request: Request, read: Read, mode: str, put: Callable[[dict[str, Any], Order, Found], Answered]
    ) -> JSONResponse:
        """Key, body, queue, model, answer; whatever is refused, the rest of the body is taken in first."""
        chunks = request.stream()
        try:
            check_key(request)
            facts = service.check_ready()
            with Counted(service.bodies) as counted:
                length = request.headers.get("content-length")
                order = await read(request.headers, service.bodies.read(chunks, length, counted), service.limits)
                check_attributes(order, facts)
                with service.admit(len(order.images)):
                    found = await service.assess(order.images, mode)
            return JSONResponse(put(facts, order, found))
        except ClientDisconnect:
            return JSONResponse(error_body("client_closed_request", "the body ended before it was whole"), 400)
        except Refusal:
            with contextlib.suppress(ClientDisconnect):
                await drain(chunks, service.limits.bytes_per_request)
            raise

    takes_score = _takes(schemas.ScoreRequest, ("attributes", "distribution"))
    refusals = _responses(400, 401, 408, 413, 415, 422, 503, 504)

    @router.post("/score", response_model=schemas.ScoreAnswer, responses=refusals, openapi_extra=takes_score)
    async def score(request: Request) -> JSONResponse:
        """Scores of one or several images, in one forward pass."""
        return await answer(request, read_score, "score", put_scores)

    @router.post("/describe", response_model=schemas.DescribeAnswer, responses=refusals, openapi_extra=takes_score)
    async def describe(request: Request) -> JSONResponse:
        """The same with the model's words; much slower, and scores wait for its batch."""
        return await answer(request, read_score, "describe", put_scores_and_texts)

    @router.post(
        "/rank",
        response_model=schemas.RankAnswer,
        responses=refusals,
        openapi_extra=_takes(schemas.RankRequest, ("attribute",)),
    )
    async def rank_images(request: Request) -> JSONResponse:
        """Order of 2 to 64 images, and how surely each beats each other one."""
        return await answer(request, read_rank, "score", put_ranks)

    @router.post(
        "/reward",
        response_model=schemas.RewardAnswer,
        responses=refusals,
        openapi_extra=_takes(schemas.RewardRequest, ()),
    )
    async def reward(request: Request) -> JSONResponse:
        """One number per image, for training; null where there is none."""
        return await answer(request, read_reward, "score", put_rewards)

    @router.get("/models", response_model=schemas.ModelsAnswer, responses=_responses(401, 503))
    async def models(request: Request) -> JSONResponse:
        """The model, its scale, and what a request may hold."""
        check_key(request)
        return JSONResponse({"data": [model_data(service.check_ready(), service.limits)]})

    return router


def check_attributes(order: Order, facts: dict[str, Any]) -> None:
    """Refuses attributes that the model does not know.

    Raises:
        Refusal: 422.
    """
    unknown = [name for name in order.attributes or () if name not in facts["attributes"]]
    if unknown:
        told = ", ".join(repr(name[:80].encode("utf-8", "replace").decode()) for name in unknown[:5])
        known = ", ".join(facts["attributes"])
        raise Refusal(422, "unknown_attribute", f"asked for {told}; this model scores {known}")


def model_data(facts: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """What `/v1/models` tells of the model."""
    told = {name: facts[name] for name in ("id", "min_score", "max_score", "levels", "attributes", "calibrated")}
    names = ("images", "bytes_per_image", "bytes_per_request", "pixels", "pixels_per_request")
    allowed = {name: getattr(limits, name) for name in names}
    return {**told, "num_levels": len(facts["levels"]), "limits": allowed, "describe": True}


def put_scores(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """The answer of `/v1/score`.

    Raises:
        Refusal: where not one image could be used.
    """
    _check_any(order.images, found)
    wanted = list(dict.fromkeys(order.attributes or facts["attributes"]))
    return {
        **_scale(facts),
        "attributes": wanted,
        "results": [_result(*both, wanted, order.distribution) for both in zip(order.images, found, strict=True)],
    }


def put_scores_and_texts(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """The answer of `/v1/describe`.

    Raises:
        Refusal: where not one image could be used.
    """
    answer = put_scores(facts, order, found)
    for result, one in zip(answer["results"], found, strict=True):
        result["text"] = one.get("text")
    return answer


def put_ranks(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """The answer of `/v1/rank`.

    Raises:
        Refusal: where an image has no score.
    """
    attribute = order.attributes[0] if order.attributes else facts["attributes"][0]
    _check_all(order.images, found)
    scores = [one["scores"][attribute] for one in found]
    missing = [image.name for image, score in zip(order.images, scores, strict=True) if score is None]
    if missing:
        raise Refusal(422, "unscored", f"{missing[0]}: the model gave no score for {attribute}; leave it out")
    best, wins = rank([score["value"] for score in scores], [score["std"] for score in scores])
    return {
        **_scale(facts),
        "attribute": attribute,
        "order": best,
        "win_probability": wins,
        "results": [_result(*both, [attribute], False) for both in zip(order.images, found, strict=True)],
    }


def put_rewards(facts: dict[str, Any], order: Order, found: Found) -> dict[str, Any]:
    """The answer of `/v1/reward`."""
    attribute = order.attributes[0] if order.attributes else facts["attributes"][0]
    lowest, span = facts["min_score"], facts["max_score"] - facts["min_score"]
    scores = [one["scores"][attribute] if "error" not in one else None for one in found]
    values = [None if score is None else score["value"] for score in scores]
    if order.scale == "unit":
        values = [None if value is None else min(1.0, max(0.0, (value - lowest) / span)) for value in values]
    return {
        "model": facts["id"],
        "attribute": attribute,
        "scale": order.scale,
        "rewards": values,
        "errors": [one.get("error") for one in found],
    }


def _scale(facts: dict[str, Any]) -> dict[str, Any]:
    return {"model": facts["id"]} | {name: facts[name] for name in ("min_score", "max_score", "levels", "calibrated")}


def _result(image: Upload, one: dict[str, Any], wanted: Sequence[str], distribution: bool) -> dict[str, Any]:
    if "error" in one:
        return {"name": image.name, "scores": None, "error": one["error"]}
    scores: dict[str, Any] = {}
    for name in wanted:
        score = one["scores"][name]
        kept = ("value", "std", "distribution") if distribution else ("value", "std")
        scores[name] = None if score is None else {key: score[key] for key in kept}
    return {"name": image.name, "scores": scores, "error": None}


def _check_any(images: Sequence[Upload], found: Found) -> None:
    if all("error" in one for one in found):
        raise _unusable(images, found)


def _check_all(images: Sequence[Upload], found: Found) -> None:
    if any("error" in one for one in found):
        raise _unusable(images, found)


def _unusable(images: Sequence[Upload], found: Found) -> Refusal:
    """Names the images that cannot be used."""
    details = [
        {"index": i, "name": image.name, **one["error"]}
        for i, (image, one) in enumerate(zip(images, found, strict=True))
        if "error" in one
    ]
    first = details[0]
    codes = {detail["code"] for detail in details}
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    status = 413 if codes == {"too_large"} else 422
    return Refusal(status, first["code"], f"{first['name']}: {first['message']}{more}", details)


# --- errors, headers, counting ----------------------------------------------------------------------------------------


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    # What is left of the body may still be on its way: this connection is not used again.
    return JSONResponse(error.body, error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = STATUS_CODES.get(error.status_code, "error")
    message = {
        404: "there is nothing at this address; /openapi.json lists what there is",
        405: f"{request.method} is not answered here; /openapi.json lists what is",
    }.get(error.status_code, str(error.detail))
    return JSONResponse(error_body(code, message), error.status_code, dict(error.headers or {}))


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(
        error_body("internal_error", "a fault of the server; its log says more"),
        500,
        {**HEADERS, "Connection": "close"},
    )


class _Cors(CORSMiddleware):
    """Starlette's, with its refusals in the form of all others."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        told = f"{bytes(response.body).decode()}; --cors_origin of `roc serve` allows other sites"
        return JSONResponse(error_body("cors_refused", told), response.status_code, kept)


class _Around:
    """Counts and times every request, and adds the headers that go with every answer."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.counters = service.counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name.lower() for name, _ in message["headers"]}
                added = {**HEADERS, **({} if b"cache-control" in there else {"Cache-Control": "no-store"})}
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in added.items()),
                ]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            # Never the path as it came: anybody could make up any number of those.
            route = getattr(scope.get("route"), "path", "other")
            self.counters.requests.labels(route, str(status)).inc()
            self.counters.seconds.labels(route).observe(time.perf_counter() - began)


# --- OpenAPI ----------------------------------------------------------------------------------------------------------


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": schemas.ErrorAnswer, "description": WHAT[status]} for status in statuses}


def _takes(model: type[BaseModel], fields: Sequence[str]) -> dict[str, Any]:
    """The description of a body, which FastAPI cannot find out: it does not read it."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    if fields:
        kinds = {
            "attributes": {"type": "string", "description": "names separated by commas", "example": "overall"},
            "attribute": {"type": "string", "example": "overall"},
            "distribution": {"type": "string", "enum": ["true", "false"]},
        }
        files = {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1 + ("rank" in model.__name__.lower()),
        }
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "properties": {"files": files} | {name: kinds[name] for name in fields},
                "required": ["files"],
                "additionalProperties": False,
            }
        }
    return {"requestBody": {"required": True, "content": content}}


def _description(app: FastAPI, service: Service, locked: bool) -> dict[str, Any]:
    """The OpenAPI document, with the models that only bodies use, the limits, and the names of the scores."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    told = get_openapi(
        title="roc",
        version=roc.__version__,
        routes=app.routes,
        description="Scores of images, with their distributions. Every error is `{error: {code, message, details}}`.",
    )
    known = told.setdefault("components", {}).setdefault("schemas", {})
    for model in (schemas.ScoreRequest, schemas.RankRequest, schemas.RewardRequest):
        made = model.model_json_schema(ref_template="#/components/schemas/{model}")
        known |= made.pop("$defs", {}) | {model.__name__: made}
        images = made["properties"]["images"]
        images["maxItems"] = min(images.get("maxItems", service.limits.images), service.limits.images)
        if service.facts is not None:
            names = {"type": "string", "enum": service.facts["attributes"]}
            for name, kind in (("attribute", names), ("attributes", {"type": "array", "items": names, "minItems": 1})):
                if name in made["properties"]:
                    made["properties"][name] |= {"anyOf": [kind, {"type": "null"}]}
    if locked:
        told["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, methods in told["paths"].items():
            for method in methods.values():
                if path.startswith("/v1/"):
                    method["security"] = [{"key": []}]
    if service.facts is not None:
        app.openapi_schema = told
    return told
