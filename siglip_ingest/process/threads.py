"""Runs what blocks in a few threads, so that an event loop of asyncio doesn't wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from siglip_ingest import process

P = ParamSpec("P")
T = TypeVar("T")


class _End:
    """Stands for the end of an iterator: a future can't carry StopIteration."""


class Threads:
    """A bounded number of threads that any event loop of this process may use; further calls wait in their order.

    They are started when they are needed. A process that is forked off starts its own.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        process.register_for_forks(self)

    async def run(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function in a thread, with the context variables of the caller.

        If the caller is cancelled before the call has begun, it never begins; one that has begun goes on to its end in
        its thread, and what it returns is dropped.
        """
        call = partial(contextvars.copy_context().run, function, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self._get_executor(), call)

    async def iterate(
        self, function: Callable[P, Iterator[T]], *arguments: P.args, **options: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """Walk through what a function returns, each step in a thread; an iterator that is left early is closed."""
        iterator = await self.run(function, *arguments, **options)
        lock = threading.Lock()  # a step whose caller was cancelled goes on: its iterator can't be closed meanwhile

        def advance() -> T | _End:
            with lock:
                return next(iterator, _End())

        def close() -> None:
            with lock:
                getattr(iterator, "close", lambda: None)()

        try:
            while not isinstance(item := await self.run(advance), _End):
                yield item
        finally:
            with contextlib.suppress(RuntimeError):  # the interpreter ends
                self._get_executor().submit(close)

    def close(self) -> None:
        """Let the threads end once they have done what was asked for. Further calls start new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def forget_inherited(self) -> None:
        """In a process that was forked off: the threads of the parent aren't here."""
        self._lock = threading.Lock()
        process.keep_alive(self._executor)
        self._executor = None

    def _get_executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._max_threads, thread_name_prefix="siglip-async")
            return self._executor
