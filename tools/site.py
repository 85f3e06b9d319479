"""Builds the site of the documents into site/: `python -m tools.site` (`make site`); `--serve` shows it.

The documents link to each other, and to files of the code, as GitHub needs it. The builder wants all of it in one
folder: the documents are copied to build/site, those from elsewhere under a name of their own, and the files of the
code that are linked to beside them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

from tools.documents import (
    DOCS,
    ROOT,
    find_documents,
    find_links,
    find_title,
    replace_links,
    replace_names,
    site_name,
)

CONFIGURATION = ROOT / "zensical.toml"
SITE = ROOT / "site"

_STAGE = ROOT / "build" / "site"
_NAV_PAGE = re.compile(r'"([^"]+\.md)" \},')


def pages_of_navigation() -> list[str]:
    """The pages that zensical.toml names, in order, whether they exist or not."""
    return _NAV_PAGE.findall(CONFIGURATION.read_text(encoding="utf-8"))


def stage(folder: Path) -> None:
    """Write what the builder reads into an empty folder: its configuration and all pages."""
    documents = find_documents()
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("*.md"))
    names = {document: site_name(document) for document in documents}
    titles = {document: find_title(document.read_text(encoding="utf-8")) for document in documents}
    for document, name in names.items():
        page = folder / "docs" / name
        page.parent.mkdir(parents=True, exist_ok=True)
        text = document.read_text(encoding="utf-8")
        near = {os.path.relpath(other, document.parent): title for other, title in titles.items()}
        text = replace_names(text, near)
        targets = (_translate(target, document, names, folder / "docs") for target in find_links(text))
        page.write_text(replace_links(text, targets), encoding="utf-8")
    lines = CONFIGURATION.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not (found := _NAV_PAGE.search(line)) or found[1] in names.values()]
    (folder / CONFIGURATION.name).write_text("".join(kept), encoding="utf-8")


def build(folder: Path) -> Path:
    """Build the site in an empty folder; a warning is an error. Returns the folder of the site, below that one.

    Raises:
        RuntimeError: If the builder complains, with what it said.
    """
    stage(folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(folder / CONFIGURATION.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode != 0:
        printed = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        warnings = printed.partition("Traceback (most recent call last)")[0]  # how the builder ends after a warning
        raise RuntimeError(warnings if "issue" in warnings else printed)
    return folder / "site"


def _translate(target: str, document: Path, names: dict[Path, str], docs: Path) -> str:
    """A link of a document as its page on the site needs it; files of the code that it names are copied there."""
    path, _, anchor = target.partition("#")
    if "://" in target or not path:
        return target
    found = (document.parent / path).resolve()
    if found not in names and not found.is_relative_to(DOCS):
        if not found.is_file():
            raise RuntimeError(f"{document.relative_to(ROOT)} links to {target}, and there is no such file.")
        copy = docs / "files" / found.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, copy)
    elsewhere = f"files/{found.relative_to(ROOT)}" if not found.is_relative_to(DOCS) else str(found.relative_to(DOCS))
    here = PurePosixPath(names[document]).parent
    relative = os.path.relpath(names.get(found, elsewhere), here)
    return f"{relative}#{anchor}" if anchor else relative


def _serve(port: int) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("\n")


def main() -> int:
    """Build the site, and show it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description="Build the site of the documents.")
    parser.add_argument("--serve", action="store_true", help="show it on this machine until Ctrl-C")
    parser.add_argument("--port", type=int, default=8000, help="where to show it; 0 takes a free one")
    arguments = parser.parse_args()
    shutil.rmtree(_STAGE, ignore_errors=True)
    _STAGE.mkdir(parents=True)
    try:
        built = build(_STAGE)
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    shutil.rmtree(SITE, ignore_errors=True)
    built.rename(SITE)
    sys.stdout.write(f"Wrote {SITE / 'index.html'}\n")
    if arguments.serve:
        _serve(arguments.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
