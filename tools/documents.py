"""What README.md and docs/ consist of: headings, links and snippets, as tests and `tools/site.py` look at them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Files outside docs/ that are pages of the site, and what they are called there.
PAGES_ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "workers/README.md": "workers.md",
    "migrations/README.md": "migrations.md",
    "benchmarks/README.md": "benchmarks.md",
}

_FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1 *$", flags=re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_LINK = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")
_NAMED_LINK = re.compile(r"\[(?P<name>[\w./-]+\.md)\]\((?P<target>[^()\s#]+)[^()\s]*\)")
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", flags=re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a document.

    Attributes:
        document: Its path below the root, `docs/usage.md`.
        line: Of its first line, from 1.
        language: As it is written after the fence; empty where nothing is.
        text: What stands in it, with its last line break.
    """

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def find_documents() -> list[Path]:
    """All documents that people read: docs/, and those at the root and beside the parts."""
    return [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in PAGES_ELSEWHERE)]


def site_name(document: Path) -> str:
    """What a document is called on the site: `how-to/s3-bucket.md`."""
    name = document.relative_to(ROOT).as_posix()
    return PAGES_ELSEWHERE.get(name) or document.relative_to(DOCS).as_posix()


def find_snippets(document: Path) -> list[Snippet]:
    """The fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    name = document.relative_to(ROOT).as_posix()
    return [
        Snippet(name, text.count("\n", 0, match.start()) + 2, match[2].strip(), match[3])
        for match in _FENCE.finditer(text)
    ]


def find_links(text: str) -> list[str]:
    """The targets of all links and images of a page, in order, without those in code."""
    return [match[0] for match in _LINK.finditer(_hide_code(text))]


def replace_links(text: str, targets: Iterator[str]) -> str:
    """The page with other targets, one for each of `find_links`."""
    places = [match.span() for match in _LINK.finditer(_hide_code(text))]
    parts, end = [], 0
    for (start, stop), target in zip(places, targets, strict=True):
        parts += [text[end:start], target]
        end = stop
    return "".join([*parts, text[end:]])


def replace_names(text: str, titles: Mapping[str, str]) -> str:
    """The page with titles in place of file names where a link's text is one: `[scores.md](scores.md)`.

    Args:
        text: The page.
        titles: Of the pages, by their links' targets without `#`.
    """
    for match in reversed(list(_NAMED_LINK.finditer(_hide_code(text)))):
        if title := titles.get(match["target"]):
            text = text[: match.start("name")] + title + text[match.end("name") :]
    return text


def find_title(text: str) -> str:
    """The first heading of a page."""
    return str(_HEADING.findall(_hide_blocks(text))[0][1])


def find_anchors(text: str) -> set[str]:
    """What links may name after `#`: each heading as GitHub writes it."""
    seen: Counter[str] = Counter()
    anchors = set()
    for _, heading in _HEADING.findall(_hide_blocks(text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


def _hide_blocks(text: str) -> str:
    """The same text with blanks in place of fenced blocks, so that all else stays where it is."""
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def _hide_code(text: str) -> str:
    return _CODE.sub(lambda match: " " * len(match[0]), _hide_blocks(text))
