"""Writes search results as one HTML file with the images inside, to open in a browser or to send."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from siglip_ingest.db import Database
from siglip_ingest.errors import ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.image_files import read_match_file
from siglip_ingest.sources import hide_secrets
from siglip_ingest.sources.settings import SourceSettings
from siglip_ingest.thumbnails import shrink_image
from siglip_ingest.types import ImageMatch

THUMBNAIL_PIXELS = 360

_TEMPLATE = Path(__file__).with_suffix(".html")


@dataclass(frozen=True, slots=True)
class Section:
    """One query and its matches. `note` says below the heading how the query was asked."""

    heading: str
    note: str
    matches: Sequence[ImageMatch]


def write_contact_sheet(
    path: Path, title: str, sections: Sequence[Section], database: Database, settings: SourceSettings
) -> None:
    """Write the sections to an HTML file that needs no other file and no network.

    An image that can't be read any more, or that the settings refuse, is shown as a grey field with its reason.

    Args:
        path: Of the file.
        title: Of the page.
        sections: One below the other.
        database: Has the images.
        settings: What may be read.

    Raises:
        InvalidInputError: If the file can't be written.
    """
    body = "\n".join(_render_section(section, database, settings) for section in sections)
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body=body)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"The file {path} can't be written: {error.strerror}.") from error


def _render_section(section: Section, database: Database, settings: SourceSettings) -> str:
    cards = (
        "\n".join(_render_match(match, database, settings) for match in section.matches)
        or "<li><figcaption>No matches.</figcaption></li>"
    )
    return f"<h2>{escape(section.heading)}</h2>\n<p>{escape(section.note)}</p>\n<ol>\n{cards}\n</ol>"


def _render_match(match: ImageMatch, database: Database, settings: SourceSettings) -> str:
    uri = hide_secrets(match.uri)
    name = escape(uri.rsplit("/", 1)[-1])
    return (
        f"<li><figure>{_render_image(match, database, settings)}<figcaption><b>{match.score:.3f}</b>"
        f"<span>similarity {match.similarity:.3f}</span>"
        f'<span title="{escape(uri)}">#{match.image_id} {name}</span></figcaption></figure></li>'
    )


def _render_image(match: ImageMatch, database: Database, settings: SourceSettings) -> str:
    try:
        content = read_match_file(
            lambda: database, match.image_id, match.uri, settings, timeout_s=settings.fetch_timeout_s
        )
        image = shrink_image(content, THUMBNAIL_PIXELS, settings.image_limits)
    except ImageError as error:
        return f'<div class="gone">{escape(error.code)}</div>'
    except ConfigurationError:  # an address on the web, and no HTTP library
        return '<div class="gone">not fetched</div>'
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
