"""The code that the documents show."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

DOCS = Path(__file__).parents[3] / "docs"


def code_blocks(document: str, language: str = "python") -> list[str]:
    """The blocks of a document, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / document).read_text(), flags=re.DOTALL)


def need_function(database_url: str, name: str) -> None:
    """Skip the test where the schema has no such function."""
    with psycopg.connect(database_url) as connection:
        if connection.execute("SELECT to_regproc(%s)", [f"siglip.{name}"]).fetchone() == (None,):
            pytest.skip(f"this revision of the schema has no siglip.{name}")
