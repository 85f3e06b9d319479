"""A client that was used before fork() works in the child and in the parent.

Each test is a program of its own: from Python 3.12 on, fork() warns where there are threads, and warnings are errors.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from siglip_ingest.db import Database
from tests.database.helpers import index_images, unit_vectors

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120  # what hangs is ended

PRELUDE = """
import contextlib, json, multiprocessing, os, pathlib, sys, threading, traceback

from siglip_ingest import SiglipClient
from siglip_ingest.db import Database, models
from siglip_ingest.search import search_by_embedding
from tests.database.helpers import FakeEmbedder, add_model, index_images, text_vector, unit_vectors

class Child:
    def __init__(self, work):
        self.wait_for, self.go_on = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.go_on)
            try:
                work(lambda: os.read(self.wait_for, 1))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(self.wait_for)

    def join(self):
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            os.write(self.go_on, b"!")
        os.close(self.go_on)
        assert os.waitpid(self.pid, 0)[1] == 0, "a child failed"
"""


def run(script: str, *arguments: object, **environment: str) -> None:
    """Run a program; it must end, and end well."""
    options = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *options, "-c", PRELUDE + script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stdout == "both are right\n"


@pytest.fixture
def filled_url(database_url: str, database: Database, model_id: int) -> str:
    """URL of a database with forty images."""
    index_images(database, model_id, unit_vectors(40))
    return database_url


SEARCHES = """
client = SiglipClient(database_url=sys.argv[1], embedder=FakeEmbedder())
texts = [f"text {n}" for n in range(20)]
expected = {text: [match.image_id for match in client.search_images(text)] for text in texts}
assert len(set(map(tuple, expected.values()))) == 20

def search(turns):
    for n in range(turns):
        text = texts[(n + os.getpid()) % 20]
        assert [match.image_id for match in client.search_images(text)] == expected[text]
        assert client.search_images(f"new {os.getpid()} {n}")
    return True
"""


def test_parent_and_children_search_at_once_and_each_gets_its_own_answers(filled_url: str) -> None:
    run(
        SEARCHES
        + """
children = [Child(lambda wait: search(100)) for _ in range(3)]
search(100)
for child in children:
    child.join()
search(20)
print("both are right")
""",
        filled_url,
    )


def test_connections_that_a_thread_has_at_the_time_of_the_fork_stay_its_own(filled_url: str) -> None:
    run(
        SEARCHES
        + """
has_begun, may_end = threading.Event(), threading.Event()
answers = []

def hold():
    with client.database.connection() as connection:
        number = connection.execute("SELECT pg_backend_pid()").fetchone()
        connection.execute("CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT 7 AS n")
        has_begun.set()
        may_end.wait()
        answers.append(connection.execute("SELECT n FROM mine").fetchone())
        answers.append(connection.execute("SELECT pg_backend_pid()").fetchone() == number)

holders = [threading.Thread(target=hold) for _ in range(2)]
for holder in holders:
    holder.start()
has_begun.wait()
busy = threading.Thread(target=search, args=[200])
busy.start()
children = [Child(lambda wait: search(30)) for _ in range(3)]
for child in children:
    child.join()
busy.join()
may_end.set()
for holder in holders:
    holder.join()
assert answers.count((7,)) == 2 and answers.count(True) == 2, answers
print("both are right")
""",
        filled_url,
    )


def test_processes_of_multiprocessing_search(filled_url: str) -> None:
    run(
        SEARCHES
        + """
context = multiprocessing.get_context("fork")
process = context.Process(target=search, args=[20])
process.start()
search(20)
process.join()
assert process.exitcode == 0
with context.Pool(2) as pool:
    assert pool.map(search, [10, 10, 10]) == [True] * 3
client.close()
print("both are right")
""",
        filled_url,
    )


def test_a_child_that_ends_as_programs_do_leaves_the_parent_s_connections_alone(filled_url: str) -> None:
    run(
        SEARCHES
        + """
with Database(sys.argv[1]) as database:
    before = database.fetch(models.SQL.list_models)
    pid = os.fork()
    if pid == 0:
        search(3)
        sys.exit(0)  # with all that Python collects and closes at its end
    assert os.waitpid(pid, 0)[1] == 0
    assert database.fetch(models.SQL.list_models) == before
    search(3)
print("both are right")
""",
        filled_url,
    )


MODEL = """
import numpy as np
from PIL import Image
from siglip_ingest import ingest, labeling
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.settings import Settings
from tests.checkpoints import write_tiny_checkpoint
import torch

assert torch.get_num_threads() > 1, "OpenMP has no threads to lose"
folder = pathlib.Path(sys.argv[2])
write_tiny_checkpoint(folder, hidden=256, image_size=128)  # large enough to be shared among threads
embedder = TorchEmbedder.from_checkpoint(folder, name=str(folder))
with Database(sys.argv[1]) as database:
    with database.connection() as connection:
        model_id = add_model(connection, embedder.info)
    images = [Image.fromarray(np.random.default_rng(n).integers(0, 255, (90, 120, 3), np.uint8)) for n in range(8)]
    index_images(database, model_id, embedder.embed_images(images))

kind = sys.argv[3]
if kind == "loaded by the client":
    client = SiglipClient(settings=Settings(database_url=sys.argv[1], home=folder / "home", model=str(folder)))
else:
    client = SiglipClient(database_url=sys.argv[1], embedder=embedder)

def search(images, texts):
    images = [[match.image_id for match in client.search_images(image, limit=4)] for image in images]
    return images, [[match.image_id for match in client.search_images(text, limit=4)] for text in texts]

known = [f"photo of a cat {n}" for n in range(4)]
expected = search(images, known)
"""


@pytest.mark.parametrize("kind", ["loaded by the client", pytest.param("given to the client", marks=pytest.mark.slow)])
def test_a_model_that_the_parent_has_used_embeds_in_the_child(database_url: str, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("torch")
    run(
        MODEL
        + """
stop = threading.Event()

def embed_meanwhile():
    while not stop.is_set():
        client.search_images(images[0])

busy = threading.Thread(target=embed_meanwhile)  # holds the model's lock at nearly any time
busy.start()
for _ in range(3):
    child = Child(lambda wait: (search(images, known) == expected and search([], ["a new one"])) or 1 / 0)
    child.join()
stop.set()
busy.join()
assert search(images, known) == expected
print("both are right")
""",
        database_url,
        tmp_path / "checkpoint",
        kind,
        OMP_NUM_THREADS="2",
    )


def test_a_child_goes_on_with_the_embedded_services_when_the_parent_has_let_go(embedded_home: Path) -> None:
    run(
        """
client = SiglipClient(home=sys.argv[1], embedder=FakeEmbedder())
with client.database.connection() as connection:
    model_id = add_model(connection)
image_ids = index_images(client.database, model_id, unit_vectors(5))
expected = [match.image_id for match in client.search_images("text")]
assert len(expected) == 5

def search(wait):
    assert [match.image_id for match in client.search_images("text")] == expected
    wait()  # until the parent has closed its client
    assert [match.image_id for match in client.search_images("text")] == expected
    client.close()

child = Child(search)
idle = Child(lambda wait: wait())  # has the parent's sockets, and does nothing
assert [match.image_id for match in client.search_images("text")] == expected
client.close()
child.join()
idle.join()
print("both are right")
""",
        embedded_home,
    )
