"""Breaks the code on purpose, one fault at a time, and checks that a test fails: `python tools/mutants.py [WORD ...]`.

Each fault is a replacement in one file of a copy of this repository, and the tests that must notice it. A fault that
all of them survive is a gap in the tests. With words, only the faults whose names hold one of them. Takes some minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".demo", "__pycache__", ".*_cache", ".hypothesis")
TIMEOUT_S = 600


@dataclass(frozen=True)
class Fault:
    """One deliberate fault.

    Attributes:
        name: What it is, in a few words.
        file: Where, from the repository's root.
        right: Text that stands there exactly once.
        wrong: What takes its place.
        tests: Arguments for pytest, of which one test at least must fail.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: str


WORKERS = "workers/siglip_workers"
SQL = "siglip_ingest/db"
SCHEMA = "migrations/siglip_migrations/sql/0004"
STREAM = "tests/workers/test_stream.py"
WATCHER = "tests/workers/test_ledger_watcher.py"
SILENCE = "tests/database/test_silence.py"
NEWEST = "migrations/siglip_migrations/sql/0009"
INGESTIONS = "tests/database/test_ingestions.py"
FAULTS = (
    Fault(
        "queries without priority over images",
        f"{WORKERS}/device.py",
        "lambda: self._queries == 0",
        "lambda: True",
        "tests/workers/test_device.py",
    ),
    Fault(
        "strays are not handed back",
        f"{WORKERS}/ingest/feeder.py",
        "items.release_strays(connection, self._worker_id, self._stream.progress.tokens)",
        "connection.execute('SELECT 1')",
        STREAM,
    ),
    Fault(
        "a claim that stalls is kept",
        f"{WORKERS}/ingest/feeder.py",
        "items.disown_items(connection, self._worker_id, list(tokens))",
        "connection.execute('SELECT 1')",
        STREAM,
    ),
    Fault(
        "a hung worker that lives on",
        f"{WORKERS}/ingest/preparing.py",
        "if since < started_before",
        "if False",
        f"{STREAM} --timeout 60",
    ),
    Fault(
        "the same content is embedded twice",
        f"{WORKERS}/ingest/contents.py",
        "known = self._contents.get(image.content_hash)",
        "known = None",
        STREAM,
    ),
    Fault(
        "more is claimed than there is room for",
        f"{WORKERS}/ingest/feeder.py",
        "limit = min(self._stream.room, self._chunk_size)",
        "limit = self._chunk_size",
        STREAM,
    ),
    Fault(
        "what is embedded is lost at the end",
        f"{WORKERS}/ingest/writer.py",
        "self._results.close(is_dropped=False)",
        "self._results.close()",
        STREAM,
    ),
    Fault(
        "silent connections are not cut",
        f"{WORKERS}/heartbeat.py",
        "                database.cut_connections()",
        "                pass",
        f"{SILENCE} --timeout 100",
    ),
    Fault(
        "a worker whose lock is gone counts as alive",
        "migrations/siglip_migrations/sql/0008/050_lost_workers.sql",
        "THEN least(worker.lease_s, 3)",
        "THEN worker.lease_s",
        WATCHER,
    ),
    Fault(
        "all images are read before the first is written",
        "siglip_ingest/ingest/enqueue.py",
        "if len(part) >= ROWS_PER_PART or",
        "if",
        INGESTIONS,
    ),
    Fault(
        "a model change leaves out images that come later",
        "siglip_ingest/ingest/enqueue.py",
        "others = {active_id, *list_kept_models(connection)} - {model_id}",
        "others = set()",
        INGESTIONS,
    ),
    Fault(
        "a worker that takes no messages lives on",
        f"{WORKERS}/ingest/ledger_watcher.py",
        "            self._stop_worker()",
        "            pass",
        WATCHER,
    ),
    Fault(
        "images locked in no order",
        f"{SQL}/items.sql",
        "ORDER BY i.collection, i.uri",
        "",
        "tests/database",
    ),
    Fault(
        "items locked in no order",
        f"{SQL}/items.sql",
        "WHERE t.item_id = ANY (%(item_ids)s::bigint[])\nORDER BY t.image_id, t.model_id",
        "WHERE t.item_id = ANY (%(item_ids)s::bigint[])\nORDER BY t.image_id DESC",
        "tests/database",
    ),
    Fault(
        "deleted labels not filtered",
        "siglip_ingest/labeling.py",
        "if still.get(label_id) == prompts}",
        "if label_id}",
        "tests/database/test_labeling.py",
    ),
    Fault(
        "kept labels of contents that changed stay",
        f"{NEWEST}/320_kept_labels.sql",
        "AND r.marked_by IS NULL\n              AND NOT EXISTS (SELECT FROM reached",
        "AND false\n              AND NOT EXISTS (SELECT FROM reached",
        "tests/database/test_kept_labels.py",
    ),
    Fault(
        "the model takes marks back",
        f"{NEWEST}/320_kept_labels.sql",
        "AND r.marked_by IS NULL\n              AND NOT EXISTS (SELECT FROM reached",
        "AND NOT EXISTS (SELECT FROM reached",
        "tests/database/test_kept_labels.py",
    ),
    Fault(
        "those who bring vectors don't wait for a change of the rules",
        f"{NEWEST}/320_kept_labels.sql",
        "PERFORM pg_advisory_xact_lock_shared(siglip.kept_labels_lock());",
        "",
        "tests/database/test_kept_labels.py",
    ),
    Fault(
        "touch_text waits for locks",
        f"{SCHEMA}/020_texts.sql",
        "FOR NO KEY UPDATE SKIP LOCKED",
        "FOR NO KEY UPDATE",
        "tests/database --timeout 60",
    ),
    Fault(
        "a dead worker keeps its images",
        "migrations/siglip_migrations/sql/0008/050_lost_workers.sql",
        "SELECT greatest(worker.seen_at",
        "SELECT true OR greatest(worker.seen_at",
        f"{WATCHER} tests/database/test_items.py",
    ),
    Fault(
        "a switch of the model queues nothing",
        f"{NEWEST}/420_switching_models.sql",
        "queued := siglip.queue_missing_images(model.model_id);",
        "queued := 0;",
        "tests/database/model_change tests/database/test_switching.py",
    ),
    Fault(
        "enqueueing does not hold the model",
        "siglip_ingest/db/models.py",
        "    connection.execute(SQL.hold_models)\n",
        "",
        "tests/database",
    ),
    Fault(
        "a vector is stored under another revision",
        f"{SCHEMA}/020_texts.sql",
        "AND m.name = store_text.name AND m.revision = store_text.revision",
        "",
        "tests/database",
    ),
    Fault(
        "a suspect is claimed beside others",
        f"{SQL}/items.sql",
        "AND t.not_before <= now() AND NOT t.is_suspect",
        "AND t.not_before <= now()",
        STREAM,
    ),
    Fault(
        "a permanent refusal is retried",
        f"{WORKERS}/outages.py",
        "if not error.is_retryable or is_ending()",
        "if is_ending()",
        f"{STREAM} --timeout 60",
    ),
    Fault(
        "a ticket wakes nobody",
        f"{WORKERS}/ingest/feeder.py",
        "if model_id == self._model_id:",
        "if False:",
        f"{STREAM} --timeout 60",
    ),
    Fault(
        "connections survive a fork",
        "siglip_ingest/process/__init__.py",
        "os.register_at_fork(after_in_child=_forget_inherited)",
        "pass",
        "tests/database/test_forks.py --timeout 120",
    ),
)


