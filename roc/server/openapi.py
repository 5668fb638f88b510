"""The OpenAPI description, completed with what FastAPI cannot find out: bodies that `uploads` reads, and limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

import roc
from roc.server import schemas
from roc.server.personal import PersonalRequest
from roc.server.questions import DecisionRequest
from roc.server.service import Service

WHAT = {
    400: "The body cannot be parsed",
    401: "No API key, or a wrong one",
    408: "The body took too long",
    413: "Too many bytes, images or pixels",
    415: "Neither multipart/form-data nor application/json, or an unknown charset",
    422: "Not what was expected, or no image can be read",
    503: "Busy, loading, or a process ended; Retry-After tells when to try again",
    504: "No answer in time",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describes the errors of a route."""
    return {status: {"model": schemas.ErrorAnswer, "description": WHAT[status]} for status in statuses}


def body(model: type[BaseModel], fields: Sequence[str]) -> dict[str, Any]:
    """Describes the body of a route.

    Args:
        model: Form of the body as JSON.
        fields: Names of the form fields beside the files; without any, the route takes no multipart.
    """
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    if fields or model is schemas.FeatureRequest:
        kinds = {
            "attributes": {"type": "string", "description": "names separated by commas", "example": "overall"},
            "attribute": {"type": "string", "example": "overall"},
            "distribution": {"type": "string", "enum": ["true", "false"]},
            "describe": {"type": "string", "enum": ["true", "false"]},
            "compare": {"type": "string", "enum": ["true", "false"]},
            "scale": {"type": "string", "description": schemas.DATA_SET.partition(";")[0]},
            "samples": {"type": "integer", "minimum": 1, "maximum": schemas.MOST_SAMPLES, "default": 1},
        }
        files = {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 2 if model is schemas.RankRequest else 1,
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


def description(app: FastAPI, service: Service, locked: bool) -> dict[str, Any]:
    """Builds the OpenAPI document; it is final once the model is loaded and its attributes are known.

    Args:
        app: The application.
        service: Its limits and attributes go into the document.
        locked: Whether /v1 asks for a key.
    """
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(
        title="roc",
        version=roc.__version__,
        routes=app.routes,
        description="Scores of images, with their distributions. Every error is `{error: {code, message, details}}`.",
    )
    known = document.setdefault("components", {}).setdefault("schemas", {})
    requests = (schemas.ScoreRequest, schemas.DescribeRequest, schemas.RankRequest, schemas.RewardRequest)
    requests += (schemas.FeatureRequest,)
    for model in (*requests, DecisionRequest, PersonalRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        known |= schema.pop("$defs", {}) | {model.__name__: schema}
        if model in (DecisionRequest, PersonalRequest):
            continue
        images = schema["properties"]["images"]
        images["maxItems"] = min(images.get("maxItems", service.limits.images), service.limits.images)
        if service.facts is not None:
            names = {"type": "string", "enum": service.facts["attributes"]}
            for name, kind in (("attribute", names), ("attributes", {"type": "array", "items": names, "minItems": 1})):
                if name in schema["properties"]:
                    schema["properties"][name] |= {"anyOf": [kind, {"type": "null"}]}
    if locked:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, methods in document["paths"].items():
            for method in methods.values():
                if path.startswith("/v1/"):
                    method["security"] = [{"key": []}]
    if service.facts is not None:
        app.openapi_schema = document
    return document
