"""`parse` makes rows of bytes; `clean` mends rows; `format` makes texts of rows."""

import csv
import io
import json
import math
import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgpack
import numpy as np

from callboard.messages.core.contract import Contract

from ..batch import DataBatch
from ..registry import StageEffects, StageSettings, StageType
from ..schemas import with_fields
from ..spec import PipelineStage, Schema
from .fields import changed_rows, fields_of, mapping, reason_of

__all__ = ["CLEAN", "FORMAT", "PARSE"]

FORMATS: Final = ("json", "msgpack")
COLUMN_CASTS: Final = {"int": np.int64, "float": np.float64, "str": np.str_, "bool": np.bool_}
TRUE: Final = frozenset({"true", "yes", "1", "on"})
FALSE: Final = frozenset({"false", "no", "0", "off"})


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


CASTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": _truth,
}


# --- parse -----------------------------------------------------------------------------------


class _Parse:
    """Rows of JSON or msgpack; a row that is none is refused."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        self._is_json = settings.choice("format", FORMATS, "json") == "json"

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Parse each row; rows with fields stay as they are."""
        new: list[Any] = []
        refused: list[int] = []
        for place, row in enumerate(batch.data):
            try:
                new.append(self._parsed(row))
            except Exception as error:  # noqa: BLE001 - bytes from outside may be anything
                effects.refuse(place, f"is no {'JSON' if self._is_json else 'msgpack'} object: "
                               + reason_of(error))  # fmt: skip
                refused.append(place)
        if not refused:
            return batch.with_data(tuple(new))
        return batch.take(np.delete(np.arange(batch.rows), refused)).with_data(tuple(new))

    def _parsed(self, row: Any) -> Mapping[str, Any]:
        if not isinstance(row, (bytes, str)) and isinstance(row, Mapping | Contract):
            return fields_of(row)
        found = json.loads(row) if self._is_json else msgpack.unpackb(row)
        if not isinstance(found, dict):
            raise TypeError(f"it is a {type(found).__name__}")
        return found


# --- clean -----------------------------------------------------------------------------------


class _Clean:
    """Trims, fills, casts; drops rows without a value and repetitions."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        self._strip = settings.take("strip", bool, True)  # noqa: FBT003 - a default
        self._lower = frozenset(settings.texts("lower"))
        self._empty_is_null = settings.take("empty_is_null", bool, False)  # noqa: FBT003
        self._default = mapping(settings, "default")
        self._needed = settings.texts("drop_without")
        self._unique = settings.texts("unique")
        casts = mapping(settings, "cast", str)
        for name, cast in casts.items():
            if cast not in CASTS:
                settings.refuse(f"cast.{name}", f"is {cast!r}; choose one of {', '.join(CASTS)}")
        self._cast = {name: cast for name, cast in casts.items() if cast in CASTS}

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Clean rows or columns."""
        if batch.is_rows:
            after = changed_rows(batch, effects, self._row)
        else:
            after = batch.with_data(self._columns(dict(batch.columns)))
        for name in self._needed:
            before = after.rows
            after = _without_nulls(after, name)
            effects.drop(f"no {name}", before - after.rows)
        if self._unique:
            before = after.rows
            after = self._first_ones(after)
            effects.drop("duplicate", before - after.rows)
        return after

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        new = {name: self._value(name, value) for name, value in row.items()}
        for name, value in self._default.items():
            if new.get(name) is None:
                new[name] = value
        for name, cast in self._cast.items():
            value = new.get(name)
            if value is not None:
                try:
                    new[name] = CASTS[cast](value)
                except (ValueError, TypeError, OverflowError):
                    text = repr(value)[:80]
                    raise ValueError(f"the field {name!r} is {text}, no {cast}") from None
        return new

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            text = value.strip() if self._strip else value
            if name in self._lower:
                text = text.lower()
            return None if self._empty_is_null and not text else text
        if isinstance(value, float) and math.isnan(value):
            return None
        return value

    def _columns(self, columns: dict[str, Any]) -> dict[str, Any]:
        for name, column in columns.items():
            if column.dtype.kind == "U":
                text = np.char.strip(column) if self._strip else column
                columns[name] = np.char.lower(text) if name in self._lower else text
        for name, value in self._default.items():
            column = columns.get(name)
            if column is not None and column.dtype.kind == "f":
                columns[name] = np.where(np.isnan(column), value, column)
        for name, cast in self._cast.items():
            if name in columns:
                columns[name] = columns[name].astype(COLUMN_CASTS[cast])
        return columns

    def _first_ones(self, batch: DataBatch) -> DataBatch:
        seen: set[Any] = set()
        places: list[int] = []
        for place in range(batch.rows):
            row = batch.row(place)
            key = repr([row.get(name) for name in self._unique])
            if key not in seen:
                seen.add(key)
                places.append(place)
        return batch if len(places) == batch.rows else batch.take(places)


def _without_nulls(batch: DataBatch, name: str) -> DataBatch:
    if batch.is_rows:
        return batch.kept(np.array([row.get(name) is not None for row in batch.data], np.bool_))
    column = batch.columns.get(name)
    if column is None:
        return batch.take(())
    return batch.kept(~np.isnan(column)) if column.dtype.kind == "f" else batch


# --- format ----------------------------------------------------------------------------------


class _Format:
    """Rounds numbers, writes times, and makes a line of each row."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        self._form = settings.choice("as", ("rows", "json", "csv", "text"), "rows")
        self._round = mapping(settings, "round", int)
        self._times = settings.texts("times")
        self._fields = settings.texts("fields")
        self._template = string.Template(settings.take("template", str, ""))
        if self._form == "text" and not self._template.template:
            settings.refuse("template", "is missing: it makes the text, such as $name: $amount")
        if self._form == "csv" and not self._fields:
            settings.refuse("fields", "is missing: it names the columns of the lines, in order")

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Format each row."""
        rows = batch
        if not batch.is_rows:
            rows = batch.with_data(tuple(batch.row(place) for place in range(batch.rows)))
        return changed_rows(rows, effects, self._formatted)

    def _formatted(self, row: Mapping[str, Any]) -> Any:
        new = dict(row)
        for name, digits in self._round.items():
            if new.get(name) is not None:
                new[name] = round(new[name], digits)
        for name in self._times:
            if new.get(name) is not None:
                new[name] = datetime.fromtimestamp(float(new[name]), UTC).isoformat()
        if self._form == "rows":
            return new
        if self._form == "json":
            return json.dumps(new, ensure_ascii=False, allow_nan=False).encode()
        if self._form == "text":
            return self._template.substitute(new).encode()
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([new.get(name) for name in self._fields])
        return line.getvalue().encode()


def _same(stage: PipelineStage, schema: Schema) -> Schema:
    """The output of `clean`: as its input, without what was cast."""
    cast = stage.configuration.get("cast", {})
    return with_fields(schema, remove=tuple(cast))


PARSE: Final = StageType("parse", _Parse)
CLEAN: Final = StageType("clean", _Clean, promises=_same)
FORMAT: Final = StageType("format", _Format)
