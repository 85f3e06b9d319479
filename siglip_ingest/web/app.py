"""Puts the application together: routes, errors, the page, and what guards them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware

from siglip_ingest.client import SiglipClient
from siglip_ingest.web import (
    adding,
    embeddings,
    health,
    images,
    ingestions,
    labels,
    locating,
    models,
    reviewing,
    search,
    sessions,
    uploads,
)
from siglip_ingest.web.context import Context
from siglip_ingest.web.guard import Guard
from siglip_ingest.web.keys import KeyRing
from siglip_ingest.web.metrics import Measured, Metrics
from siglip_ingest.web.openapi import describe_openapi
from siglip_ingest.web.problems import add_problems
from siglip_ingest.web.rates import Rates
from siglip_ingest.web.security import EVERY_HOST, Gate

STATIC = Path(__file__).parent / "static"
VIEWS = ("/", "/labels", "/ingest", "/models")  # one page, which shows what its address says
ROUTERS = (
    search.router,
    uploads.router,
    images.router,
    locating.router,
    adding.router,
    reviewing.router,  # before labels, since the names of sets may hold slashes
    labels.router,
    ingestions.router,
    models.router,
    embeddings.router,
    sessions.router,
    health.router,
)

DESCRIPTION = """\
Search, label and index images. Scores are SigLIP's own: the model's probability that a text and an image belong
together, independent of each other. Errors are RFC 9457 problems.
"""


def create_app(client: SiglipClient, *, needs_keys: bool = False) -> FastAPI:
    """Make the application, for uvicorn or another ASGI server. It closes the client when it ends.

    Args:
        client: Does the work. Its settings say what is accepted.
        needs_keys: Whether requests need a key (see `scopes.ROUTES`).
    """
    ring = KeyRing(client) if needs_keys else None
    context = Context(client, ring)
    metrics = Metrics(context)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            context.close()
            client.close()

    app = FastAPI(
        title="siglip_ingest",
        description=DESCRIPTION,
        version=version("siglip-ingest"),
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.context = context
    app.state.metrics = metrics
    add_problems(app)
    for router in ROUTERS:
        app.include_router(router)
    _add_page(app)
    describe_openapi(app, needs_keys=needs_keys)
    # The last is the outermost.
    settings = client.settings
    app.add_middleware(Guard, ring=ring, rates=Rates(settings.web_rate) if settings.web_rate > 0 else None)
    if settings.web_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(settings.web_origins),
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["RateLimit", "RateLimit-Policy", "Retry-After"],
        )
    hosts = settings.web_hosts or ({EVERY_HOST} if needs_keys else set())
    app.add_middleware(Gate, hosts=hosts, origins=settings.web_origins, max_body_bytes=settings.max_upload_bytes)
    app.add_middleware(Measured, metrics=metrics)
    return app


class PageFiles(StaticFiles):
    """The gallery's files. A browser asks each time whether they changed: half of an update would be none."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Answer with a file, or that it is still the same."""
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_page(app: FastAPI) -> None:
    """The gallery: one page and its files."""
    app.mount("/static", PageFiles(directory=STATIC), name="static")

    def get_page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    for view in VIEWS:
        app.get(view, include_in_schema=False)(get_page)
