"""The application: its routes, and errors in one form.

FastAPI writes the OpenAPI description from the models in `schemas`. Bodies are read by `uploads` under the limits and
not by FastAPI, which would accept any size.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

import roc
from roc.server import openapi, schemas
from roc.server.answers import (
    model_data,
    model_entry,
    put_features,
    put_ranks,
    put_rewards,
    put_scores,
    put_scores_and_texts,
)
from roc.server.counters import CONTENT_TYPE
from roc.server.decisions import ROUTES, detail, put_decisions
from roc.server.errors import STATUS_CODES, Refusal, error_body
from roc.server.exchange import Exchange
from roc.server.hosts import Hosts
from roc.server.keys import Keys
from roc.server.middleware import HEADERS, Around, Cors
from roc.server.personal import PersonalAnswer, PersonalRequest
from roc.server.questions import DecisionRequest, read_decision
from roc.server.service import Service
from roc.server.static import page_routes
from roc.server.uploads import read_describe, read_features, read_rank, read_reward, read_score

_ERRORS = openapi.responses(400, 401, 408, 413, 415, 422, 503, 504)


def create_app(
    service: Service,
    *,
    keys: Keys | None = None,
    cors_origins: Sequence[str] = (),
    hosts: Hosts | None = None,
    on_failure: Callable[[str], None] = lambda reason: None,
) -> FastAPI:
    """Builds the application around a service, which starts and ends with it.

    Args:
        service: Answers the requests; it must not have been started.
        keys: Keys that open /v1; None = open to everybody.
        cors_origins: Other sites whose pages may ask from a browser.
        hosts: Names under which it may be asked; None = any, if there are keys, else those of this machine.
        on_failure: Called with the reason if the model cannot be loaded.
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

    # No documentation pages: they would load scripts from elsewhere.
    app = FastAPI(
        title="roc", version=roc.__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)
    app.include_router(page_routes())
    app.include_router(_probes(service))
    app.include_router(_routes(service, keys or Keys()))
    if cors_origins:
        app.add_middleware(
            Cors,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Around, counters=service.counters, hosts=hosts or Hosts(("*",) if keys else ()))
    app.openapi = lambda: openapi.description(app, service, bool(keys))  # type: ignore[method-assign]
    return app


async def _report(service: Service, on_failure: Callable[[str], None]) -> None:
    on_failure(await service.over())


def _probes(service: Service) -> APIRouter:
    """Builds the routes for those who run the server: /healthz, /readyz, /metrics."""
    router = APIRouter(tags=["probes"])
    unready = {503: {"model": schemas.Status, "description": "The model is not loaded"}}

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", response_model=schemas.Status)
    async def healthz() -> JSONResponse:
        """Whether the server is alive."""
        return JSONResponse({"status": "ok"})

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", response_model=schemas.Status, responses=unready)
    async def readyz() -> JSONResponse:
        """Whether images can be scored now."""
        return JSONResponse({"status": "ready" if service.ready else "loading"}, 200 if service.ready else 503)

    text = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @router.get("/metrics", response_class=Response, responses=text)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        service.counters.bytes.set(service.bodies.bytes)
        return Response(service.counters.text(), headers={"Content-Type": CONTENT_TYPE})

    return router


def _routes(service: Service, keys: Keys) -> APIRouter:
    """Builds the routes below /v1."""
    router, exchange = APIRouter(prefix="/v1", tags=["scores"]), Exchange(service, keys)
    takes_score = openapi.body(schemas.ScoreRequest, ("attributes", "distribution", "scale"))
    takes_describe = openapi.body(schemas.DescribeRequest, ("attributes", "distribution", "samples"))
    takes_rank = openapi.body(schemas.RankRequest, ("attribute", "describe", "compare", "scale"))
    takes_reward = openapi.body(schemas.RewardRequest, ())

    @router.post("/score", response_model=schemas.ScoreAnswer, responses=_ERRORS, openapi_extra=takes_score)
    async def score(request: Request) -> JSONResponse:
        """Scores one or several images in one forward pass."""
        return await exchange.score(request, read_score, "score", put_scores)

    @router.post("/describe", response_model=schemas.DescribeAnswer, responses=_ERRORS, openapi_extra=takes_describe)
    async def describe(request: Request) -> JSONResponse:
        """Scores images and has the model describe them, or reason first where it was taught to; much slower."""
        return await exchange.score(request, read_describe, "describe", put_scores_and_texts)

    @router.post("/rank", response_model=schemas.RankAnswer, responses=_ERRORS, openapi_extra=takes_rank)
    async def rank_images(request: Request) -> JSONResponse:
        """Ranks 2 to 64 images, tells how likely each beats each other one and, where asked, why."""
        return await exchange.score(request, read_rank, "score", put_ranks)

    @router.post("/reward", response_model=schemas.RewardAnswer, responses=_ERRORS, openapi_extra=takes_reward)
    async def reward(request: Request) -> JSONResponse:
        """One number per image, for training; null where there is none."""
        return await exchange.score(request, read_reward, "score", put_rewards)

    _add_decisions(router, exchange)
    _add_personal(router, exchange)

    @router.get("/models", response_model=schemas.ModelsAnswer, responses=openapi.responses(401, 503))
    async def models(request: Request) -> JSONResponse:
        """The model, its scale, and what a request may hold."""
        facts = exchange.check(request)
        return JSONResponse({"data": [model_data(facts, service.limits)], "models": [model_entry(facts)]})

    return router


def _add_decisions(router: APIRouter, exchange: Exchange) -> None:
    """Adds the routes of decision clients, which are one under two names."""
    about = {"responses": _ERRORS, "openapi_extra": openapi.body(DecisionRequest, ()), "tags": ["decisions"]}

    @router.post("/systemone", response_model=schemas.DecisionAnswer, **about)
    @router.post("/decisions", response_model=schemas.DecisionAnswer, **about)
    async def decide(request: Request) -> JSONResponse:
        """Answers `score` questions about images in the format of decision models."""
        return await exchange.score(request, read_decision, "score", put_decisions)


def _add_personal(router: APIRouter, exchange: Exchange) -> None:
    """Adds the routes for one's own taste."""
    takes_features, takes_opinions = openapi.body(schemas.FeatureRequest, ()), openapi.body(PersonalRequest, ())
    about = {"responses": _ERRORS, "tags": ["personal"]}

    @router.post("/features", response_model=schemas.FeatureAnswer, openapi_extra=takes_features, **about)
    async def features(request: Request) -> JSONResponse:
        """What the score head reads of images, as text for /v1/personalize."""
        return await exchange.score(request, read_features, "features", put_features)

    @router.post("/personalize", response_model=PersonalAnswer, openapi_extra=takes_opinions, **about)
    async def personalize(request: Request) -> JSONResponse:
        """Moves scores towards one's own ratings or pairs, and says which pairs to compare next."""
        return await exchange.personalize(request)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    told = {"detail": detail(error)} if getattr(request.scope.get("route"), "path", None) in ROUTES else {}
    return JSONResponse(error.body | told, error.status, error.headers)


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
        error_body("internal_error", "an error inside the server; its log says more"),
        500,
        {**HEADERS, "Connection": "close"},
    )
