"""The asynchronous client: many calls at once, cancelled ones, iterators, ingestions, and forks."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest import AsyncIngestion, AsyncSiglipClient, SiglipClient
from siglip_ingest.db import Database
from siglip_ingest.errors import InvalidInputError, NotFoundError, WorkerUnavailableError
from siglip_ingest.process.threads import Threads
from siglip_ingest.results import ImageResults
from tests.database.helpers import FakeEmbedder, index_images, unit_vectors
from tests.database.test_forks import run as run_program
from tests.images import make_image
from tests.programs import wait_until

WHERE: contextvars.ContextVar[str] = contextvars.ContextVar("WHERE", default="nowhere")


class SlowEmbedder(FakeEmbedder):
    """Waits until it may go on, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.texts: list[str] = []

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        self.has_begun.release()
        assert self.may_end.wait(30)
        return super().embed_texts(texts)


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    vectors = unit_vectors(20)
    return index_images(database, model_id, np.concatenate([vectors, vectors[:3]]), contents=range(23))


@pytest.fixture
def slow() -> Iterator[SlowEmbedder]:
    embedder = SlowEmbedder()
    yield embedder
    embedder.may_end.set()


def run(
    database_url: str, work: Callable[[AsyncSiglipClient], Awaitable[Any]], embedder: Any = None, **options: Any
) -> Any:
    async def with_client() -> Any:
        async with AsyncSiglipClient(
            database_url=database_url, embedder=embedder or FakeEmbedder(), **options
        ) as client:
            return await work(client)

    return asyncio.run(with_client())


def test_many_searches_at_once_get_each_their_own_answer(database_url: str, image_ids: list[int]) -> None:
    texts = [f"text {n}" for n in range(100)]

    async def search(client: AsyncSiglipClient) -> list[Any]:
        return await asyncio.gather(*(client.search_images(text, limit=5) for text in texts))

    found = run(database_url, search)
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        assert found == [client.search_images(text, limit=5) for text in texts]
    assert all(type(matches) is ImageResults for matches in found)


def test_errors_are_those_of_the_synchronous_client(database_url: str, image_ids: list[int]) -> None:
    async def search(client: AsyncSiglipClient) -> None:
        with pytest.raises(InvalidInputError, match="limit"):
            await client.search_images("a", limit=0)
        with pytest.raises(NotFoundError):
            await client.similar_images(10**9)
        with pytest.raises(InvalidInputError, match="min_similarity"):
            await anext(client.near_duplicates(0.1))
        with pytest.raises(InvalidInputError, match="max_threads"):
            AsyncSiglipClient(max_threads=0)

    run(database_url, search)


def test_the_loop_goes_on_while_a_search_waits(database_url: str, image_ids: list[int], slow: SlowEmbedder) -> None:
    async def search(client: AsyncSiglipClient) -> Any:
        task = asyncio.create_task(client.search_images("slow"))
        while not slow.has_begun.acquire(blocking=False):
            await asyncio.sleep(0.01)
        assert await client.similar_images(image_ids[0], limit=2)  # another thread
        assert not task.done()
        slow.may_end.set()
        return await task

    assert len(run(database_url, search, slow)) == 10


