"""`aggregate` makes one row of many: sums, counts, extremes and means by the values of fields.

Without `every_rows` each batch is aggregated by itself. With it, rows are kept until there are so
many, also over batches and restarts, and the end of the source gives the rest.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from ..batch import DataBatch
from ..registry import StageEffects, StageSettings, StageType
from ..schemas import is_of_columns
from ..spec import PipelineStage, Schema
from .fields import fields_of, mapping, reason_of

__all__ = ["AGGREGATE"]

CALL: Final = re.compile(r"\s*(\w+)\(\s*(\w*)\s*\)\s*\Z")
ROWS_MAX: Final = 100_000_000
GROUPS_MAX: Final = 100_000
"""With so many groups their rows are given at once, before `every_rows`."""

Partial = tuple[float, ...]


class Function(NamedTuple):
    """An aggregate function, as a sum of parts that can be merged."""

    start: Callable[[Any], Partial]
    merge: Callable[[Partial, Partial], Partial]
    value: Callable[[Partial], Any]
    needs_field: bool = True


FUNCTIONS: Final[Mapping[str, Function]] = {
    "count": Function(lambda _: (1,), lambda a, b: (a[0] + b[0],), lambda a: a[0], False),  # noqa: FBT003
    "sum": Function(lambda x: (x,), lambda a, b: (a[0] + b[0],), lambda a: a[0]),
    "min": Function(lambda x: (x,), lambda a, b: (min(a[0], b[0]),), lambda a: a[0]),
    "max": Function(lambda x: (x,), lambda a, b: (max(a[0], b[0]),), lambda a: a[0]),
    "avg": Function(
        lambda x: (x, 1), lambda a, b: (a[0] + b[0], a[1] + b[1]), lambda a: a[0] / a[1]
    ),
    "first": Function(lambda x: (x,), lambda a, _: a, lambda a: a[0]),
    "last": Function(lambda x: (x,), lambda _, b: b, lambda a: a[0]),
}


class _Aggregate:
    """Groups rows by the fields `by`, and computes `compute` for each group."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        self._by = settings.texts("by")
        self._every_rows = settings.take("every_rows", int, 0)
        self._functions: list[tuple[str, Function, str]] = []
        for name, text in mapping(settings, "compute", str).items():
            found = CALL.match(text)
            function = FUNCTIONS.get(found[1]) if found else None
            if found is None or function is None or (function.needs_field and not found[2]):
                names = ", ".join(FUNCTIONS)
                settings.refuse(
                    f"compute.{name}", f"is {text!r}: write FUNCTION(FIELD) with one of {names}"
                )
            else:
                self._functions.append((name, function, found[2]))
        if not self._functions:
            settings.refuse("compute", "is missing: it maps names to functions, as sum(amount)")
        if not 0 <= self._every_rows <= ROWS_MAX:
            settings.refuse("every_rows", f"must be 0 to {ROWS_MAX}")
        for name in self._by:
            if any(name == each for each, _, _ in self._functions):
                settings.refuse(f"compute.{name}", "is also in `by`")

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Add the rows to their groups; gives the groups when there are enough rows."""
        groups: dict[Any, tuple[Partial, ...]] = dict(effects.state or {})
        refused = 0
        for place, (key, parts) in enumerate(self._parts(batch)):
            if isinstance(parts, str):
                effects.refuse(place, parts)
                refused += 1
                continue
            before = groups.get(key)
            groups[key] = parts if before is None else self._merged(before, parts)
        rows = effects.buffered + batch.rows - refused
        if rows < self._every_rows and len(groups) < GROUPS_MAX:
            effects.state, effects.buffered = groups, rows
            return batch.take(())
        effects.state, effects.buffered = None, 0
        return batch.made(self._rows(groups, is_rows=batch.is_rows))

    def flush(self, state: Any) -> DataBatch:
        """The groups that are not full."""
        return DataBatch((), 0).made(self._rows(state or {}, is_rows=True))

    def _parts(self, batch: DataBatch) -> Iterator[tuple[Any, Any]]:
        """For each row its group and its parts, or why it has none."""
        if not batch.is_rows:
            yield from self._parts_of_columns(batch)
            return
        for row in batch.data:
            try:
                fields = fields_of(row)
                key = tuple([_key(fields[name]) for name in self._by])
                parts = tuple(
                    [
                        function.start(_number(fields[field], field) if field else 1)
                        for _, function, field in self._functions
                    ]
                )
            except KeyError as error:
                yield (), f"the field {error.args[0]!r} is missing"
            except Exception as error:  # noqa: BLE001 - a row may be anything
                yield (), reason_of(error)
            else:
                yield key, parts

    def _parts_of_columns(self, batch: DataBatch) -> Iterator[tuple[Any, Any]]:
        columns = batch.columns
        keys = [columns[name].tolist() for name in self._by]
        values = [columns[field].tolist() if field else [1] * batch.rows
                  for _, _, field in self._functions]  # fmt: skip
        starts = [function.start for _, function, _ in self._functions]
        for place in range(batch.rows):
            yield (
                tuple([key[place] for key in keys]),
                tuple([start(column[place]) for start, column in zip(starts, values, strict=True)]),
            )

    def _merged(
        self, before: tuple[Partial, ...], parts: tuple[Partial, ...]
    ) -> tuple[Partial, ...]:
        return tuple(
            [
                function.merge(one, other)
                for (_, function, _), one, other in zip(self._functions, before, parts, strict=True)
            ]
        )

    def _rows(self, groups: Mapping[Any, tuple[Partial, ...]], *, is_rows: bool) -> Any:
        rows = tuple(
            {
                **dict(zip(self._by, key, strict=True)),
                **{
                    name: function.value(part)
                    for (name, function, _), part in zip(self._functions, parts, strict=True)
                },
            }
            for key, parts in groups.items()
        )
        if is_rows:
            return rows
        names = [*self._by, *(name for name, _, _ in self._functions)]
        return {name: np.array([row[name] for row in rows]) for name in names}


def _key(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be a group")


def _number(value: Any, field: str) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise TypeError(f"the field {field!r} is {value!r}, no number")


def _aggregated(stage: PipelineStage, schema: Schema) -> Schema:
    given = stage.configuration
    by, names = tuple(given.get("by", ())), list(given.get("compute", {}))
    if is_of_columns(schema):
        known = schema["columns"]
        return {
            "columns": {
                **{name: known.get(name, "any") for name in by},
                **dict.fromkeys(names, "any"),
            }
        }
    fields = schema.get("properties", {})
    return {
        "type": "object",
        "properties": {
            **{name: fields.get(name, {}) for name in by},
            **{name: {"type": "number"} for name in names},
        },
        "required": sorted([*by, *names]),
    }


AGGREGATE: Final = StageType(
    "aggregate", _Aggregate, may_add_rows=True, keeps_state=True, promises=_aggregated
)
