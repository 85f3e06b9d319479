"""Links of the documents lead somewhere: files and headings that exist, and addresses that are well-formed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tools.documents import ROOT, find_anchors, find_documents, find_links, replace_links, replace_names

DOCUMENTS = {str(path.relative_to(ROOT)): path for path in find_documents()}


def broken_links(document: Path) -> list[str]:
    """The links of a document that lead nowhere, as far as one can tell without a network."""
    broken = []
    for target in find_links(document.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            address = urlsplit(target)
            if address.scheme != "https" or "." not in (address.hostname or "") or not target.isascii():
                broken.append(f"{target}: no address")
            continue
        found = document.parent / path if path else document
        if not found.exists():
            broken.append(f"{target}: no such file")
        elif anchor and anchor not in find_anchors(found.read_text(encoding="utf-8")):
            broken.append(f"{target}: no such heading")
    return broken


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    assert broken_links(DOCUMENTS[name]) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading: `code`\n\n[a](#a-heading-code) [b](page.md#nothing) [c](other.md) [d](ftp://example.com)\n\n"
        "`[e](no.md)`\n\n```text\n[f](no.md)\n# g\n```\n[h](#g) ![i](no.png)\n"
    )
    assert [line.partition(":")[0] for line in broken_links(page)] == [
        "page.md#nothing",
        "other.md",
        "ftp",
        "#g",
        "no.png",
    ]


def test_links_that_are_called_as_their_file_get_its_title() -> None:
    text = "[one.md](one.md#x), `[one.md](one.md)`, [here](one.md) and [two.md](two.md)"
    named = replace_names(text, {"one.md": "The first"})
    assert named == "[The first](one.md#x), `[one.md](one.md)`, [here](one.md) and [two.md](two.md)"


def test_links_are_replaced_where_they_stand() -> None:
    text = "See [a](one.md), `[b](two.md)` and [c](three.md#x)."
    assert replace_links(text, iter(["1", "3"])) == "See [a](1), `[b](two.md)` and [c](3)."
