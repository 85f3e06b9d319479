"""`attach`, `detach` and `attached`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from siglip_ingest.demo.world import write_images
from tests.cli.conftest import Terminal
from tests.programs import wait_until


def attached(terminal: Terminal) -> list[dict[str, Any]]:
    done = terminal.run("attached", "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_a_table_is_followed_until_it_is_detached(terminal: Terminal, tmp_path: Path) -> None:
    write_images(tmp_path, 3, seed=76_000, size=(64, 64))
    uris = [path.as_uri() for path in sorted(tmp_path.glob("*.*"))]
    values = ", ".join(f"({n}, '{uri}', {n})" for n, uri in enumerate(uris))
    create = "CREATE TABLE public.photo (id integer PRIMARY KEY, uri text, stars integer)"
    for statement in (create, f"INSERT INTO public.photo VALUES {values}"):
        assert terminal.run("psql", "-c", statement).returncode == 0
    made = terminal.run("attach", "public.photo", "--uri-column", "uri", "--metadata-column", "stars")
    assert made.returncode == 0, made.stderr
    assert made.stdout == "3 rows with images. Workers follow the table; `siglip-ingest attached` shows how far.\n"
    wait_until(lambda: attached(terminal)[0]["embedded"] == 3, timeout_s=90)
    table = terminal.run("attached")
    assert table.stdout.splitlines()[1].split()[:4] == ["photo", "uri", "photo", "3"]
    found = terminal.run("search", "a boat", "--collection", "photo", "--filter", '{"stars": 2}', "--json")
    assert len(json.loads(found.stdout)) == 1
    gone = terminal.run("detach", "public.photo", "--delete-images")
    assert gone.stdout == "Detached. 3 images will be deleted.\n"
    assert terminal.run("attached").stdout.startswith("No table is attached")
    again = terminal.run("detach", "public.photo")
    assert again.returncode == 1
    assert "The table public.photo is not attached." in again.stderr
    assert terminal.run("psql", "-c", "DROP TABLE public.photo").returncode == 0
