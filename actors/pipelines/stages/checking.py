"""`validate` refuses wrong rows with reasons; `filter` drops rows that nobody asked for."""

import itertools
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from callboard.messages.core.contract import Contract

from ..batch import DataBatch
from ..column_rules import ColumnRules
from ..registry import StageEffects, StageSettings, StageType
from ..schemas import ColumnCheck, is_of_columns, schema_problems
from ..spec import PipelineStage, Schema
from ..tables import is_table
from .fields import expression, expressions, masked, reason_of

__all__ = ["FILTER", "VALIDATE"]

REASONS_MAX: Final = 10


class _Validate:
    """A schema for each row, and rules: names with the conditions that must hold."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        schema: Schema = settings.take("schema", dict, {}) or stage.output_schema
        self._rules = expressions(settings, "rules")
        self._finite = settings.texts("finite")
        problems = list(schema_problems(schema))
        for text in problems:
            settings.refuse("schema", text)
        if not schema and not self._rules and not self._finite:
            settings.refuse("schema", "is missing: give a schema, rules, or both")
        self._validator: Any = None
        self._by_column: ColumnRules | None = None
        self._check: ColumnCheck | None = None
        if schema and not problems:
            if is_of_columns(schema):
                self._check = ColumnCheck(schema)
            else:
                from jsonschema import Draft202012Validator  # It takes long to load.

                self._validator = Draft202012Validator(dict(schema))
                self._by_column = ColumnRules(schema)

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Refuse each wrong row, with every reason."""
        return self._rows(batch, effects) if batch.is_rows else self._columns(batch, effects)

    def _rows(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        right = np.ones(batch.rows, np.bool_)
        for place, row in enumerate(batch.data):
            reasons = self._reasons(row)
            if reasons:
                right[place] = False
                effects.refuse(place, *reasons)
        return batch.kept(right)

    def _reasons(self, row: Any) -> list[str]:
        fields = dict(row) if isinstance(row, Contract) else row
        reasons = self._schema_reasons(fields)
        if len(reasons) >= REASONS_MAX:
            return reasons
        for name, rule in self._rules.items():
            try:
                if not rule.of_row(fields):
                    reasons.append(f"{name}: {rule.text} does not hold")
            except Exception as error:  # noqa: BLE001 - a row may be anything
                reasons.append(f"{name}: {reason_of(error)}")
        for name in self._finite:
            value = fields.get(name) if isinstance(fields, Mapping) else None
            if not isinstance(value, int | float) or not np.isfinite(value):
                reasons.append(f"{name}: is no finite number")
        return reasons

    def _schema_reasons(self, fields: Any) -> list[str]:
        found = () if self._validator is None else self._validator.iter_errors(fields)
        return [
            f"{'.'.join(map(str, error.absolute_path)) or 'the row'}: {error.message[:200]}"
            for error in itertools.islice(found, REASONS_MAX)
        ]

    def _columns(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        if self._check is not None:
            problem = self._check.problem(batch.columns)
            if problem:
                raise TypeError(problem)
        right = np.ones(batch.rows, np.bool_)
        reasons: dict[int, list[str]] = {}
        if self._by_column is not None:
            suspects = self._by_column.suspects(
                batch.columns, batch.rows, nan_is_missing=is_table(batch.data)
            )
            for place in np.flatnonzero(suspects).tolist():
                found = self._schema_reasons(batch.row(place))
                if found:
                    right[place] = False
                    reasons[place] = found
        masks = [
            (f"{name}: is no finite number", np.isfinite(batch.columns[name]))
            for name in self._finite
        ]
        masks += [
            (f"{name}: {rule.text} does not hold", rule.of_columns(batch.columns, batch.rows))
            for name, rule in self._rules.items()
        ]
        for text, mask in masks:
            holds = np.asarray(mask, np.bool_)
            if not holds.all():
                right &= holds
                for place in np.flatnonzero(~holds).tolist():
                    reasons.setdefault(place, []).append(text)
        for place in sorted(reasons):
            effects.refuse(place, *reasons[place])
        return batch.kept(right)


class _Filter:
    """Rows for which the condition holds go on; the others are dropped under a reason."""

    def __init__(self, stage: PipelineStage, settings: StageSettings) -> None:
        self._where = expression(settings, "where", settings.require("where", str, "True"))
        self._reason = settings.take("reason", str, "filtered") or "filtered"

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """Drop rows."""
        assert self._where is not None, "a wrong condition is refused before it runs"
        mask = masked(batch, effects, self._where)
        after = batch.kept(mask)
        refused = 0 if effects.refused is None else len(effects.refused)
        effects.drop(self._reason, batch.rows - after.rows - refused)
        return after


def _validated(stage: PipelineStage, schema: Schema) -> Schema:
    """Rows fulfil the stage's own schema, which says more than the one before."""
    own: Schema = stage.configuration.get("schema") or {}
    return own if isinstance(own, Mapping) and own else schema


VALIDATE: Final = StageType("validate", _Validate, promises=_validated)
FILTER: Final = StageType("filter", _Filter, promises=lambda _stage, schema: schema)
