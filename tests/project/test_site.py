"""The site builds without a warning, has every page, and needs nothing from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tools.documents import find_documents, site_name
from tools.site import build, pages_of_navigation

_ANCHOR = re.compile(r'\b(?:id|name)="([^"]+)"')
_LINK = re.compile(r'<a\b[^>]*\bhref="([^"]+)"')
# What a browser fetches by itself, once a page is open. A link is not.
_FETCHED = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]+)"|<link\b(?![^>]*\brel="(?:canonical|prev|next)")[^>]*\bhref="([^"]+)"'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("zensical", reason="zensical isn't installed (pip install '.[docs]')")
    return build(tmp_path_factory.mktemp("site"))


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    for page in sorted(site.rglob("*.html")):
        yield page, page.read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation_once() -> None:
    listed = pages_of_navigation()
    assert sorted(listed) == sorted(set(listed))
    missing = {site_name(document) for document in find_documents()} - set(listed)
    assert missing == set(), "give them a line in zensical.toml"


def test_every_document_is_a_page(site: Path) -> None:
    for document in find_documents():
        page = (site / site_name(document)).with_suffix(".html")
        assert page.exists(), f"{document} isn't built"


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    texts = dict(pages(site))
    anchors = {page: {html.unescape(anchor) for anchor in _ANCHOR.findall(text)} for page, text in texts.items()}
    broken = []
    for page, text in texts.items():
        if page.name == "404.html":
            continue
        for target in map(html.unescape, _LINK.findall(text)):
            address = urlsplit(target)
            if address.scheme or address.netloc:
                continue
            found = (page.parent / unquote(address.path)).resolve() if address.path not in ("", ".") else page
            found = found / "index.html" if found.is_dir() else found
            if not found.exists() or (address.fragment and unquote(address.fragment) not in anchors.get(found, ())):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    for page, text in pages(site):
        fetched = [one or other for one, other in _FETCHED.findall(text)]
        assert fetched
        assert [target for target in fetched if "//" in target] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_the_search_has_every_page(site: Path) -> None:
    index = (site / "search.json").read_text(encoding="utf-8")
    for name in ("tutorial", "sql", "api", "cli", "how-to/gpu-box", "comparison"):
        assert f'"{name}.html' in index, name
