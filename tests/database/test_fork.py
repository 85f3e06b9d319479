"""A client that was used before its process forked: gunicorn --preload, multiprocessing, Celery's prefork pool.

Each in a process of its own, for forking a test's with all its threads is no good.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from siglip_ingest.db import Database
from tests.database.helpers import INFO, add_model, index_images, unit_vectors
from tests.workers.helpers import ROOT

START = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads, which is the point
from siglip_ingest import SiglipClient
from tests.database.helpers import FakeEmbedder
def in_children(count, work):
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        children.append(pid)
    return children
def wait(children):
    give_up_at = time.monotonic() + 100
    for pid in children:
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                assert status == 0, status
                break
            if time.monotonic() > give_up_at:
                os.kill(pid, 9)
                raise SystemExit("a child hangs")
            time.sleep(0.02)
"""


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + program], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, unit_vectors(20))


@pytest.mark.usefixtures("image_ids")
def test_parent_and_children_each_get_their_own_answers(database_url: str) -> None:
    run(f"""
client = SiglipClient(database_url={database_url!r}, embedder=FakeEmbedder())
texts = [f"text {{n}}" for n in range(10)]
expected = {{text: client.search_images(text) for text in texts}}
def check():
    for _ in range(20):
        for text in texts:
            assert client.search_images(text) == expected[text]
    client.close()
children = in_children(3, check)
for _ in range(20):
    for text in texts:
        assert client.search_images(text) == expected[text]
wait(children)
assert client.search_images("text 1") == expected["text 1"]
client.close()
print("ok")
""")


@pytest.mark.usefixtures("image_ids")
def test_a_fork_while_other_threads_search_hangs_nobody(database_url: str) -> None:
    run(f"""
client = SiglipClient(database_url={database_url!r}, embedder=FakeEmbedder())
expected = client.search_images("cat")
stop = threading.Event()
def search():
    while not stop.is_set():
        assert client.search_images("cat") == expected
threads = [threading.Thread(target=search) for _ in range(4)]
for thread in threads:
    thread.start()
def check():
    assert client.search_images("cat") == expected
    assert client.enqueue_images([b"an image"]).counts().total == 1
for _ in range(5):
    wait(in_children(2, check))
stop.set()
for thread in threads:
    thread.join()
client.close()
print("ok")
""")


def test_a_model_that_was_loaded_in_the_parent_is_used_in_the_child(
    database_url: str, database: Database, tiny_checkpoint: Path
) -> None:
    """torch's threads are the parent's: a child that used them would wait for ever."""
    run(f"""
import torch
torch.set_num_threads(2)
client = SiglipClient(database_url={database_url!r}, model={str(tiny_checkpoint)!r})
client._describe_model()
assert client.search_images("a text that is embedded in the parent") == []
x = torch.rand(600, 600)
(x @ x).sum()  # the parent's threads have worked
def check():
    assert client.search_images("a text that is embedded in the child") == []
    y = torch.rand(600, 600)
    (y @ y).sum()
wait(in_children(2, check))
assert client.search_images("another text of the parent") == []
client.close()
print("ok")
""")


def test_the_fake_model_is_the_one_of_the_database(database: Database, model_id: int) -> None:
    """What the programs above rely on."""
    with database.connection() as connection:
        assert add_model(connection, INFO) == model_id
