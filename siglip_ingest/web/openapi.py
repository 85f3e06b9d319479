"""/openapi.json: what FastAPI describes, with errors as they are, and with what the layers before the routes answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from siglip_ingest.web.problems import Problem, describe_responses
from siglip_ingest.web.scopes import PUBLIC, find_route

_SECURITY_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "`siglip-ingest keys create NAME` makes a key."},
    "key_header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "session": {"type": "apiKey", "in": "cookie", "name": "siglip_session"},
}
_OF_KEYS = (401, 403)
_OF_BODIES = (400, 413, 422)
_OF_ALL = (429, 503)


def describe_openapi(app: FastAPI, *, needs_keys: bool) -> None:
    """Have /openapi.json describe errors as they are, and not as FastAPI's own.

    Args:
        app: With all its routes.
        needs_keys: Whether requests need a key; then the scope of each route is told, too.
    """
    make_openapi = app.openapi

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = make_openapi()
            components = described.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            _mark_files(schemas)
            if needs_keys:
                components["securitySchemes"] = _SECURITY_SCHEMES
            for method, path, operation in _operations(described):
                _describe_operation(operation, find_route(method, path).scope or PUBLIC, needs_keys=needs_keys)
        assert app.openapi_schema is not None  # noqa: S101  # FastAPI keeps it there
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # as FastAPI documents it


def _mark_files(schema: Any) -> None:
    """Say of files what OpenAPI 3.0 said, which generators of clients look for."""
    if isinstance(schema, dict):
        if schema.get("contentMediaType") == "application/octet-stream":
            schema["format"] = "binary"
        for part in schema.values():
            _mark_files(part)
    elif isinstance(schema, list):
        for part in schema:
            _mark_files(part)


def _operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in described["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def _describe_operation(operation: dict[str, Any], scope: str, *, needs_keys: bool) -> None:
    responses = operation["responses"]
    is_guarded = scope != PUBLIC
    statuses = [*(_OF_ALL if is_guarded else ()), *(_OF_BODIES if "requestBody" in operation else ())]
    if is_guarded and needs_keys:
        statuses += _OF_KEYS
        operation["security"] = [{name: []} for name in _SECURITY_SCHEMES]
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds a key for {scope}."
    for content in responses.get("200", {}).get("content", {}).values():
        content.setdefault("schema", {"type": "string", "format": "binary"})  # of images
    if "422" in responses:  # FastAPI adds its own where there are parameters
        statuses.append(422)
    for status in sorted(set(statuses)):
        if status == 422 or str(status) not in responses:
            responses |= {str(key): value for key, value in describe_responses(status).items()}