def main() -> int:
    """Try each fault; the exit status is the number of those that no test noticed."""
    words = sys.argv[1:]
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    survived = 0
    for fault in chosen:
        started = time.monotonic()
        is_noticed = try_fault(fault)
        survived += not is_noticed
        verdict = "noticed " if is_noticed else "SURVIVED"
        print(f"{verdict}  {time.monotonic() - started:5.0f} s  {fault.name}", flush=True)  # noqa: T201
    print(f"{len(chosen) - survived} of {len(chosen)} faults were noticed.")  # noqa: T201
    return survived


def try_fault(fault: Fault) -> bool:
    """Break a copy of the repository and run the tests there; True where one fails."""
    with tempfile.TemporaryDirectory(prefix="siglip-mutants-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
        path = copy / fault.file
        text = path.read_text(encoding="utf-8")
        if text.count(fault.right) != 1:
            raise SystemExit(
                f"{fault.name}: {fault.file} holds {fault.right!r} {text.count(fault.right)} times, not once."
            )
        path.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")
        paths = os.pathsep.join(str(copy / name) for name in ("", "workers", "migrations"))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow and not faults", *fault.tests.split()]
        try:
            done = subprocess.run(
                command,
                cwd=copy,
                env={**os.environ, "PYTHONPATH": paths},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
    if done.returncode not in {0, 1}:
        raise SystemExit(f"{fault.name}: pytest ended with {done.returncode}, so the tests did not run.")
    return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
