"""Changes rows one by one, so that a row that cannot be changed takes no other along."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.names import shown

from ..batch import DataBatch
from ..expressions import Expression
from ..registry import StageEffects, StageSettings

__all__ = [
    "changed_rows",
    "expression",
    "expressions",
    "fields_of",
    "mapping",
    "masked",
    "reason_of",
]

EXPRESSIONS_MAX: Final = 1_000


def fields_of(row: Any) -> Mapping[str, Any]:
    """The fields of a row. Raises `TypeError` for a row without fields."""
    if isinstance(row, dict):
        return row
    if isinstance(row, Contract):
        return dict(row)
    if isinstance(row, Mapping):
        return row
    raise TypeError(f"a row is a {type(row).__name__}, and has no fields: parse it first")


def reason_of(error: Exception) -> str:
    """Why a row was refused, from what its change has raised."""
    if isinstance(error, CallboardError):
        return error.message
    return f"{type(error).__name__}: {error}"


def changed_rows(
    batch: DataBatch, effects: StageEffects, change: Callable[[Mapping[str, Any]], Any]
) -> DataBatch:
    """Every row after `change`; a row for which it raises is refused."""
    new: list[Any] = []
    refused: list[int] = []
    for place, row in enumerate(batch.data):
        try:
            new.append(change(fields_of(row)))
        except Exception as error:  # noqa: BLE001 - a row may be anything
            effects.refuse(place, reason_of(error))
            refused.append(place)
    if not refused:
        return batch.with_data(tuple(new))
    return batch.take(np.delete(np.arange(batch.rows), refused)).with_data(tuple(new))


def masked(
    batch: DataBatch, effects: StageEffects, condition: Expression
) -> "npt.NDArray[np.bool_]":
    """For each row whether it fulfils a condition. A row that cannot tell is refused, and false."""
    if not batch.is_rows:
        return np.asarray(condition.of_columns(batch.columns, batch.rows), np.bool_)
    mask = np.zeros(batch.rows, np.bool_)
    for place, row in enumerate(batch.data):
        try:
            mask[place] = bool(condition.of_row(fields_of(row)))
        except Exception as error:  # noqa: BLE001 - a row may be anything
            effects.refuse(place, reason_of(error))
    return mask


# --- settings ------------------------------------------------------------------------------


def expression(settings: StageSettings, path: str, text: Any) -> Expression | None:
    """The expression in a setting; None, and a problem, when it is wrong."""
    try:
        return Expression(text)
    except CallboardError as error:
        settings.refuse(path, error.message)
        return None


def expressions(settings: StageSettings, name: str) -> dict[str, Expression]:
    """A setting that maps names to expressions."""
    found: dict[str, Expression] = {}
    for key, text in mapping(settings, name).items():
        made = expression(settings, f"{name}.{key}", text)
        if made is not None:
            found[key] = made
    return found


def mapping(settings: StageSettings, name: str, kind: type[Any] | None = None) -> dict[str, Any]:
    """A setting that is a mapping of texts to values, of one type if it is given."""
    values: dict[Any, Any] = dict(settings.take(name, dict, {}))
    found: dict[str, Any] = {}
    if len(values) > EXPRESSIONS_MAX:
        settings.refuse(name, f"has {len(values)} entries: give at most {EXPRESSIONS_MAX}")
        return found
    for key, value in values.items():
        if not isinstance(key, str):
            settings.refuse(name, f"has the key {shown(key)}, which is no text")
        elif kind is not None and not isinstance(value, kind):
            settings.refuse(f"{name}.{key}", f"is {shown(value)}, and must be a {kind.__name__}")
        else:
            found[key] = value
    return found