def test_a_call_that_is_cancelled_while_it_waits_is_never_made(
    database_url: str, image_ids: list[int], slow: SlowEmbedder
) -> None:
    async def search(client: AsyncSiglipClient) -> None:
        running = asyncio.create_task(client.search_images("running"))
        while not slow.has_begun.acquire(blocking=False):
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(client.search_images("waiting"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.05)
        for task in (running, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task  # at once, though the thread is still busy
        slow.may_end.set()
        assert len(await client.search_images("afterwards")) == 10

    run(database_url, search, slow, max_threads=1)
    assert slow.texts == ["running", "afterwards"]


def test_a_cancelled_search_gives_its_connection_back(
    database_url: str, image_ids: list[int], slow: SlowEmbedder
) -> None:
    async def search(client: AsyncSiglipClient) -> None:
        tasks = [asyncio.create_task(client.search_images(f"cancelled {n}")) for n in range(40)]
        while not slow.has_begun.acquire(blocking=False):
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        slow.may_end.set()
        found = await asyncio.gather(*(client.similar_images(image_ids[0]) for _ in range(40)))
        assert all(len(matches) == 10 for matches in found)

    run(database_url, search, slow)


def test_duplicates_are_an_asynchronous_iterator(database_url: str, image_ids: list[int]) -> None:
    async def walk(client: AsyncSiglipClient) -> tuple[list[Any], Any]:
        pairs = [pair async for pair in client.near_duplicates()]
        async for first in client.near_duplicates():
            return pairs, first  # left early
        return pairs, None

    pairs, first = run(database_url, walk)
    with SiglipClient(database_url=database_url) as client:
        assert pairs == list(client.near_duplicates())
    assert (len(pairs), first) == (3, pairs[0])


def test_an_iterator_that_is_left_or_cancelled_is_closed() -> None:
    is_closed, may_go_on = threading.Event(), threading.Event()

    def count(step: int) -> Iterator[int]:
        try:
            yield from range(0, 3 * step, step)
            may_go_on.wait(30)
            yield -1
        finally:
            is_closed.set()

    made: list[Iterator[int]] = []  # what nobody holds is closed by Python itself

    def make(step: int) -> Iterator[int]:
        made.append(count(step))
        return made[0]

    async def walk() -> None:
        threads = Threads(1)
        seen = []

        async def collect() -> None:
            async for number in threads.iterate(make, step=5):
                seen.append(number)

        task = asyncio.create_task(collect())
        while len(seen) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == [0, 5, 10]
        assert not is_closed.is_set()  # its last step still runs
        may_go_on.set()
        threads.close()

    asyncio.run(walk())
    wait_until(is_closed.is_set)


def test_a_thread_has_the_context_of_its_caller() -> None:
    async def ask() -> str:
        WHERE.set("in the request")
        return await Threads(1).run(WHERE.get)

    assert asyncio.run(ask()) == "in the request"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        make_image(60, 40, number).save(tmp_path / f"{number}.png")
    return tmp_path


def finish(database: Database, state: str, count: int) -> None:
    with database.connection() as connection:
        connection.execute(
            "UPDATE siglip.ingest_items SET state = %s WHERE item_id IN"
            " (SELECT item_id FROM siglip.ingest_items WHERE state = 'queued' LIMIT %s)",
            [state, count],
        )


def test_an_ingestion_is_followed_until_it_ends(
    database_url: str, database: Database, model_id: int, photos: Path
) -> None:
    async def ingest(client: AsyncSiglipClient) -> list[str]:
        ingestion = await client.enqueue_images(photos, progress=False)
        assert type(ingestion) is AsyncIngestion
        assert len(await ingestion.image_ids()) == (await ingestion.counts()).queued == 3
        same = await client.follow_ingestion(ingestion.ingestion_id)
        assert (same.ingestion_id, same.model_id) == (ingestion.ingestion_id, model_id)
        lines = []
        async for counts in ingestion.follow(timeout_s=30):
            lines.append(f"{counts.done} of {counts.total}")
            await asyncio.to_thread(finish, database, "done", 1)
        assert (await ingestion.wait()).done == 3
        assert await ingestion.failures() == []
        return lines

    assert run(database_url, ingest) == ["0 of 3", "1 of 3", "2 of 3", "3 of 3"]


def test_waiting_takes_no_thread_and_can_be_cancelled_or_time_out(
    database_url: str, model_id: int, photos: Path
) -> None:
    async def ingest(client: AsyncSiglipClient) -> None:
        ingestion = await client.enqueue_images(photos, progress=False)
        waiting = [asyncio.create_task(ingestion.wait()) for _ in range(5)]
        assert (await ingestion.counts()).queued == 3  # though there is only one thread
        with pytest.raises(WorkerUnavailableError, match="3 queued"):
            await ingestion.wait(timeout_s=0.2)
        for task in waiting:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert (await ingestion.counts()).queued == 3

    run(database_url, ingest, max_threads=1)


def test_a_synchronous_program_follows_an_ingestion_too(
    database_url: str, database: Database, model_id: int, photos: Path
) -> None:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        seen = []
        for counts in client.enqueue_images(photos, progress=False).follow(timeout_s=30):
            seen.append(counts.done)
            finish(database, "done", 3)
    assert seen == [0, 3]


def test_a_sync_of_a_folder_gives_its_ingestion(database_url: str, model_id: int, photos: Path) -> None:
    async def sync(client: AsyncSiglipClient) -> None:
        plan, ingestion = await client.sync_folder(photos)
        assert ingestion is not None
        assert len(plan.new) == len(await ingestion.image_ids()) == 3
        assert (await client.list_ingestions())[0][0].ingestion_id == ingestion.ingestion_id
        assert (await client.sync_folder(photos))[1] is None

    run(database_url, sync)


def test_one_client_serves_several_loops_and_can_be_used_again(database_url: str, image_ids: list[int]) -> None:
    client = AsyncSiglipClient.from_environment({"SIGLIP_DATABASE_URL": database_url}, max_threads=2)
    for _ in range(2):
        assert len(asyncio.run(client.similar_images(image_ids[0], limit=3))) == 3
        asyncio.run(client.close())
    assert client.settings.database_url == database_url


def test_it_works_under_anyio(database_url: str, image_ids: list[int]) -> None:
    anyio = pytest.importorskip("anyio")

    async def search() -> int:
        async with AsyncSiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
            found = []

            async def ask(text: str) -> None:
                found.append(await client.search_images(text))

            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(ask, f"text {number}")
            with anyio.move_on_after(0) as scope:
                await client.search_images("never")
            assert scope.cancelled_caught
            return len(found)

    assert anyio.run(search) == 5


def test_a_client_that_was_used_before_a_fork_works_in_the_child(database_url: str, image_ids: list[int]) -> None:
    run_program(
        """
import asyncio
from siglip_ingest import AsyncSiglipClient

client = AsyncSiglipClient(database_url=sys.argv[1], embedder=FakeEmbedder())

async def ask():
    found = await asyncio.gather(*(client.search_images(f"text {n}") for n in range(20)))
    return [[match.image_id for match in matches] for matches in found]

expected = asyncio.run(ask())

def search(wait):
    assert asyncio.run(ask()) == expected
    asyncio.run(client.close())

children = [Child(search) for _ in range(2)]
assert asyncio.run(ask()) == expected
for child in children:
    child.join()
assert asyncio.run(ask()) == expected
asyncio.run(client.close())
print("both are right")
""",
        database_url,
    )
