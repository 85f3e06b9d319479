"""A reader of the documents: types what a page shows, from its first block to its last, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.documents import Snippet

BIN = Path(sys.executable).parent
RUN = ("sh", "console", "python", "sql")

_HEREDOC = {
    "python": "python -W error - <<'END OF BLOCK'",
    "sql": "siglip-ingest psql --no-psqlrc --set=ON_ERROR_STOP=1 <<'END OF BLOCK'",
}
_WITHIN_S = 240


def write_script(snippets: list[Snippet], skipped: Mapping[str, str], said_otherwise: Mapping[str, str]) -> str:
    """One shell script that runs the blocks of a page in order.

    Args:
        snippets: The page's.
        skipped: What is not run: patterns of lines of the shell, and of whole blocks of Python and SQL, with reasons.
        said_otherwise: What is replaced in each block, and by what: addresses of servers that aren't there.
    """
    parts = ["set -euo pipefail"]
    for snippet in snippets:
        if snippet.language not in RUN:
            continue
        text = snippet.text
        for said, instead in said_otherwise.items():
            text = text.replace(said, instead)
        if snippet.language in _HEREDOC:
            if not any(re.search(pattern, text) for pattern in skipped):
                parts.append(f"echo '== {snippet}'\n{_HEREDOC[snippet.language]}\n{text}END OF BLOCK")
        else:
            lines = [line for line in text.splitlines() if not any(re.search(pattern, line) for pattern in skipped)]
            parts.append("\n".join([f"echo '== {snippet}'", *lines]))
    return "\n".join(parts) + "\n"


def run_script(script: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run it in a folder; returns what it printed, and fails the test where a command fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_") or "DTYPE" in name}
    clean |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PGCLIENTENCODING": "UTF8", **environment}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
