"""The code that the documents show."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def code_blocks(document: str, language: str = "python") -> list[str]:
    """The blocks of a document, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / document).read_text(), flags=re.DOTALL)
