"""Results as Arrow tables and pandas data frames, whose packages are imported when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import how_to_install
from siglip_ingest.results.captions import list_columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Column(NamedTuple):
    """The types of a column; they hold where there are no rows, too.

    Attributes:
        arrow: Name of Arrow's type.
        pandas: Name of pandas' type.
    """

    arrow: str
    pandas: str


COLUMNS = {
    "image_id": Column("int64", "int64"),
    "uri": Column("string", "str"),
    "label": Column("string", "str"),
    "similarity": Column("float64", "float64"),
    "score": Column("float64", "float64"),
    "images": Column("int64", "int64"),
    "is_accepted": Column("bool", "bool"),
    "marked_by": Column("string", "object"),  # None where the model decided
    "updated_at": Column("timestamp[us, tz=UTC]", "datetime64[us, UTC]"),
    "metadata": Column("string", "object"),  # JSON text; a dictionary
    "scores": Column("map<string, double>", "object"),
}


def make_table(rows: Sequence[Any], row_type: type[Any]) -> pa.Table:
    """An Arrow table with a column a field.

    Raises:
        ConfigurationError: If pyarrow isn't installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigurationError(f"Arrow tables need pyarrow: {how_to_install('parquet')}.") from error
    composed = {
        "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
        "map<string, double>": pa.map_(pa.string(), pa.float64()),
    }
    convert = {
        "metadata": lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
        "scores": lambda value: list(value.items()),
    }
    columns = {}
    for name, values in _list_values(rows, row_type).items():
        kind = COLUMNS[name].arrow
        converted = map(convert[name], values) if name in convert else values
        columns[name] = pa.array(list(converted), composed.get(kind) or pa.type_for_alias(kind))
    return pa.table(columns)


def make_frame(rows: Sequence[Any], row_type: type[Any]) -> pd.DataFrame:
    """A data frame with a column a field.

    Raises:
        ConfigurationError: If pandas isn't installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigurationError(f"Data frames need pandas: {how_to_install('pandas')}.") from error
    values = _list_values(rows, row_type)
    return pd.DataFrame({name: pd.Series(column, dtype=COLUMNS[name].pandas) for name, column in values.items()})


def _list_values(rows: Sequence[Any], row_type: type[Any]) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in rows] for name in list_columns(row_type)}
