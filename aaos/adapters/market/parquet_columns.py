"""The columns of a Parquet candle file; pyarrow is loaded only here, when there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from aaos.domain.market import COLUMNS, FloatArray
from aaos.errors import InvalidMarketData


def read_parquet_columns(path: Path, content: bytes) -> FloatArray:
    """The file's numbers, shape (6, n); a missing value is NaN.

    Raises:
        InvalidMarketData: not Parquet, other columns, no rows, or a column that is not numeric.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowException as error:
        raise InvalidMarketData(f"{path}: not a readable Parquet file ({error}); download it again") from error
    if table.column_names != list(COLUMNS):
        raise InvalidMarketData(
            f"{path}: the columns are {', '.join(table.column_names)};"
            f" they must be, in this order, {', '.join(COLUMNS)}"
        )
    if not table.num_rows:
        raise InvalidMarketData(f"{path}: no candles in it; download the file again")
    return np.stack([_numbers(path, name, table.column(name)) for name in COLUMNS])


def _numbers(path: Path, name: str, column: Any) -> FloatArray:
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        remedy = "integer milliseconds" if name == COLUMNS[0] else "64-bit floats"
        raise InvalidMarketData(f"{path}: column {name} is of type {kind}; store it as {remedy}")
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
