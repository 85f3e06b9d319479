"""How tests take documents apart: snippets by language, SQL by statement."""

from __future__ import annotations

import re

from tools.documents import ROOT, Snippet, find_snippets


def snippets_of(document: str, language: str) -> list[Snippet]:
    """The blocks of a document (its path below the root) in a language, in order."""
    return [snippet for snippet in find_snippets(ROOT / document) if snippet.language == language]


def statements_of(sql: str) -> list[str]:
    """The statements of a block of SQL, without the comments behind them."""
    parts = [part.strip() for part in re.split(r";[^\n;]*(?:\n|$)", sql)]
    return [part for part in parts if re.sub(r"--[^\n]*", "", part).strip()]
