"""What a terminal shows. One that answers that it has sixels, or that it hasn't, is a pseudo-terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.results.rows import ROWS, SCORES, matches, results_of

pytest.importorskip("rich")

PROGRAM = """
from tests.unit.results.rows import matches
matches(3).show()
print("the end")
"""


def test_a_table_has_every_row_and_cuts_no_path(capsys: pytest.CaptureFixture[str]) -> None:
    results = matches(30)
    results[0] = type(results[0])(0, "file:///photos/" + "long%20name/" * 20 + "a.jpg", 0.5, 1.0)
    results.show()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image_id", "similarity", "score", "image"]
    assert lines[1].rstrip().endswith("/photos/" + "long name/" * 20 + "a.jpg")
    assert lines[30].split() == ["29", "0.500", "0.033", "/photos/29.jpg"]


@pytest.mark.parametrize("kind", ROWS)
def test_every_kind_of_row_has_a_table(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    results_of(kind).show()
    assert "7" in capsys.readouterr().out.splitlines()[1].split()


def test_rows_without_images_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    SCORES.show()
    assert [line.split() for line in capsys.readouterr().out.splitlines()][1:] == [
        ["sunset", "0.750"],
        ["<sea>", "0.250"],
    ]


def test_a_console_that_is_no_terminal_reads_no_image() -> None:
    from rich.console import Console

    def refuse(*_: object) -> bytes:
        raise AssertionError("an image was read")

    written = io.StringIO()
    Console(file=written, width=60).print(matches(2, refuse))
    matches(2, refuse).show(Console(file=written, width=60, force_terminal=True))
    assert written.getvalue().count("/photos/1.jpg") == 2


def run_in_terminal(answer: bytes, columns: int, without: str = "") -> str:
    """Run the program in a pseudo-terminal that answers the question which graphics it has."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
    pytest.importorskip("textual_image")
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 10 * columns, 800))
    hide = f"import sys; sys.modules[{without!r}] = None\n" if without else ""
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-c", hide + PROGRAM],
        cwd=Path(__file__).parents[3],
        env=environment | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    with process:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux says so at the end
                break
            if not data:
                break
            written += data
            if b"\x1b[c" in data:
                os.write(ours, answer)
    os.close(ours)
    output = written.decode(errors="replace")
    assert process.returncode == 0, output
    assert output.rstrip().endswith("the end")
    return output


@pytest.mark.parametrize(
    ("answer", "columns", "without", "sign", "count"),
    [
        (b"\x1b[?62;4c", 100, "", "\x1bP", 3),
        (b"\x1b[?62c", 100, "", "▀", 300),
        (b"\x1b[?62;4c", 0, "", "/photos/2.jpg", 1),
        (b"\x1b[?62;4c", 100, "textual_image", "To see the images here: pip install", 1),
    ],
    ids=["sixels", "half blocks", "a terminal without a size", "without textual-image"],
)
def test_a_terminal_shows_images_as_it_can(answer: bytes, columns: int, without: str, sign: str, count: int) -> None:
    output = run_in_terminal(answer, columns, without)
    assert output.count(sign) >= count
    is_table = "similarity" in output
    assert is_table == (columns == 0 or bool(without))
    assert is_table or "#2 2.jpg" in output
