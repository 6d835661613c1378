"""Tables of Arrow as the content of batches: those of pyarrow and polars, and any other by them.

What has `__arrow_c_stream__` (the Arrow PyCapsule interface) is a table: of pandas, DuckDB, and so
on. Callboard needs neither library: who gives a table has one.
"""

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shown

__all__ = ["columns_of", "is_table", "joined_tables", "row_of_table", "table_of", "taken"]

Places: TypeAlias = npt.NDArray[np.int64]
LIBRARIES: Final = ("polars", "pyarrow")


def is_table(data: Any) -> bool:
    """Whether the data is a table of Arrow, or a record batch."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")


def table_of(data: Any) -> Any:
    """A table of pyarrow or polars with this data. Raises `UsageError` without both libraries."""
    own = type(data).__module__.partition(".")[0]
    table = None
    for name in (own, *LIBRARIES) if own in LIBRARIES else LIBRARIES:
        with contextlib.suppress(ImportError):
            library: Any = importlib.import_module(name)
            table = library.DataFrame(data) if name == "polars" else _pyarrow_table(library, data)
            break
    if table is None:
        raise UsageError(
            f"a {type(data).__name__} cannot be read.",
            advice="Install pyarrow or polars where the stage runs, or give columns of numpy.",
        )
    names = _names(table)
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(
            f"a table has two columns {shown(min(twice))}.", advice="Give each a name of its own."
        )
    return table


def _pyarrow_table(pyarrow: Any, data: Any) -> Any:
    """A table without views of texts, from which pyarrow cannot take rows."""
    table = pyarrow.table(data)
    schema = table.schema
    plain = {pyarrow.string_view(): pyarrow.large_string()}
    plain[pyarrow.binary_view()] = pyarrow.large_binary()
    for place, field in enumerate(schema):
        if field.type in plain:
            schema = schema.set(place, field.with_type(plain[field.type]))
    return table if schema is table.schema else table.cast(schema)


def _is_pyarrow(table: Any) -> bool:
    return hasattr(table, "num_rows")


def _names(table: Any) -> list[str]:
    return list(table.column_names if _is_pyarrow(table) else table.columns)


def taken(table: Any, places: Places) -> Any:
    """The rows at these places, in this order."""
    return table.take(places) if _is_pyarrow(table) else table[places]


def row_of_table(table: Any, place: int) -> Mapping[str, Any]:
    """One row as plain values; None where a value is missing."""
    if _is_pyarrow(table):
        return {name: table.column(name)[place].as_py() for name in table.column_names}
    row: Mapping[str, Any] = table.row(place, named=True)
    return row


def joined_tables(tables: Sequence[Any]) -> Any:
    """The rows of several tables of one library, in their order."""
    library: Any = importlib.import_module(type(tables[0]).__module__.partition(".")[0])
    return (library.concat_tables if _is_pyarrow(tables[0]) else library.concat)(tables)


def columns_of(table: Any) -> dict[str, npt.NDArray[Any]]:
    """The columns for numpy: a missing number is NaN; text is text if none is missing."""
    get = table.column if _is_pyarrow(table) else table.get_column
    return {name: _column(get(name).to_numpy()) for name in _names(table)}


def _column(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype.hasobject and all(isinstance(value, str) for value in values):
        return values.astype(np.str_)
    return values
