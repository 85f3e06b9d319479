"""Results as Arrow tables and data frames."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.results.captions import list_columns
from siglip_ingest.results.frames import COLUMNS
from tests.unit.results.rows import NOW, ROWS, SCORES, matches, results_of


@pytest.mark.parametrize("kind", ROWS)
def test_every_column_has_its_types_with_and_without_rows(kind: str) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    results = results_of(kind)
    names = list_columns(results.row_type)
    assert set(names) <= set(COLUMNS)
    table, empty = results.to_arrow(), results[:0].to_arrow()
    assert table.column_names == names
    assert table.schema == empty.schema
    assert (table.num_rows, empty.num_rows) == (1, 0)
    frame, empty_frame = results.to_pandas(), results[:0].to_pandas()
    assert list(frame.columns) == names
    assert list(frame.dtypes) == list(empty_frame.dtypes)


def test_arrow_has_the_values_and_metadata_as_json() -> None:
    pytest.importorskip("pyarrow")
    (row,) = results_of("matches").to_arrow().to_pylist()
    assert json.loads(row.pop("metadata")) == {"album": "<2026>"}
    assert row == {"image_id": 7, "uri": "file:///photos/a%20b.jpg", "similarity": 0.25, "score": 0.8734}
    (row,) = results_of("labels").to_arrow().to_pylist()
    assert dict(row["scores"]) == {"sunset": 0.9, "sea": 0.5}
    (row,) = results_of("labeled").to_arrow().to_pylist()
    assert (row["score"], row["updated_at"], row["is_accepted"]) == (None, NOW, True)


def test_pandas_has_the_values_and_metadata_as_dictionaries() -> None:
    pytest.importorskip("pandas")
    frame = results_of("matches").to_pandas()
    assert frame.loc[0, "metadata"] == {"album": "<2026>"}
    assert frame["score"].mean() == pytest.approx(0.8734)
    labeled = results_of("labeled").to_pandas()
    assert labeled["score"].isna().all()
    assert labeled.loc[0, "updated_at"] == NOW
    assert SCORES.to_pandas().set_index("label")["score"].to_dict() == {"sunset": 0.75, "<sea>": 0.25}


@pytest.mark.parametrize(
    ("package", "method", "extra"),
    [("pyarrow", "to_arrow", "parquet"), ("pandas", "to_pandas", "pandas"), ("rich.console", "show", "display")],
    ids=["pyarrow", "pandas", "rich"],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    package: str, method: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    results: Any = matches(1)
    with pytest.raises(ConfigurationError, match=rf"{package.partition('.')[0]}.*\[{extra}\]"):
        getattr(results, method)()
