"""Results in a terminal: images where it can show them, else a table. Needs rich; images need textual-image too."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console, ConsoleRenderable, Group
from rich.table import Table
from rich.text import Text

from siglip_ingest.process import how_to_install
from siglip_ingest.results.captions import format_value, get_values, list_columns, make_caption
from siglip_ingest.results.thumbnails import Missing, ReadImage, make_thumbnails
from siglip_ingest.sources.uris import format_uri, hide_secrets

if TYPE_CHECKING:
    from PIL import Image

MAX_SHOWN = 20
CARD_COLUMNS = 24
CARD_ROWS = 10
THUMBNAIL_PIXELS = 320

_LEFT_OUT = frozenset({"metadata", "scores"})  # too wide for a table

MakeImage = Callable[["Image.Image"], ConsoleRenderable]


def render_images(
    rows: Sequence[Any], row_type: type[Any], read_image: ReadImage | None, console: Console
) -> ConsoleRenderable:
    """The first images with captions, where the console is a terminal that can show them; else a table of all."""
    make_image, hint = find_image_maker(console)
    if make_image is None or not rows or read_image is None:
        table = render_table(rows, row_type)
        return Group(table, Text(hint, style="dim")) if hint else table
    return render_cards(rows, read_image, make_image, console.width)


def render_table(rows: Sequence[Any], row_type: type[Any]) -> Table:
    """A table of all rows, without what is too wide for one."""
    columns = [name for name in list_columns(row_type) if name not in _LEFT_OUT]
    columns.sort(key=lambda name: name == "uri")  # last, as the longest
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column("image" if column == "uri" else column, overflow="fold")  # a path is never cut
    for row in rows:
        values = get_values(row)
        table.add_row(
            *(
                Text(format_uri(hide_secrets(values[name])) if name == "uri" else format_value(values[name]))
                for name in columns
            )
        )
    return table


def render_cards(
    rows: Sequence[Any], read_image: ReadImage, make_image: MakeImage, console_width: int
) -> ConsoleRenderable:
    """The first images with captions, as many side by side as fit; says how many more there are."""
    shown = rows[:MAX_SHOWN]
    thumbnails = make_thumbnails(shown, read_image, lambda image: image, pixels=THUMBNAIL_PIXELS)
    cards = iter(
        [
            Group(
                Text(f"\n({image.reason})", style="dim") if isinstance(image, Missing) else make_image(image),
                Text(caption.value, style="bold"),
                Text(caption.name, style="dim", overflow="ellipsis", no_wrap=True),
                Text(""),
            )
            for image, caption in zip(thumbnails, map(make_caption, shown), strict=True)
        ]
    )
    in_a_row = max(1, min(len(shown), console_width // (CARD_COLUMNS + 1)))
    grid = Table.grid(padding=(0, 1, 0, 0))
    for _ in range(in_a_row):
        grid.add_column(width=CARD_COLUMNS, vertical="bottom")
    while line := list(islice(cards, in_a_row)):
        grid.add_row(*line)
    more = len(rows) - len(shown)
    return Group(grid, Text(f"and {more:,} more", style="dim")) if more else grid


def _is_sized_terminal(file: IO[str]) -> bool:
    """Whether a file is standard output on a terminal that knows its size; textual-image divides by it."""
    try:
        return file is sys.stdout and sys.stdout is sys.__stdout__ and os.get_terminal_size(file.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def find_image_maker(console: Console) -> tuple[MakeImage | None, str]:
    """What makes an image for this terminal, None where it shows none; and what would help, if anything does.

    textual-image asks the terminal what it can, once, when it is imported: by escape sequences on standard output.
    """
    if not console.is_terminal or console.is_dumb_terminal or not _is_sized_terminal(console.file):
        return None, ""
    try:
        from textual_image.renderable import Image as TerminalImage, UnicodeImage
    except ImportError:
        return None, f"To see the images here: {how_to_install('display')}."
    if TerminalImage is UnicodeImage:  # it found no terminal
        return None, ""

    def make_image(image: Image.Image) -> ConsoleRenderable:
        if image.width * CARD_ROWS * 2 > image.height * CARD_COLUMNS:  # a cell is twice as high as wide
            return TerminalImage(image, width=CARD_COLUMNS, height="auto")
        return TerminalImage(image, width="auto", height=CARD_ROWS)

    return make_image, ""
