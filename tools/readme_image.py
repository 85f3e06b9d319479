"""Takes README.md's image: the demo's contact sheet as a browser shows it. Needs Debian's `chromium`.

make demo && python tools/readme_image.py
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import click
from PIL import Image

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 990, 715  # CSS pixels: five columns, and the first two queries
TOP = 95  # below the heading


@click.command()
@click.argument("sheet", type=click.Path(path_type=Path, exists=True), default=ROOT / ".demo" / "contact-sheet.html")
@click.option("--to", "target", type=click.Path(path_type=Path), default=ROOT / "docs" / "contact-sheet.webp")
def main(sheet: Path, target: Path) -> None:
    """Write the upper part of SHEET, an HTML file, to a WebP file."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}",
                sheet.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        with Image.open(shot) as image:
            image.convert("RGB").crop((0, TOP, WIDTH, HEIGHT)).save(target, "WEBP", quality=75, method=6)
    click.echo(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
