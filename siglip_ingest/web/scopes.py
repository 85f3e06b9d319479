"""What each route asks of a key. A route that isn't here isn't answered where keys are needed."""

from __future__ import annotations

import re
from typing import NamedTuple

PUBLIC = "public"  # needs no key

# The routes by scope: the method, and the path as the routers write it.
ROUTES: dict[str, str] = {
    # The page and what it needs before there is a key; that the server lives.
    "GET /": PUBLIC,
    "GET /labels": PUBLIC,
    "GET /ingest": PUBLIC,
    "GET /models": PUBLIC,
    "GET /static/{path:path}": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /v1/session": PUBLIC,
    "DELETE /v1/session": PUBLIC,
    # Whoever has a key may look.
    "POST /v1/session": "search",
    "GET /metrics": "search",
    "GET /v1/collections": "search",
    "GET /v1/images": "search",
    "GET /v1/images/{image_id}": "search",
    "GET /v1/images/{image_id}/thumbnail": "search",
    "GET /v1/images/{image_id}/original": "search",
    "GET /v1/images/{image_id}/labels": "search",
    "GET /v1/images/{image_id}/location": "search",
    "POST /v1/uploads": "search",
    "POST /v1/uploads/data": "search",
    "GET /v1/uploads/{upload_id}/thumbnail": "search",
    "GET /v1/search": "search",
    "POST /v1/search": "search",
    "POST /v1/embeddings": "search",
    "GET /v1/labels": "search",
    "GET /v1/labels/{label_set:path}": "search",
    "GET /v1/labels/{label_set:path}/labels/{label:path}/histogram": "search",
    "GET /v1/labels/{label_set:path}/labels/{label:path}/images": "search",
    "GET /v1/labels/{label_set:path}/labels/{label:path}/calibrations": "search",
    "GET /v1/labels/{label_set:path}/labels/{label:path}/suggestions": "search",
    "POST /v1/labels/{label_set:path}/scores": "search",
    "GET /v1/ingestions": "search",
    "GET /v1/ingestions/{ingestion_id}": "search",
    "GET /v1/ingestions/{ingestion_id}/events": "search",
    "GET /v1/ingestions/{ingestion_id}/failures": "search",
    "GET /v1/models": "search",
    "GET /v1/models/collections": "search",
    "GET /v1/models/compare": "search",
    "GET /v1/models/compare/search": "search",
    # What changes images, labels and marks.
    "POST /v1/images": "write",
    "POST /v1/images/files": "write",
    "DELETE /v1/images/{image_id}": "write",
    "POST /v1/images/delete": "write",
    "POST /v1/images/tag": "write",
    "POST /v1/ingestions/{ingestion_id}/retry": "write",
    "POST /v1/labels": "write",
    "PATCH /v1/labels/{label_set:path}": "write",
    "DELETE /v1/labels/{label_set:path}": "write",
    "POST /v1/labels/{label_set:path}/labels": "write",
    "PATCH /v1/labels/{label_set:path}/labels/{label:path}": "write",
    "DELETE /v1/labels/{label_set:path}/labels/{label:path}": "write",
    "POST /v1/labels/{label_set:path}/labels/{label:path}/marks": "write",
    "POST /v1/labels/{label_set:path}/labels/{label:path}/calibrations": "write",
    "PUT /v1/labels/{label_set:path}/labels/{label:path}/calibrations/{version}": "write",
    # What all who search are served with.
    "POST /v1/models": "admin",
    "POST /v1/models/{model_id}/switch": "admin",
    "DELETE /v1/models/{model_id}": "admin",
}

_STRICTNESS = (PUBLIC, "search", "write", "admin")
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


class Found(NamedTuple):
    """What a request is for.

    Attributes:
        template: The route's path as it is written above; None where there is no such path.
        scope: What it asks of a key; None where the path has no such method.
        methods: Those that the path has.
    """

    template: str | None
    scope: str | None
    methods: tuple[str, ...] = ()


def name_route(method: str, template: str) -> str:
    """A route as it is written in `ROUTES`, whatever its parameters are called."""
    return f"{method} {_PARAMETER.sub('{}', template)}"


def find_route(method: str, path: str) -> Found:
    """What a request is for; HEAD is asked for what GET is.

    The names of label sets may hold slashes, so that a path may fit several routes: then the strictest scope counts.
    """
    method = "GET" if method == "HEAD" else method
    fitting = [(template, scopes) for template, pattern, scopes in _PATTERNS if pattern.fullmatch(path)]
    if not fitting:
        return Found(None, None)
    answering = [(template, scopes[method]) for template, scopes in fitting if method in scopes]
    if not answering:
        return Found(fitting[0][0], None, tuple(sorted({method for _, scopes in fitting for method in scopes})))
    scope = max((scope for _, scope in answering), key=_STRICTNESS.index)
    return Found(answering[0][0], scope, tuple(sorted(dict(fitting)[answering[0][0]])))


def _compile() -> list[tuple[str, re.Pattern[str], dict[str, str]]]:
    paths: dict[str, dict[str, str]] = {}
    for route, scope in ROUTES.items():
        method, _, template = route.partition(" ")
        paths.setdefault(template, {})[method] = scope
    found = []
    # /v1/images/delete before /v1/images/{image_id}, and the longer of two with names that hold slashes.
    for template in sorted(paths, key=lambda path: (":path" in path, -path.count("/"), path.count("{"), path)):
        parts = _PARAMETER.split(template)
        pattern = re.escape(parts[0])
        for _name, is_rest, following in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            pattern += (".*" if is_rest else "[^/]+") + re.escape(following)
        found.append((template, re.compile(pattern, re.DOTALL), paths[template]))
    return found


_PATTERNS = _compile()
