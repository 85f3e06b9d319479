"""Results as HTML for notebooks: nothing outside of it is needed, and its colours are those of the page around it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from siglip_ingest.results.captions import Caption, format_value, get_values, list_columns, make_caption
from siglip_ingest.results.thumbnails import Missing, ReadImage, make_thumbnails

if TYPE_CHECKING:
    from PIL import Image

MAX_SHOWN = 50
THUMBNAIL_PIXELS = 224  # shown at 160, and sharp on screens of more pixels
WEBP_QUALITY = 60

# Styles stand in the elements: notebooks that aren't trusted, and sites that show notebooks, drop style sheets. Greys
# are half transparent, and text has the colour of its surroundings, so that light and dark themes both fit.
_LINE = "1px solid rgba(128,128,128,.3)"
_FONT = "font:13px/1.4 system-ui,sans-serif"
_GRID = f"display:grid;grid-template-columns:repeat(auto-fill,162px);gap:12px;margin:4px 0;{_FONT}"
_CARD = f"width:160px;border:{_LINE};border-radius:6px;overflow:hidden"
_MIDDLE = "display:flex;align-items:center;justify-content:center;text-align:center"
_BOX = f"width:160px;height:160px;background:rgba(128,128,128,.12);{_MIDDLE}"
_IMAGE = "display:block;max-width:160px;max-height:160px;width:auto;height:auto;margin:0"
_QUIET = "opacity:.7"
_TEXT = "padding:5px 8px 6px"
_NAME = f"{_QUIET};font-size:12px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_CELL = f"padding:3px 12px 3px 0;border-bottom:{_LINE};text-align:left;vertical-align:top"


def render_grid(rows: Sequence[Any], read_image: ReadImage | None) -> str:
    """A grid of the first images with their scores; says how many more there are."""
    if not rows:
        return _note("No images.")
    shown = rows[:MAX_SHOWN]
    images = make_thumbnails(shown, read_image, _to_data_url, pixels=THUMBNAIL_PIXELS)
    cards = [_render_card(make_caption(row), image) for row, image in zip(shown, images, strict=True)]
    return f'<div style="{_GRID}">\n' + "\n".join(cards) + f"\n</div>{_note_more(rows)}"


def render_table(rows: Sequence[Any], row_type: type[Any]) -> str:
    """A table of the first rows, of those that are no images."""
    columns = list_columns(row_type)
    head = "".join(f'<th style="{_CELL}">{escape(column)}</th>' for column in columns)
    body = "\n".join(
        "<tr>"
        + "".join(f'<td style="{_CELL}">{escape(format_value(value))}</td>' for value in get_values(row).values())
        + "</tr>"
        for row in rows[:MAX_SHOWN]
    )
    return f'<table style="border-collapse:collapse"><tr>{head}</tr>\n{body}\n</table>{_note_more(rows)}'


def _render_card(caption: Caption, image: str | Missing) -> str:
    if isinstance(image, Missing):
        content = f'<span style="{_QUIET}" title="{escape(image.message)}">{escape(image.reason)}</span>'
    else:
        content = f'<img alt="{escape(caption.name)}" src="{image}" style="{_IMAGE}">'
    return (
        f'<div style="{_CARD}" title="{escape(caption.details)}"><div style="{_BOX}">{content}</div>'
        f'<div style="{_TEXT}"><b>{escape(caption.value)}</b>'
        f'<div style="{_NAME}">{escape(caption.name)}</div></div></div>'
    )


def _note_more(rows: Sequence[Any]) -> str:
    more = len(rows) - MAX_SHOWN
    return _note(f"and {more:,} more") if more > 0 else ""


def _note(text: str) -> str:
    return f'<div style="{_QUIET};margin:6px 0;{_FONT}">{text}</div>'


def _to_data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=WEBP_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
