"""What the library warns of reaches whoever typed the command."""

from __future__ import annotations

import json
import re

from tests.cli.conftest import Terminal

LONG = "a red boat on a lake under a dark sky " * 10


def count_warnings(stderr: str) -> int:
    return len(re.findall(r"^Warning: .* tokens, but the model reads \d+\. Its end is dropped: ", stderr, re.MULTILINE))


def test_a_search_says_once_that_its_text_is_too_long(terminal: Terminal) -> None:
    found = terminal.run("search", LONG, "--limit", "3", "--json")
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)) == 3
    assert count_warnings(found.stderr) == 1, found.stderr
    assert "Warning" not in terminal.run("search", "a red boat").stderr


def test_classify_says_once_that_a_prompt_is_too_long(terminal: Terminal) -> None:
    picture = next((terminal.folder / "photos").glob("*.*"))
    scored = terminal.run("classify", str(picture), "--labels", f"a boat,{LONG}")
    assert scored.returncode == 0, scored.stderr
    assert count_warnings(scored.stderr) == 1, scored.stderr
    assert "Warning" not in terminal.run("classify", str(picture), "--labels", "a boat,a house").stderr
