"""Schemas of rows and columns: whether what a stage gives is what the next one needs.

`{"columns": {"price": "float64"}}` describes columns by numpy's names for their types. Every
other schema is a JSON Schema of one row. An empty schema says nothing, so it fits everything.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from .batch import Columns
from .spec import Schema

__all__ = ["ColumnCheck", "is_of_columns", "mismatches", "schema_problems", "with_fields"]

COLUMNS: Final = "columns"
ANY_TYPE: Final = "any"
TEXT_TYPE: Final = "str"
FIELDS_MAX: Final = 10_000


def is_of_columns(schema: Schema) -> bool:
    """Whether the schema describes columns."""
    return COLUMNS in schema


def schema_problems(schema: Any) -> Iterator[str]:
    """What is wrong with a schema by itself."""
    if not isinstance(schema, Mapping):
        yield f"is a {type(schema).__name__}, and must be a mapping"
    elif is_of_columns(schema):
        yield from _column_problems(schema)
    elif schema:
        yield from _json_problems(schema)


def _column_problems(schema: Schema) -> Iterator[str]:
    if len(schema) > 1:
        yield "has 'columns' and other keys: it is either of columns or a JSON Schema"
    columns = schema[COLUMNS]
    if not isinstance(columns, Mapping) or len(columns) > FIELDS_MAX:
        yield "'columns' must be a mapping of names to types"
        return
    for name, dtype in columns.items():
        if dtype in (ANY_TYPE, TEXT_TYPE):
            continue
        try:
            np.dtype(dtype)
        except TypeError:
            yield f"the column {name!r} has the type {dtype!r}, which numpy does not know"


def _json_problems(schema: Schema) -> Iterator[str]:
    # Imported here: it takes longer to load than all of the rest.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "the top"
        yield f"is no JSON Schema: {error.message} (at {where})"
    except RecursionError:
        yield "nests too deep"


# --- two schemas -------------------------------------------------------------------------


def mismatches(given: Schema, needed: Schema) -> Iterator[str]:
    """Why rows that fulfil `given` may not fulfil `needed`; nothing when they fit.

    What `given` leaves open is no mismatch, except for a required field that it does not promise.
    """
    if not given or not needed:
        return
    if is_of_columns(given) != is_of_columns(needed):
        one, other = ("columns", "rows") if is_of_columns(given) else ("rows", "columns")
        yield f"it gives {one}, and the next stage needs {other}"
    elif is_of_columns(needed):
        yield from _column_mismatches(given[COLUMNS], needed[COLUMNS])
    else:
        yield from _row_mismatches(given, needed, "")


def _column_mismatches(given: Mapping[str, str], needed: Mapping[str, str]) -> Iterator[str]:
    for name, dtype in needed.items():
        if name not in given:
            yield f"the column {name!r} is missing"
        elif not _fits(given[name], dtype):
            yield f"the column {name!r} is {given[name]}, and the next stage needs {dtype}"


def _fits(given: str, needed: str) -> bool:
    if needed == ANY_TYPE or given in (needed, ANY_TYPE):
        return True
    if TEXT_TYPE in (given, needed):
        other = needed if given == TEXT_TYPE else given
        return np.dtype(other).kind == "U"
    return bool(np.dtype(given) == np.dtype(needed))


def _row_mismatches(given: Schema, needed: Schema, path: str) -> Iterator[str]:
    types_given, types_needed = _types(given), _types(needed)
    if types_given and types_needed and not types_given <= types_needed:
        extra = ", ".join(sorted(types_given - types_needed))
        yield (
            f"{path or 'the row'} may be {extra}, and the next stage needs "
            + ", ".join(sorted(types_needed - {"integer"} if "number" in types_needed
                               else types_needed))
        )  # fmt: skip
        return
    yield from _value_mismatches(given, needed, path)
    fields_given = _mapping(given.get("properties"))
    fields_needed = _mapping(needed.get("properties"))
    promised = set(given.get("required", ()))
    for name in needed.get("required", ()):
        if name not in promised:
            how = "may be missing" if name in fields_given else "is missing"
            yield f"the field {_joined(path, name)!r} {how}"
    for name, schema in fields_needed.items():
        if name in fields_given:
            yield from _row_mismatches(
                _mapping(fields_given[name]), _mapping(schema), _joined(path, name)
            )


def _value_mismatches(given: Schema, needed: Schema, path: str) -> Iterator[str]:
    allowed, possible = needed.get("enum"), given.get("enum")
    if allowed is not None and possible is not None:
        extra = [value for value in possible if value not in allowed]
        if extra:
            yield f"{path or 'the row'} may be {extra[0]!r}, which the next stage does not allow"
    for low, is_worse in (("minimum", float.__lt__), ("maximum", float.__gt__)):
        here, there = given.get(low), needed.get(low)
        if here is not None and there is not None and is_worse(float(here), float(there)):
            yield f"{path or 'the row'} has the {low} {here}, and the next stage needs {there}"


def _types(schema: Schema) -> frozenset[str]:
    found = schema.get("type", ())
    types = {found} if isinstance(found, str) else set(found)
    if "number" in types:
        types.add("integer")
    return frozenset(types)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def with_fields(
    schema: Schema,
    *,
    select: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    rename: Mapping[str, str] | None = None,
    add: Mapping[str, Any] | None = None,
) -> Schema:
    """The schema of rows after fields were chosen, removed, renamed and added, in this order.

    `add` has for each new field its schema, or for columns its type.
    """
    if not schema:
        return {}
    new = rename or {}
    if is_of_columns(schema):
        return {COLUMNS: _changed(schema[COLUMNS], select, remove, new) | dict(add or {})}
    fields = _changed(_mapping(schema.get("properties")), select, remove, new) | dict(add or {})
    required = _changed(dict.fromkeys(schema.get("required", ())), select, remove, new)
    return {
        **{key: value for key, value in schema.items() if key not in ("properties", "required")},
        "properties": fields,
        "required": sorted({*required, *(add or {})}),
    }


def _changed(
    fields: Mapping[str, Any],
    select: tuple[str, ...],
    remove: tuple[str, ...],
    rename: Mapping[str, str],
) -> dict[str, Any]:
    return {
        rename.get(name, name): schema
        for name, schema in fields.items()
        if (not select or name in select) and name not in remove
    }


# --- columns at run time -----------------------------------------------------------------


class ColumnCheck:
    """Checks that a batch has the columns of a schema. It costs a dictionary look-up a column."""

    __slots__ = ("_seen", "_wanted")

    def __init__(self, schema: Schema) -> None:
        self._wanted: Final = dict(schema[COLUMNS])
        self._seen: dict[tuple[str, np.dtype[Any]], bool] = {}

    def problem(self, columns: Columns) -> str:
        """What is wrong with these columns; empty when they are right."""
        for name, wanted in self._wanted.items():
            column = columns.get(name)
            if column is None:
                return f"the column {name!r} is missing"
            key = (name, column.dtype)
            fits = self._seen.get(key)
            if fits is None:
                given = TEXT_TYPE if column.dtype.kind == "U" else str(column.dtype)
                fits = _fits(given, wanted)
                if len(self._seen) < FIELDS_MAX:
                    self._seen[key] = fits
            if not fits:
                return f"the column {name!r} is {column.dtype}, not {wanted}"
        return ""
