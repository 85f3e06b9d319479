"""`/v1/session`: a browser shows its key once, and gets a cookie, which goes with images too."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from siglip_ingest.db import keys
from siglip_ingest.db.keys import ValidKey
from siglip_ingest.web.context import InContext
from siglip_ingest.web.guard import KEY_OF_REQUEST
from siglip_ingest.web.keys import COOKIE, Credentials, read_credentials
from siglip_ingest.web.problems import describe_responses

router = APIRouter(prefix="/v1/session", tags=["server"])

SESSION_S = 24 * 3600


class Session(BaseModel):
    """What who asks may do."""

    needs_key: Annotated[bool, Field(description="Whether this server asks for keys.")]
    name: Annotated[str | None, Field(description="Whose key it is; null without one.")]
    scope: Annotated[str | None, Field(description="`search`, `write` or `admin`; null where nothing is allowed yet.")]


@router.get("", responses=describe_responses(503), summary="Say what the asker may do")
def get_session(context: InContext, request: Request) -> Session:
    """Whether a key is needed, and what the one that was shown, by a header or a session's cookie, allows."""
    if context.ring is None:
        return Session(needs_key=False, name=None, scope="admin")
    shown = read_credentials(request.scope)
    return _describe(None if shown is None else context.ring.find(shown))


@router.post("", responses=describe_responses(401, 503), summary="Open a browser's session")
def open_session(context: InContext, request: Request, response: Response) -> Session:
    """Show a key (`Authorization: Bearer ...`) and get a cookie that stands for it for a day.

    For pages, whose `<img>` can't send headers. The cookie holds no key; scripts can't read it, and other sites' pages
    can't have it sent. It ends with the key.
    """
    key = request.scope.get(KEY_OF_REQUEST)
    if context.ring is None or not isinstance(key, ValidKey):
        return Session(needs_key=False, name=None, scope="admin")
    shown = read_credentials(request.scope)
    if shown is not None and not shown.is_session:
        seconds = SESSION_S if key.valid_s is None else min(SESSION_S, key.valid_s)
        with context.client.database.connection() as connection:
            secret = keys.open_session(connection, key.key_id, seconds)
        response.set_cookie(
            COOKIE,
            secret,
            max_age=int(seconds),
            path=request.scope.get("root_path") or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
    return _describe(key)


@router.delete("", status_code=204, responses=describe_responses(503), summary="End a browser's session")
def close_session(context: InContext, request: Request) -> Response:
    """End the session of the cookie that is sent, and take the cookie back."""
    secret = request.cookies.get(COOKIE)
    if context.ring is not None and secret is not None and secret.startswith(keys.SESSION_PREFIX):
        context.ring.forget(Credentials(secret, is_session=True))
        with context.client.database.connection() as connection:
            keys.close_session(connection, secret)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path=request.scope.get("root_path") or "/", httponly=True, samesite="strict")
    return response


def _describe(key: ValidKey | None) -> Session:
    return Session(needs_key=True, name=key and key.name, scope=key and key.scope)
