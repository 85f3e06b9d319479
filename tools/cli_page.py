"""Writes docs/cli.md from the commands: `python -m tools.cli_page`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from siglip_ingest.cli import cli

PAGE = Path(__file__).parents[1] / "docs/cli.md"

_INTRODUCTION = """\
# The command line

```sh
siglip-ingest --help
siglip-ingest search --help
```

All commands of `siglip-ingest`, as their `--help` says it. `make docs` makes this page from them. Exit status: 0 done,
1 an error that a sentence explains, 2 wrong usage, 130 interrupted. Variables: [settings.md](settings.md).
"""


def make_page() -> str:
    """The page as Markdown: a section a command, and for a command of commands one for each of them."""
    parts = [_INTRODUCTION]
    for name, command in cli.commands.items():
        parts += _describe(f"siglip-ingest {name}", command, level=2)
    return "\n".join(parts)


def _describe(name: str, command: click.Command, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)]).removesuffix(" COMMAND [ARGS]...")
    yield f"{'#' * level} `{name.removeprefix('siglip-ingest ')}`\n\n{_plain(command.help)}\n"
    if isinstance(command, click.Group):
        for child_name, child in command.commands.items():
            yield from _describe(f"{name} {child_name}", child, level + 1)
        return
    yield f"```text\n{usage}\n```\n"
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    if records:
        rows = [f"| `{names.replace('|', '/')}` | {_cell(meaning)} |" for names, meaning in records]
        yield "\n".join(["| option | |", "|---|---|", *rows, ""])


def _plain(text: str | None) -> str:
    """Paragraphs on lines as they are written; what click must not wrap (a backspace stands before it) as it stands."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(
        "```text\n" + part.removeprefix("\b\n") + "\n```" if part.startswith("\b") else _escape(part)
        for part in paragraphs
    )


def _escape(text: str) -> str:
    """No star outside code makes letters slant: patterns such as photos/**/*.jpg have some."""
    return "".join(
        part if number % 2 else part.replace("*", "\\*") for number, part in enumerate(re.split(r"(`[^`]*`)", text))
    )


def _cell(text: str) -> str:
    return re.sub(r" {2,}", " ", _escape(text)).replace("|", "\\|")


def main() -> None:
    """Write docs/cli.md."""
    PAGE.write_text(make_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
