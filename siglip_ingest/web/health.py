"""`/healthz`, `/readyz` and `/metrics`: for who watches the server."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from siglip_ingest.errors import SiglipError
from siglip_ingest.web.context import Context, InContext
from siglip_ingest.web.keys import read_credentials
from siglip_ingest.web.metrics import Metrics
from siglip_ingest.web.problems import FieldError, describe_responses, make_problem

router = APIRouter(tags=["server"])


class Status(BaseModel):
    """That all is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="Say that the process lives")
async def get_health() -> Status:
    """Answers as long as the process does; asks nothing and nobody."""
    return Status()


@router.get("/readyz", response_model=Status, responses=describe_responses(503), summary="Say whether searches work")
def get_readiness(context: InContext, request: Request) -> Status | JSONResponse:
    """Whether the database can be reached, its schema is right, a model is active, and a query can be embedded.

    Else `errors` says what isn't so; where keys are needed, why is told to who shows one. Starts and loads nothing.
    """
    faults = {name: why for name, why in context.readiness.get().items() if why is not None}
    if not faults:
        return Status()
    may_know = _may_know(context, request)
    errors = [
        FieldError(pointer=name, detail=why if may_know else "Not ready; asked with a key, this says why.")
        for name, why in faults.items()
    ]
    detail = f"Not ready: {', '.join(faults)}."
    return make_problem(503, detail, code="not_ready", errors=errors, headers={"Retry-After": "2"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Figures for Prometheus",
)
def get_metrics(request: Request) -> Response:
    """Requests, batches, caches and the ledger, in Prometheus' text format."""
    metrics = request.app.state.metrics
    assert isinstance(metrics, Metrics)  # noqa: S101  # `create_app` puts it there
    return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _may_know(context: Context, request: Request) -> bool:
    if context.ring is None:
        return True
    shown = read_credentials(request.scope)
    try:
        return shown is not None and context.ring.find(shown) is not None
    except SiglipError:  # the database may be what isn't ready
        return False
