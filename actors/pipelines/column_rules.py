"""JSON Schemas over whole columns: which rows may be wrong, without a look at each row.

The schema's own validator then says why. So this may name too many rows, and never too few: what
it does not know exactly, it leaves to the validator.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .batch import Columns
from .spec import Schema

__all__ = ["ColumnRules"]

Mask = npt.NDArray[np.bool_]
Column = npt.NDArray[Any]
SAYS_NOTHING: Final = frozenset({"$schema", "$id", "title", "description", "examples", "default"})
NUMBERS: Final = "iuf"
KINDS: Final[Mapping[str, str]] = {
    "number": NUMBERS,
    "integer": NUMBERS,
    "string": "U",
    "boolean": "b",
}
"""The kinds of numpy's types whose values may have a type of JSON."""
BOUNDS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "minimum": np.less,
    "maximum": np.greater,
    "exclusiveMinimum": np.less_equal,
    "exclusiveMaximum": np.greater_equal,
}
"""How a number breaks a bound: a NaN breaks none, as in JSON Schema."""


class ColumnRules:
    """A schema whose wrong rows are found by column."""

    def __init__(self, schema: Schema) -> None:
        said = {name: value for name, value in schema.items() if name not in SAYS_NOTHING}
        self._required: Final = list(said.pop("required", ()))
        self._fields: Final[dict[str, Any]] = dict(said.pop("properties", {}))
        self._knows_all: Final = said.pop("type", "object") == "object" and not said

    def suspects(self, columns: Columns, rows: int, *, nan_is_missing: bool = False) -> Mask:
        """For each row whether the validator has to look at it."""
        wrong = np.zeros(rows, np.bool_)
        if not self._knows_all or any(name not in columns for name in self._required):
            return ~wrong
        for name, schema in self._fields.items():
            column = columns.get(name)
            if column is None:
                continue
            found = _suspects(column, schema)
            if found is None:
                return np.ones(rows, np.bool_)
            wrong |= found
            if nan_is_missing and column.dtype.kind == "f":
                wrong |= np.isnan(column)
        return wrong


def _suspects(column: Column, schema: Any) -> Mask | None:
    """The values that may be wrong; None when any may be."""
    if not isinstance(schema, Mapping) or column.dtype.kind not in "biufU":
        return None
    if column.dtype.itemsize > 8 and column.dtype.kind == "f":
        return None  # More digits than a Python float.
    wrong = np.zeros(len(column), np.bool_)
    for name, value in schema.items():
        if name == "type" and isinstance(value, str) and value in KINDS:
            if column.dtype.kind not in KINDS[value]:
                wrong[:] = True
            elif value == "integer" and column.dtype.kind == "f":
                wrong |= ~np.isfinite(column) | (column != np.trunc(column))
        elif name in BOUNDS:
            if column.dtype.kind in NUMBERS:
                bound = _exact(value)
                if bound is None:
                    return None
                wrong |= BOUNDS[name](column, bound)
        elif name in ("enum", "const"):
            allowed = value if name == "enum" else [value]
            if column.dtype.kind != "U":
                return None
            wrong |= ~np.isin(column, [each for each in allowed if isinstance(each, str)] or [""])
            if "" not in allowed:
                wrong |= column == ""
        elif name not in SAYS_NOTHING:
            return None
    return wrong


def _exact(bound: Any) -> Any:
    """A bound that numpy compares exactly with columns of any type of numbers; None without one."""
    if isinstance(bound, int) and abs(bound) <= 2**53:
        return np.float64(bound)
    return np.float64(bound) if isinstance(bound, float) and abs(bound) <= 2**53 else None
