"""The bytes of batches: outgoing rows in the store, and batches on the way to a pool."""

from collections.abc import Mapping
from typing import Any, Final

import msgpack
import numpy as np

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreDamaged

from ..batch import DataBatch
from ..errors import StageOutputRefused
from ..letters import DeadRow, original_of, row_of
from ..tables import is_table

__all__ = ["decode_batch", "encode_batch"]

ROWS: Final = 0
PLAIN: Final = 1
COLUMNS: Final = 2


def encode_batch(batch: DataBatch) -> bytes:
    """The rows of a batch as bytes. Raises `StageOutputRefused` for rows without an encoding."""
    head = (batch.source, batch.position)
    data = batch.columns if is_table(batch.data) else batch.data
    if isinstance(data, Mapping):
        columns = []
        for name, column in data.items():
            if column.dtype.hasobject:
                raise StageOutputRefused(
                    f"the column {name!r} of a batch holds Python objects.",
                    advice="Give it a type of numpy before the last stage.",
                )
            columns.append((name, column.dtype.str, np.ascontiguousarray(column).tobytes()))
        packed: bytes = msgpack.packb((COLUMNS, head, batch.rows, columns))
        return packed
    if type(data) is not tuple:
        raise StageOutputRefused(
            f"a batch of {type(data).__name__} cannot be stored.",
            advice="Make columns or rows of it in the last stage.",
        )
    try:
        packed = msgpack.packb((PLAIN, head, data))
    except (TypeError, ValueError, OverflowError, RecursionError):
        rows = [original_of(row) for row in data]
        wrong = [encoding for _, encoding in rows if encoding == "text"]
        if wrong:
            raise StageOutputRefused(
                f"{len(wrong)} rows of a batch hold values without an encoding.",
                advice="Make plain values or contracts of them in the last stage.",
            ) from None
        packed = msgpack.packb((ROWS, head, rows))
    return packed


def decode_batch(data: bytes, contracts: Mapping[str, type[Contract]] | None = None) -> DataBatch:
    """The batch in these bytes. Raises `StoreDamaged`."""
    try:
        kind, (source, position), *rest = msgpack.unpackb(data, strict_map_key=False)
        if kind == COLUMNS:
            rows, columns = rest
            made = {
                name: np.frombuffer(content, np.dtype(dtype)) for name, dtype, content in columns
            }
            return DataBatch(made, rows, source=source, position=position)
        (some,) = rest
        if kind == PLAIN:
            return DataBatch.of_rows(some, source=source, position=position)
        assert kind == ROWS, f"its kind is {kind!r}"
        letters = [
            DeadRow(original, encoding, source, position, "", 1, (), 1, "", 0.0)
            for original, encoding in some
        ]
        found: list[Any] = [row_of(letter, contracts) for letter in letters]
        return DataBatch.of_rows(found, source=source, position=position)
    except CallboardError:
        raise
    except Exception as error:
        raise StoreDamaged(
            f"stored rows of {len(data)} bytes do not decode: {error!r}.",
            advice="Restore the store from a backup.",
        ) from error
