"""Errors as RFC 9457 tells them: `application/problem+json`."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from siglip_ingest.errors import (
    AlreadyExistsError,
    CheckpointError,
    ConfigurationError,
    DatabaseConflictError,
    DatabaseUnavailableError,
    ImageError,
    InvalidInputError,
    NotFoundError,
    SchemaVersionError,
    SiglipError,
    WorkerUnavailableError,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

# The first class that an error belongs to says its status; what isn't here is our fault: 500.
STATUSES: dict[type[Exception], int] = {
    InvalidInputError: 422,
    ImageError: 422,
    NotFoundError: 404,
    AlreadyExistsError: 409,
    DatabaseConflictError: 503,
    DatabaseUnavailableError: 503,
    SchemaVersionError: 503,
    WorkerUnavailableError: 503,
    ConfigurationError: 503,
    CheckpointError: 422,
}
# And what PostgreSQL says of a statement that failed, where no class tells: SQLSTATE and status.
SQL_STATES = {"55000": 409, "55006": 409, "42501": 403}
TITLES = {
    400: "The request can't be read",
    401: "A key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "No such method",
    406: "Not acceptable",
    409: "In conflict with what is there",
    413: "Too large",
    415: "Of the wrong kind",
    422: "Invalid input",
    429: "Too many requests",
    500: "Something went wrong here",
    503: "Not available right now",
}


class FieldError(BaseModel):
    """What is wrong with one part of a request."""

    detail: str = Field(description="What is wrong.")
    pointer: str = Field(description="Where: a JSON pointer into the body, or the name of a parameter.")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(default="about:blank", description="A URI that names the kind of problem.")
    title: str = Field(description="What kind of problem it is.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, and what to do.")
    code: str | None = Field(default=None, description="A word for programs, such as `too_large`.")
    errors: list[FieldError] | None = Field(default=None, description="Each part of the request that is wrong.")


class ProblemError(Exception):
    """An error that a route answers with.

    Args:
        status: HTTP status.
        detail: What happened, and what to do.
        code: A word for programs.
        headers: Of the answer.
    """

    def __init__(
        self, status: int, detail: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code, self.headers = status, detail, code, headers


def make_problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    errors: list[FieldError] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Make the answer that tells a problem."""
    problem = Problem(title=TITLES.get(status, "Error"), status=status, detail=detail, code=code, errors=errors)
    return JSONResponse(
        problem.model_dump(exclude_none=True), status_code=status, headers=headers, media_type=MEDIA_TYPE
    )


def add_problems(app: FastAPI) -> None:
    """Have an application answer each error with a problem."""
    app.add_exception_handler(ProblemError, _tell_problem)
    app.add_exception_handler(SiglipError, _tell_our_error)
    app.add_exception_handler(RequestValidationError, _tell_invalid_request)
    app.add_exception_handler(HTTPException, _tell_http_error)
    app.add_exception_handler(Exception, _tell_fault)


def describe_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's OpenAPI says of its errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


def _tell_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101  # what it is registered for
    return make_problem(error.status, error.detail, code=error.code, headers=error.headers)


def _tell_our_error(_request: Request, error: Exception) -> JSONResponse:
    state = str(getattr(error.__cause__, "sqlstate", None))
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), SQL_STATES.get(state, 500))
    code = error.code if isinstance(error, ImageError) else None
    if status == 500:
        logger.error("A request failed: %s", error, exc_info=error)
    headers = {"Retry-After": "1"} if status == 503 else None
    return make_problem(status, str(error), code=code, headers=headers)


def _tell_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # what it is registered for
    errors = [_describe(fault) for fault in error.errors()]
    is_unreadable = any(fault["type"] == "json_invalid" for fault in error.errors())
    detail = "; ".join(f"{each.pointer}: {each.detail}" for each in errors[:3])
    return make_problem(400 if is_unreadable else 422, detail, errors=errors)


def _describe(fault: Any) -> FieldError:
    place, *names = (str(part) for part in fault["loc"])
    if place == "body":
        pointer = "#" + "".join(f"/{name.replace('~', '~0').replace('/', '~1')}" for name in names)
    else:
        pointer = "/".join(names) or place
    return FieldError(detail=fault["msg"], pointer=pointer)


def _tell_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # what it is registered for
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"There is nothing at {request.url.path}; /openapi.json lists what there is."
    return make_problem(error.status_code, detail, headers=dict(error.headers or {}))


def _tell_fault(_request: Request, error: Exception) -> JSONResponse:
    logger.error("A request failed.", exc_info=error)
    return make_problem(500, "The server's log says what happened.")
