"""`locate`: where in an image a text matched."""

from __future__ import annotations

import math
import os

import click
import numpy as np

from siglip_ingest.cli.output import json_option, local_path, print_json
from siglip_ingest.client import SiglipClient
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.locating import Location
from siglip_ingest.search import is_address

SHADES = " .:-=+*#%@"  # from nothing to the strongest
CHARACTER_ASPECT = 2.0  # a character of a terminal is about twice as high as wide


@click.command()
@click.argument("image")
@click.argument("text")
@click.option("--output", metavar="FILE", help="Write the image with the map drawn over it: .png, .jpg, .webp, ...")
@json_option
def locate(image: str, text: str, output: str | None, as_json: bool) -> None:
    """Show where in an IMAGE a TEXT matched.

    IMAGE is a file, an address, or the id of an indexed image: siglip-ingest locate photo.jpg "a red boat"
    """
    path = local_path(image)
    is_id = image.isascii() and image.isdigit() and not path.exists()
    with SiglipClient.from_environment(os.environ) as client:
        location = client.locate(int(image) if is_id else image if is_address(image) else path, text)
    if output is not None:
        _write(location, output)
    if as_json:
        print_json(_to_json(location))
        return
    x, y = location.peak
    click.echo(f"Strongest at {x:.0%} from the left and {y:.0%} from the top; score {location.score:.4f}.")
    if output is None:
        for line in draw_characters(location):
            click.echo(line)


def draw_characters(location: Location) -> list[str]:
    """The map in a frame, a line for each row of it, in about the image's own shape."""
    rows, columns = location.values.shape
    wide = location.image.width / location.image.height * rows / columns * CHARACTER_ASPECT
    repeats = max(1, round(wide))
    levels = np.rint(location.values * (len(SHADES) - 1)).astype(int)
    edge = "+" + "-" * (columns * repeats) + "+"
    return [edge, *("|" + "".join(SHADES[level] * repeats for level in row) + "|" for row in levels), edge]


def _write(location: Location, output: str) -> None:
    try:
        location.overlay().save(local_path(output))
    except (OSError, ValueError) as error:  # Pillow's, where the name says no format
        raise InvalidInputError(f"{output!r} can't be written ({error}). Name a file such as map.png.") from error
    click.echo(f"Wrote {output}", err=True)


def _to_json(location: Location) -> dict[str, object]:
    rows, columns = location.values.shape
    x, y = location.peak
    return {
        "rows": rows,
        "columns": columns,
        "values": [[round(float(value), 4) for value in row] for row in location.values],
        "peak": {"x": x, "y": y},
        "similarity": location.similarity,
        "score": None if math.isnan(location.score) else location.score,
    }
