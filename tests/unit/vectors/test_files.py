"""Files of vectors: what can be read, and what is said of the rest."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from siglip_ingest.db.vectors import Record
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.vectors.checking import check_vectors, round_vectors
from siglip_ingest.vectors.files import open_vectors, read_batches
from tests.database.helpers import unit_vectors

KINDS = ["<f2", ">f2", "<f4", ">f4"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_whatever_its_byte_order(tmp_path: Path, kind: str, order: Any) -> None:
    vectors = unit_vectors(7)
    np.save(tmp_path / "v.npy", np.asarray(vectors.astype(kind), order=order))
    (tmp_path / "i.jsonl").write_text('{"uri": "a"}\n' * 7)
    opened = open_vectors(tmp_path / "v.npy")
    batches = list(read_batches(opened, tmp_path / "i.jsonl", "default", 3))
    assert [(batch.first_row, len(batch.vectors), len(batch.records)) for batch in batches] == [
        (0, 3, 3),
        (3, 3, 3),
        (6, 1, 1),
    ]
    rounded = np.concatenate([round_vectors(batch.vectors) for batch in batches])
    np.testing.assert_array_equal(rounded, vectors.astype(np.float16))


def test_a_file_of_other_things_is_refused(tmp_path: Path) -> None:
    arrays: dict[str, tuple[Any, str]] = {
        "float64": (np.ones((2, 2)), "float64 numbers"),
        "integers": (np.ones((2, 2), np.int8), "int8 numbers"),
        "one vector": (np.ones(2, np.float32), r"shape \(2,\)"),
        "objects": (np.array([["a"], [None]], dtype=object), "holds Python objects, not numbers"),
        "no numbers": (np.ones((2, 0), np.float32), "vectors of 0 elements"),
        "too many numbers": (np.ones((1, 4001), np.float32), "4,001 elements; 1 to 4,000"),
    }
    for name, (array, words) in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(InvalidInputError, match=words):
            open_vectors(tmp_path / f"{name}.npy")
    np.savez(tmp_path / "several.npz", a=np.ones(2), b=np.ones(2))
    (tmp_path / "text.npy").write_text("words")
    (tmp_path / "empty.npy").touch()
    (tmp_path / "pickled.npy").write_bytes(pickle.dumps([1.0, 2.0]))
    whole = (tmp_path / "integers.npy").read_bytes()
    for size in (3, 40, len(whole) - 1):
        (tmp_path / f"{size} bytes.npy").write_bytes(whole[:size])
    (tmp_path / "text.parquet").write_text("words")
    for name, words in (
        ("several.npz", "several arrays"),
        ("text.npy", "not a .npy file"),
        ("empty.npy", "ends too early"),
        ("pickled.npy", "not a .npy file"),
        ("3 bytes.npy", "not a .npy file"),
        ("40 bytes.npy", "ends too early"),
        (f"{len(whole) - 1} bytes.npy", "ends too early"),
        ("none.npy", "No such file"),
        ("text.parquet", "not a Parquet file"),
        ("none.parquet", "No such file"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            open_vectors(tmp_path / name)


def write_parquet(path: Path, embedding: pa.Array, **columns: Any) -> Path:
    pq.write_table(pa.table({"embedding": embedding, **columns}), path, row_group_size=4)
    return path


def lists(vectors: Any, kind: Any = None) -> pa.Array:
    flat = pa.array(vectors.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]) if kind is None else pa.array(list(vectors), kind)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("has_fixed_size", [True, False], ids=["fixed-size lists", "lists"])
def test_parquet_has_vectors_and_records(tmp_path: Path, dtype: Any, has_fixed_size: bool) -> None:
    vectors = unit_vectors(10).astype(dtype)
    kind = None if has_fixed_size else pa.list_(pa.from_numpy_dtype(dtype))
    path = write_parquet(
        tmp_path / "v.parquet",
        lists(vectors, kind),
        uri=[f"u{n}" for n in range(10)],
        metadata=['{"n": 1}'] * 9 + [None],
        content_hash=pa.array([bytes([n]) * 32 for n in range(10)], pa.binary()),
        whatever=range(10),
    )
    opened = open_vectors(path)
    assert (opened.count, opened.dimension, opened.has_records) == (10, 16, True)
    batches = list(read_batches(opened, None, "default", 3))
    np.testing.assert_array_equal(np.concatenate([batch.vectors for batch in batches]), vectors)
    records = [record for batch in batches for record in batch.records]
    assert records[0] == Record("default", "u0", metadata='{"n":1}', content_hash=bytes(32))
    assert records[9] == Record("default", "u9", content_hash=bytes([9]) * 32)


def test_metadata_of_parquet_may_be_a_struct(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "v.pq", lists(unit_vectors(2)), uri=["a", "b"], metadata=[{"n": 1}, {"n": 2}])
    (batch,) = read_batches(open_vectors(path), None, "default", 10)
    assert [record.metadata for record in batch.records] == ['{"n":1}', '{"n":2}']


BAD_COLUMNS: dict[str, tuple[Any, str]] = {
    "float64": (lists(np.ones((2, 3))), "type fixed_size_list<.*double"),
    "text": (pa.array(["a", "b"]), "type string"),
    "a vector that is null": (
        pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
        "row [01] .* no vector",
    ),  # older: 0
    "a number that is null": (pa.array([[1.0, None], [1.0, 2.0]], pa.list_(pa.float32(), 2)), "no vector"),
    "lists of two lengths": (pa.array([[1.0, 2.0], [1.0]], pa.list_(pa.float32())), "row 1 .* vector of 2 numbers"),
}


@pytest.mark.parametrize(("column", "words"), BAD_COLUMNS.values(), ids=BAD_COLUMNS.keys())
def test_a_column_that_holds_no_vectors_is_refused(tmp_path: Path, column: Any, words: str) -> None:
    path = write_parquet(tmp_path / "v.parquet", column, uri=["a", "b"])
    with pytest.raises(InvalidInputError, match=words):
        list(read_batches(open_vectors(path), None, "default", 10))


def test_parquet_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "v.parquet", lists(unit_vectors(6)), uri=list("abcdef"))
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"row 0 \(from 0\), or one soon after it, .* can't be read"):
        list(read_batches(open_vectors(path), None, "default", 10))


def test_parquet_without_the_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"vector": [[1.0]]}), tmp_path / "v.parquet")
    with pytest.raises(InvalidInputError, match="no column 'embedding', only vector"):
        open_vectors(tmp_path / "v.parquet")


def test_a_bad_record_of_parquet_is_named_by_its_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "v.parquet", lists(unit_vectors(6)), uri=["a", "b", "c", "d", "e", None])
    with pytest.raises(InvalidInputError, match=r"row 5 \(from 0\) has no uri"):
        list(read_batches(open_vectors(path), None, "default", 4))


def test_without_pyarrow_a_sentence_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from siglip_ingest.vectors.files import open_vectors\n"
        "try: open_vectors(Path('v.parquet'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("ConfigurationError v.parquet is Parquet, which needs pyarrow")
    assert "[parquet]" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("normalize", [True, False])
def test_numbers_that_are_not_finite_are_refused(value: float, dtype: Any, normalize: bool) -> None:
    vectors = unit_vectors(3).astype(dtype)
    vectors[1, 3] = value
    with pytest.raises(InvalidInputError, match=r"v.npy: the vector of row 101 .* NaN or infinite"):
        check_vectors(vectors, 100, "v.npy", normalize=normalize)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_vector_of_zeros_is_refused(normalize: bool) -> None:
    vectors = unit_vectors(3)
    vectors[2] = 0
    with pytest.raises(InvalidInputError, match=r"row 2 .* is zero"):
        check_vectors(vectors, 0, "v.npy", normalize=normalize)


@pytest.mark.parametrize("length", [1e-40, 1e-25, 0.5, 2, 1e25])
def test_a_length_other_than_1_is_refused_unless_it_is_divided_by(length: float) -> None:
    vectors = unit_vectors(2)
    longer = (vectors.astype(np.float64) * [[1], [length]]).astype(np.float32)
    with pytest.raises(InvalidInputError, match=r"row 1 .* norm"):
        check_vectors(longer, 0, "v.npy")
    check_vectors(longer, 0, "v.npy", normalize=True)
    np.testing.assert_allclose(round_vectors(longer, normalize=True), vectors, atol=2e-3)


def test_unit_vectors_in_half_precision_stay_what_they_are() -> None:
    vectors = unit_vectors(50, 4000).astype(np.float16)
    check_vectors(vectors, 0, "v.npy")
    np.testing.assert_array_equal(round_vectors(vectors), vectors)
