"""Writes siglip_ingest/client/async_client.py from the methods of `SiglipClient`: `python -m tools.async_client`."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from siglip_ingest.client import SiglipClient, async_base, client
from siglip_ingest.client.base import BaseClient

MODULE = Path(client.__file__).with_name("async_client.py")

_HEAD = '''\
"""`AsyncSiglipClient`: the methods of `SiglipClient` for programs that use asyncio.

`make async` writes this file from the synchronous methods, whose parameters and docstrings these are. There is nothing
to edit here: what a method does stands in the module of its part, and how it gets into a thread in `async_base.py`.
"""

from __future__ import annotations

'''
_CLASS = '''

class AsyncSiglipClient(AsyncBaseClient):
    """Indexes and searches images in one database, from an event loop. Closes as an asynchronous context manager.

    The methods are those of `SiglipClient`, which does the work, in threads; what it would iterate over, or follow, is
    iterated over and followed with `async for` and `await`. A call that is cancelled while it waits for a thread is
    never made; one that was made goes on to its end, and what it returns is dropped: images that it queued stay queued.
    Callbacks and iterables that are given are called and read in a thread.
    """

'''
_OURS = {"ingest.Ingestion": "AsyncIngestion", "Iterator[": "AsyncIterator["}


def make_module() -> str:
    """The module's text, formatted by ruff."""
    parts = [part for part in SiglipClient.__mro__ if part is not BaseClient and issubclass(part, BaseClient)]
    trees = {part: ast.parse(Path(inspect.getfile(part)).read_text(encoding="utf-8")) for part in parts}
    methods = [method for part in reversed(parts) for method in _public_methods(part, trees[part])]
    body = _CLASS + "\n".join(map(_write_method, methods))
    meanings = {
        "AsyncBaseClient": f"from {async_base.__name__} import AsyncBaseClient",
        "AsyncIterator": "from collections.abc import AsyncIterator",
        "AsyncIngestion": "from siglip_ingest.ingest import AsyncIngestion",
        "TYPE_CHECKING": "from typing import TYPE_CHECKING",
    }
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)} | {"TYPE_CHECKING"}
    for part, tree in trees.items():
        for name, statement in _imports(tree, part.__module__):
            if name in used and meanings.setdefault(name, statement) != statement:
                raise ValueError(f"{name} means two things: {statement!r} and {meanings[name]!r}.")
    statements = {meanings[name] for name in used & meanings.keys()}
    of_types = statements & {line for tree in trees.values() for line in _imports_of_types(tree)}
    always = "".join(f"{line}\n" for line in sorted(statements - of_types))
    types_only = "".join(f"    {line}\n" for line in sorted(of_types))
    return _format(f"{_HEAD}{always}\nif TYPE_CHECKING:\n{types_only}{body}")


def _public_methods(part: type, tree: ast.Module) -> Iterator[ast.FunctionDef]:
    (definition,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == part.__name__]
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not node.decorator_list:
            yield node


def _imports(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """What a module's names mean: each with the statement that imports it; its own are imported from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, _import_from(node.module, alias)) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, f"import {_with_alias(alias)}") for alias in node.names)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            yield name, f"from {module} import {name}"
        elif isinstance(node, ast.ClassDef):
            yield node.name, f"from {module} import {node.name}"


def _imports_of_types(tree: ast.Module) -> Iterator[str]:
    """The imports below `if TYPE_CHECKING`: of what is heavy, or is nothing but a type."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (line for _, line in _imports(ast.Module(node.body, []), ""))


def _import_from(module: str | None, alias: ast.alias) -> str:
    return f"from {module} import {_with_alias(alias)}"


def _with_alias(alias: ast.alias) -> str:
    return alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"


def _write_method(method: ast.FunctionDef) -> str:
    """A method that has the same done in a thread."""
    returns = ast.unparse(method.returns) if method.returns is not None else "None"
    ours = returns
    for name, asynchronous in _OURS.items():
        ours = ours.replace(name, asynchronous)
    positional = [argument.arg for argument in method.args.args[1:]]
    call = ", ".join(
        [f"self.synchronous.{method.name}", *positional, *(f"{each.arg}={each.arg}" for each in method.args.kwonlyargs)]
    )
    if returns.startswith("Iterator["):
        kind, body = "def", f"return self._iterate({call})"
    elif returns == "ingest.Ingestion":
        kind, body = "async def", f"return self._follow(await self._run({call}))"
    elif "ingest.Ingestion" in returns:
        returned = "return plan, None if ingestion is None else self._follow(ingestion)\n"
        kind, body = "async def", f"plan, ingestion = await self._run({call})\n        {returned}"
    elif returns == "None":
        kind, body = "async def", f"await self._run({call})"
    else:
        kind, body = "async def", f"return await self._run({call})"
    docstring = ast.get_docstring(method, clean=False)
    parameters = ast.unparse(method.args)
    return f'    {kind} {method.name}({parameters}) -> {ours}:\n        """{docstring}"""\n        {body}\n'


def _format(text: str) -> str:
    """Format as `make fmt` does; imports that only look used, by the name of a parameter, are taken out."""
    for arguments in (["check", "--fix-only", "--select", "I,F401"], ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--stdin-filename", str(MODULE), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    MODULE.write_text(make_module(), encoding="utf-8")
