"""Every snippet of Python, SQL and shell in the documents is run by a test, or says why it isn't."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.database import test_sql_of_documents
from tests.project import test_docs, test_reader
from tests.project.reader import RUN
from tools.documents import DOCS, ROOT, Snippet, find_snippets

TESTS = ROOT / "tests"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
# Which languages of which page are run, by tests that go through several pages.
RUN_TOGETHER: dict[str, set[str]] = {
    "docs/sql.md": {"sql"},  # tests/database/test_examples.py: they are the examples of the comments
    "docs/extension.md": {"sh", "sql"},  # tests/migrations/test_extension_files.py
}
OTHER_WORDS = {"", "bash", "shell", "zsh", "shell-session", "py", "python3", "pycon", "psql", "postgresql", "plpgsql"}
NOT_RUN: dict[tuple[str, str], str] = {}  # (page, language): reason


def pages_of_their_own() -> Iterator[str]:
    """Pages that a test module runs as a whole: its first line says `docs/vectors.md is run ...`."""
    for file in TESTS.rglob("test_*.py"):
        said = file.read_text(encoding="utf-8").partition("\n")[0]
        if said.startswith('"""') and re.search(r"\b(is|are) run\b", said):
            yield from re.findall(r"docs/[\w/-]+\.md", said)


def languages_run() -> dict[str, set[str]]:
    found = {page: set(RUN) for page in pages_of_their_own()}
    for page in test_sql_of_documents.DOCUMENTS:
        found.setdefault(page, set()).add("sql")
    for runs in (RUN_TOGETHER, test_docs.RUN_HERE, test_reader.TYPED):
        for page, languages in runs.items():
            found.setdefault(page, set()).update(languages)
    return found


def snippets() -> list[Snippet]:
    return [snippet for page in PAGES for snippet in find_snippets(page)]


def test_every_snippet_is_run_or_says_why_not() -> None:
    runs = languages_run()
    idle = [
        f"{snippet}: {snippet.language}"
        for snippet in snippets()
        if snippet.language in RUN
        and snippet.language not in runs.get(snippet.document, ())
        and (snippet.document, snippet.language) not in NOT_RUN
    ]
    assert idle == [], "let a test run them: CONTRIBUTING.md says how"


def test_no_snippet_hides_behind_another_word() -> None:
    """Code is `sh`, `python` or `sql`, and output is `text`. docs/sql.md has signatures, which have no word."""
    hidden = [str(snippet) for snippet in snippets() if snippet.language in OTHER_WORDS]
    assert [place for place in hidden if not place.startswith("docs/sql.md")] == []


def test_every_reason_is_needed() -> None:
    lines = [line for snippet in snippets() if snippet.language in RUN for line in snippet.text.splitlines()]
    unused = [pattern for pattern in test_reader.SKIPPED if not any(re.search(pattern, line) for line in lines)]
    assert unused == []
    assert all((page, language) for page, language in NOT_RUN if (ROOT / page).exists())
    for page in [*test_reader.TYPED, *test_sql_of_documents.DOCUMENTS]:
        assert Path(ROOT / page).exists(), page
