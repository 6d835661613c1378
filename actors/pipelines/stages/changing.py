"""`transform` computes and renames fields; `enrich` adds what is known; `route` says where to."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from callboard.messages.core.errors import UsageError

from ..batch import DataBatch
from ..registry import StageEffects, StageSettings, StageType
from ..schemas import is_of_columns, with_fields
from ..spec import PipelineStage, Schema
from .fields import changed_rows, expressions, fields_of, mapping, masked

__all__ = ["ENRICH", "ROUTE", "TRANSFORM"]

REFUSE: Final = "refuse"
NO_ROUTE: Final = "no route"


# --- transform ---------------------------------------------------------------------------------


class _Transform:
    """In this order: `function`, `compute`, `select`, `remove`, `rename`."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        self._function = _function(settings)
        self._compute = expressions(settings, "compute")
        self._select = settings.texts("select")
        self._remove = frozenset(settings.texts("remove"))
        self._rename = mapping(settings, "rename", str)

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Transform rows or columns."""
        after = batch if self._function is None else self._function(batch)
        if type(after) is not DataBatch:
            raise TypeError(f"the function gave a {type(after).__name__}, no DataBatch")
        if not (self._compute or self._select or self._remove or self._rename):
            return after
        if after.is_rows:
            if after is not batch and after.rows != batch.rows:
                # A row that is refused is named by its place in the batch of the stage.
                raise UsageError("a function that leaves out rows needs a stage of its own.")
            return changed_rows(after, effects, self._row)
        columns = dict(after.columns)
        for name, each in self._compute.items():
            columns[name] = each.of_columns(columns, after.rows)
        return after.with_data(self._chosen(columns))

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        new = dict(row)
        for name, each in self._compute.items():
            new[name] = each.of_row(new)
        return self._chosen(new)

    def _chosen(self, fields: dict[str, Any]) -> dict[str, Any]:
        if self._select:
            fields = {name: fields[name] for name in self._select}
        if self._remove:
            fields = {name: value for name, value in fields.items() if name not in self._remove}
        if self._rename:
            fields = {self._rename.get(name, name): value for name, value in fields.items()}
        return fields


def _function(settings: StageSettings) -> Callable[[DataBatch], Any] | None:
    """A function from batch to batch: itself, or `module:name`."""
    given = settings.any("function")
    if given is None or callable(given):
        return given  # type: ignore[no-any-return]  # what it gives is checked at each batch
    module, colon, name = str(given).partition(":")
    if not colon:
        settings.refuse("function", f"is {given!r}: give module:name")
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # noqa: BLE001 - a module may raise anything
        settings.refuse("function", f"cannot be imported: {type(error).__name__}: {error}")
        return None
    if not callable(found):
        settings.refuse("function", f"is {given!r}, which is no function")
        return None
    return found  # type: ignore[no-any-return]  # what it gives is checked at each batch


# --- enrich ------------------------------------------------------------------------------------


class _Enrich:
    """Adds constants, and values that a table has for the value of a field."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        self._set = mapping(settings, "set")
        self._lookups: list[tuple[str, str, dict[str, Any], Any, bool]] = []
        for name, given in mapping(settings, "lookup", dict).items():
            table, key = given.get("table"), given.get("by")
            if not isinstance(table, dict) or not isinstance(key, str):
                settings.refuse(f"lookup.{name}", "needs `by`, a field, and `table`, a mapping")
                continue
            extra = set(given) - {"table", "by", "default", "missing"}
            if extra:
                settings.refuse(f"lookup.{name}", f"has no setting {min(extra)!r}")
            refuses = given.get("missing") == REFUSE
            texts = {str(value): found for value, found in table.items()}
            self._lookups.append((name, key, texts, given.get("default"), refuses))

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Enrich rows or columns."""
        if batch.is_rows:
            return changed_rows(batch, effects, self._row)
        columns = dict(batch.columns)
        for name, value in self._set.items():
            columns[name] = np.full(batch.rows, value)
        right = np.ones(batch.rows, np.bool_)
        for name, key, table, default, refuses in self._lookups:
            keys, places = np.unique(columns[key], return_inverse=True)
            texts = [str(each) for each in keys.tolist()]
            if refuses:
                known = np.array([text in table for text in texts], np.bool_)[places]
                for place in np.flatnonzero(~known & right).tolist():
                    effects.refuse(place, f"{name}: nothing is known of {columns[key][place]!r}")
                right &= known
            columns[name] = np.array([table.get(text, default) for text in texts])[places]
        after = batch.with_data(columns)
        return after.kept(right)

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        new = {**row, **self._set}
        for name, key, table, default, refuses in self._lookups:
            text = str(new.get(key))
            if refuses and text not in table:
                raise LookupError(f"{name}: nothing is known of {text!r}")
            new[name] = table.get(text, default)
        return new


# --- route -------------------------------------------------------------------------------------


class _Route:
    """Writes the name of the first route whose condition holds into a field."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        self._routes = expressions(settings, "routes")
        self._otherwise = settings.take("otherwise", str, "")
        self._field = settings.take("field", str, "route")
        if not self._routes:
            settings.refuse("routes", "is missing: it maps names to conditions")

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Route rows. Without a route, and without `otherwise`, a row is dropped."""
        names = np.full(batch.rows, "", dtype=object)
        free = np.ones(batch.rows, np.bool_)
        lost: set[int] = set()
        for name, condition in self._routes.items():
            seen = StageEffects()
            mask = masked(batch, seen, condition) & free
            for place, reasons in seen.refused or ():
                if free[place] and place not in lost:
                    effects.refuse(place, *reasons)
                    lost.add(place)
            names[mask] = name
            free &= ~mask
        wrong = np.zeros(batch.rows, np.bool_)
        wrong[list(lost)] = True
        names[free] = self._otherwise
        kept = ~wrong if self._otherwise else ~(free | wrong)
        effects.drop(NO_ROUTE, int(np.count_nonzero(~kept & ~wrong)))
        after = batch.kept(kept)
        chosen = names[kept]
        if not after.is_rows:
            return after.with_data({**after.columns, self._field: chosen.astype(np.str_)})
        return after.with_data(
            tuple(
                {**fields_of(row), self._field: name}
                for row, name in zip(after.data, chosen.tolist(), strict=True)
            )
        )


def _transformed(stage: PipelineStage, schema: Schema) -> Schema:
    given = stage.configuration
    if given.get("function") is not None:
        return {}
    new = dict.fromkeys(given.get("compute", {}), _anything(schema))
    wide = with_fields(schema, add=new)
    return with_fields(
        wide,
        select=tuple(given.get("select", ())),
        remove=tuple(given.get("remove", ())),
        rename=given.get("rename", {}),
    )


def _enriched(stage: PipelineStage, schema: Schema) -> Schema:
    names = [*stage.configuration.get("set", {}), *stage.configuration.get("lookup", {})]
    return with_fields(schema, add=dict.fromkeys(names, _anything(schema)))


def _routed(stage: PipelineStage, schema: Schema) -> Schema:
    kind: Any = "str" if is_of_columns(schema) else {"type": "string"}
    return with_fields(schema, add={str(stage.configuration.get("field", "route")): kind})


def _anything(schema: Schema) -> Any:
    return "any" if is_of_columns(schema) else {}


TRANSFORM: Final = StageType("transform", _Transform, promises=_transformed)
ENRICH: Final = StageType("enrich", _Enrich, promises=_enriched)
ROUTE: Final = StageType("route", _Route, promises=_routed)
