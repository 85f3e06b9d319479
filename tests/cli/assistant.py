"""A client of the Model Context Protocol, connected to `siglip-ingest mcp`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.cli.conftest import Terminal

PROGRAM = Path(sys.executable).with_name("siglip-ingest")


class Assistant:
    """A client that is connected to a server of its own, a child process."""

    def __init__(self, portal: Any, client: Client) -> None:
        self._portal = portal
        self.client = client

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        async def call() -> Any:
            return await getattr(self.client, method)(*arguments, **options)

        return self._portal.call(call)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer of a tool."""
        answer = self.ask("call_tool", tool, arguments)
        assert not answer.is_error, answer.content[0].text
        assert json.loads(answer.content[0].text) == answer.structured_content
        return dict(answer.structured_content)

    def refusal(self, tool: str, **arguments: Any) -> str:
        """What a tool says that can't do it."""
        answer = self.ask("call_tool", tool, arguments)
        assert answer.is_error, answer.structured_content
        (block,) = answer.content
        return str(block.text)


@contextmanager
def connected(terminal: Terminal, log: Path, *options: str, **environment: str) -> Iterator[Assistant]:
    parameters = StdioServerParameters(
        command=str(PROGRAM), args=["mcp", *options], cwd=terminal.folder, env={**terminal.environment, **environment}
    )
    with log.open("w") as errors, start_blocking_portal() as portal:
        client = Client(stdio_client(parameters, errlog=errors), read_timeout_seconds=60)
        with portal.wrap_async_context_manager(client):
            yield Assistant(portal, client)
