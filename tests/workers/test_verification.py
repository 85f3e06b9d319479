"""What a worker looks at before it serves, and what makes it refuse."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from siglip_ingest.db import Database, models
from siglip_ingest.errors import CheckpointError, VerificationError
from siglip_ingest.settings import Settings
from siglip_workers.runtime import make_runtime
from tests.workers.helpers import WorkerProcess, fetch_all

StartWorker = Callable[..., WorkerProcess]
Start = Callable[[Path], None]
COMMIT = "0123456789" * 4


@pytest.fixture
def snapshot(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A copy that is laid out as in the hub's cache: its revision is a commit's, whatever the files hold."""
    folder = tmp_path / "models--somebody--tiny" / "snapshots" / COMMIT
    shutil.copytree(tiny_checkpoint, folder)
    return folder


@pytest.fixture
def start(database_url: str, broker_url: str) -> Start:
    """Put a worker's parts together in this process, as far as it goes before it consumes tasks."""

    def make(folder: Path, **settings: Any) -> None:
        make_runtime(
            Settings(
                database_url=database_url,
                broker_url=broker_url,
                model=str(folder),
                device="cpu",
                **{"dtype": "float32", **settings},
            )
        ).close()

    return make


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensor(folder: Path, name: str, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, name: change(tensors[name])}, folder / "model.safetensors")


def test_the_first_start_of_a_revision_stores_its_figures_and_the_next_ones_compare(
    database: Database, snapshot: Path, start: Callable[..., None]
) -> None:
    start(snapshot)
    ((stored,),) = fetch_all(database, "SELECT figures FROM siglip.models")
    assert isinstance(stored, dict)
    assert (stored["revision"], len(stored["texts"]), list(stored["images"])) == (COMMIT, 2, ["test_card"])
    start(snapshot)
    start(snapshot, dtype="bfloat16")
    assert fetch_all(database, "SELECT figures FROM siglip.models") == [(stored,)]


def test_a_worker_whose_figures_differ_ends_with_a_sentence(
    snapshot: Path, start: Start, start_worker: StartWorker
) -> None:
    start(snapshot)
    change_json(snapshot / "tokenizer_config.json", do_lower_case=False)
    worker = start_worker(model=snapshot, wait=False)
    assert worker.wait() == 1
    assert "text settings: is_lower_case: found False, expected True; tokens of 'A Photo, two cats!'" in worker.log
    assert f"siglip-ingest verify {snapshot} --update --database" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(
            lambda folder: change_tensor(folder, "text_model.head.weight", lambda rows: rows[::-1].copy()),
            "vector of 'A Photo, two cats!' (cosine) is",
            id="other weights of the text tower",
        ),
        pytest.param(
            lambda folder: change_tensor(folder, "vision_model.head.layernorm.weight", lambda row: -row),
            "vector of test_card (cosine) is",
            id="other weights of the vision tower",
        ),
        pytest.param(
            lambda folder: change_tensor(folder, "logit_bias", lambda row: row + 1),
            "logit_bias is",
            id="another bias",
        ),
        pytest.param(
            lambda folder: change_json(folder / "tokenizer_config.json", do_lower_case=False),
            "text settings: is_lower_case: found False, expected True; tokens of 'A Photo, two cats!': found",
            id="another tokenizer",
        ),
    ],
)
def test_what_differs_is_named(snapshot: Path, start: Start, change: Callable[[Path], None], sentence: str) -> None:
    start(snapshot)
    change(snapshot)
    with pytest.raises(VerificationError) as caught:
        start(snapshot)
    assert sentence in str(caught.value)


def test_a_checkpoint_that_is_not_what_is_published_under_its_name_is_refused(
    tmp_path: Path, database: Database, snapshot: Path, start: Start
) -> None:
    """The name on the hub is that of the NaFlex checkpoint whose logit_scale is known; the files are others."""
    folder = tmp_path / "hub" / "models--google--siglip2-base-patch16-naflex" / "snapshots" / COMMIT
    shutil.copytree(snapshot, folder)
    with pytest.raises(VerificationError, match=r"not what is published as google/siglip2-base-patch16-naflex: logit_"):
        start(folder)
    assert fetch_all(database, "SELECT count(*) FROM siglip.models WHERE dimension IS NOT NULL") == [(0,)]


def test_weights_that_give_no_numbers_are_refused(snapshot: Path, start: Start) -> None:
    change_tensor(snapshot, "vision_model.post_layernorm.weight", lambda row: row * np.float32(np.nan))
    with pytest.raises(CheckpointError, match="aren't finite"):
        start(snapshot)


def test_figures_of_the_database_that_can_t_be_read_are_said_to_be_replaceable(
    database: Database, snapshot: Path, start: Start
) -> None:
    start(snapshot)
    with database.connection() as connection:
        models.store_model_figures(connection, 1, {"of": "another version"}, replace=True)
    with pytest.raises(VerificationError, match=r"can't be read .* --update --database"):
        start(snapshot)


def test_workers_in_int8_and_in_bfloat16_stand_side_by_side(database: Database, snapshot: Path, start: Start) -> None:
    pytest.importorskip("onnxruntime")
    start(snapshot, dtype="bfloat16")
    start(snapshot, dtype="int8")
    start(snapshot, dtype="int8")
    ((arithmetics,),) = fetch_all(database, "SELECT arithmetics FROM siglip.models")
    assert isinstance(arithmetics, list)
    assert (arithmetics[0], len(arithmetics)) == ("bfloat16", 2)
    assert arithmetics[1].startswith("int8 (ONNX Runtime ")
    with database.connection() as connection:
        assert [row.arithmetics for row, _ in models.list_models(connection)] == [tuple(arithmetics)]


@pytest.mark.parametrize("name", ["text_model.head.weight", "vision_model.head.layernorm.weight"])
def test_a_worker_in_int8_is_refused_with_other_weights(snapshot: Path, start: Start, name: str) -> None:
    pytest.importorskip("onnxruntime")
    start(snapshot, dtype="bfloat16")
    change_tensor(snapshot, name, lambda rows: -rows[::-1])
    shutil.rmtree(snapshot / ".siglip_ingest", ignore_errors=True)  # a snapshot's revision says what is in it
    with pytest.raises(VerificationError, match="cosine"):
        start(snapshot, dtype="int8")


def test_the_batch_size_is_found_halved_and_remembered(database_url: str, broker_url: str, snapshot: Path) -> None:
    settings = Settings(
        database_url=database_url, broker_url=broker_url, model=str(snapshot), device="cpu", dtype="float32"
    )
    first = make_runtime(settings)
    assert first.device.batch_size <= first._embedder.batch_size == 32
    first._embedder._shrink_batches(32, RuntimeError("out of memory"))
    first._beat()
    first.close()
    second = make_runtime(settings)
    assert second._embedder.batch_size == 16
    second.close()
    for most, expected in ((8, 8), (24, 16)):
        bounded = make_runtime(dataclasses.replace(settings, batch_size=most))
        assert bounded._embedder.batch_size == expected
        bounded.close()
    last = make_runtime(settings)
    assert last._embedder.batch_size == 16
    last.close()
