"""Writes docs/api.md from the docstrings of the public names: `python -m tools.api_page`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import siglip_ingest
from siglip_ingest import SiglipClient, errors

PAGE = Path(__file__).parents[1] / "docs/api.md"

_INTRODUCTION = """\
# The Python API

```python
import os

from siglip_ingest import SiglipClient

with SiglipClient.from_environment(os.environ) as client:
    for match in client.search_images("sunset over water", limit=3):
        print(match.uri, match.score)
```

All public names of `siglip_ingest`. `make docs` makes this page from their docstrings. `import siglip_ingest` loads
neither torch nor Celery. [usage.md](usage.md) says what the verbs are for; names of the transformers API are in
[models.md](models.md#in-python-by-the-documents-names), tables for SQLAlchemy in [sqlalchemy.md](sqlalchemy.md), and
[settings.md](settings.md) has the fields of `Settings`.
"""
_FUNCTIONS = """\
## Functions

Methods of a client that is made from the `SIGLIP_*` variables at first use (`default_client()`), with the same
parameters:
"""
_HEADINGS = {
    "BaseClient": "Making a client",
    "IndexingClient": "Indexing",
    "SearchingClient": "Searching, and recall",
    "ExploringClient": "Beyond the best matches",
    "LabelingClient": "Labels",
    "CalibratingClient": "Calibration",
    "EmbeddingClient": "Vectors of texts and images",
    "BrowsingClient": "Looking at what is stored",
    "LocatingClient": "Where a text matched",
    "DeletingClient": "Deleting, and following a folder",
    "AttachingClient": "Attached tables",
    "VectorsClient": "Vectors in and out",
    "ModelChangingClient": "Models",
}
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")
_ENTRY = re.compile(r"^    (\*{0,2}\w[\w.]*): ?(.*)$")
_WIDEST = 100  # characters of a signature on one line


def make_page() -> str:
    """The page as Markdown: functions, the client's methods, parts of queries, results, errors."""
    public = {name: getattr(siglip_ingest, name) for name in vars(siglip_ingest)["__all__"]}
    functions = sorted(name for name, value in public.items() if hasattr(value, "__wrapped__"))
    classes = [value for value in public.values() if inspect.isclass(value)]
    others = [value for name, value in public.items() if inspect.isfunction(value) and name not in functions]
    results = [
        value for value in classes if value not in (SiglipClient, siglip_ingest.Settings) and not _is_error(value)
    ]
    parts = [
        _INTRODUCTION,
        _FUNCTIONS,
        ", ".join(f"[`{name}`](#{name.lower()})" for name in functions) + ".\n",
        f"## `SiglipClient`\n\n{_translate(SiglipClient)}\n",
        *(part for base in _parts_of_client() for part in _describe_part(base)),
        "## Other functions\n",
        *(_describe(value, value.__name__) for value in sorted(others, key=lambda value: str(value.__name__))),
        "## Results, and what is handed over\n",
        *(_describe_class(value) for value in sorted(results, key=lambda value: value.__name__)),
        f"## Errors\n\n```text\n{_error_tree()}\n```\n",
        *(_describe_class(value) for value in classes if _is_error(value)),
    ]
    return "\n".join(parts)


def _parts_of_client() -> list[type]:
    """The classes that SiglipClient is made of, in the order in which people need them."""
    bases = {base.__name__: base for base in SiglipClient.__mro__ if base not in (SiglipClient, object)}
    missing = bases.keys() - _HEADINGS.keys()
    if missing:
        raise LookupError(f"Give {', '.join(sorted(missing))} a heading in tools/api_page.py.")
    return [bases[name] for name in _HEADINGS if name in bases]


def _describe_part(base: type) -> Iterator[str]:
    yield f"### {_HEADINGS[base.__name__]}\n"
    if base.__name__ == "BaseClient":
        yield f"```text\n{_sign(SiglipClient.__init__, 'SiglipClient')}\n```\n\n{_translate(base.__init__)}\n"  # type: ignore[misc]
    for name, value in vars(base).items():
        if name.startswith("_") or not (callable(value) or isinstance(value, property | classmethod)):
            continue
        if isinstance(value, property):
            yield f"#### `{name}`\n\n{_translate(value)}\n"
        else:
            yield _describe(getattr(SiglipClient, name), name, level=4)


def _describe(function: Callable[..., Any], name: str, level: int = 3) -> str:
    return f"{'#' * level} `{name}`\n\n```text\n{_sign(function, name)}\n```\n\n{_translate(function)}\n"


def _describe_class(value: type) -> str:
    parts = [f"### `{value.__name__}`\n\n{_translate(value)}\n"]
    for name, member in vars(value).items():
        if name.startswith("_") or not inspect.getdoc(member) or not callable(member):
            continue
        first = (inspect.getdoc(member) or "").partition("\n")[0]
        parts.append(f"- `{_sign(member, name, is_short=True)}`: {first}")
    return "\n".join(parts) + ("\n" if len(parts) > 1 else "")


def _is_error(value: type) -> bool:
    return issubclass(value, Exception)


def _error_tree() -> str:
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    return inspect.cleandoc(tree)


def _sign(function: Callable[..., Any], name: str, *, is_short: bool = False) -> str:
    """A signature as people write it: on one line, or an argument a line where that is too long."""
    signature = inspect.signature(function)
    arguments = [*_arguments(signature.parameters.values(), is_short=is_short)]
    result = signature.return_annotation
    returns = "" if result is signature.empty or name == "SiglipClient" else f" -> {_plain(result)}"
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= _WIDEST or is_short:
        return line
    return f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){returns}"


def _arguments(parameters: Iterable[inspect.Parameter], *, is_short: bool) -> Iterator[str]:
    is_keyword = False
    for parameter in parameters:
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword:
            is_keyword = True
            yield "*"
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        star = "**" if parameter.kind is parameter.VAR_KEYWORD else star
        annotation = "" if parameter.annotation is parameter.empty or is_short else f": {_plain(parameter.annotation)}"
        default = "" if parameter.default is parameter.empty else f" = {_show(parameter.default)}"
        yield f"{star}{parameter.name}{annotation}{default if annotation else default.replace(' ', '')}"


def _show(default: object) -> str:
    return "..." if callable(default) else repr(default)


def _plain(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:siglip_ingest|composing|ingest|collections)\.(?:[a-z_]+\.)*", "", text)


def _translate(value: object) -> str:
    """A docstring in Google's form as Markdown: its sections become lists.

    Lines stay as they are, but for entries of a section, which become items, each on one line.
    """
    lines: list[str] = []
    section = ""
    for line in (inspect.getdoc(value) or "").splitlines():
        heading, entry = _SECTION.match(line), _ENTRY.match(line)
        if heading:
            section = heading[1]
            lines.append(f"**{'Arguments' if section == 'Args' else section}**")
            lines.append("")
        elif section in ("Args", "Attributes", "Raises") and entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif section in ("Args", "Attributes", "Raises") and line.startswith("     "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip() if section else line)
    return "\n".join(lines).rstrip()


def main() -> None:
    """Write docs/api.md."""
    PAGE.write_text(make_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
