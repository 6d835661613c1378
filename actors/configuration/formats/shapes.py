"""A short way to write JSON Schemas (draft 7): the tables of the JSON formats are made of it."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "ANY",
    "COUNT",
    "NUMBER",
    "SOME",
    "SOMES",
    "TEXT",
    "TEXTS",
    "TRUTH",
    "Shape",
    "closed",
    "either",
    "like",
    "listed",
    "mapped",
    "one_of",
    "opened",
    "tagged",
    "whole",
    "words",
]

Shape = dict[str, Any]

ANY: Final[Shape] = {}
TEXT: Final[Shape] = {"type": "string"}
SOME: Final[Shape] = {"type": "string", "minLength": 1}
TRUTH: Final[Shape] = {"type": "boolean"}
NUMBER: Final[Shape] = {"type": "number"}
COUNT: Final[Shape] = {"type": "number", "exclusiveMinimum": 0}


def words(text: str) -> tuple[str, ...]:
    """The words of a text: tables are easier to read so."""
    return tuple(text.split())


def listed(shape: Shape, **more: Any) -> Shape:
    """A list of such values."""
    return {"type": "array", "items": shape, **more}


TEXTS: Final = listed(TEXT)
SOMES: Final = listed(SOME)


def mapped(shape: Shape, keys: str = "") -> Shape:
    """An object whose values are such; its keys match a pattern."""
    made: Shape = {"type": "object", "additionalProperties": shape}
    return made | {"propertyNames": {"pattern": keys}} if keys else made


def opened(fields: Mapping[str, Shape], *required: str) -> Shape:
    """An object with these fields, and any others."""
    made: Shape = {"type": "object", "properties": dict(fields)}
    return made | {"required": list(required)} if required else made


def closed(fields: Mapping[str, Shape], *required: str) -> Shape:
    """An object with these fields, and no others."""
    return opened(fields, *required) | {"additionalProperties": False}


def one_of(texts: str) -> Shape:
    """One of the words of a text."""
    return {"type": "string", "enum": texts.split()}


def like(pattern: str) -> Shape:
    """A text in which the pattern is found."""
    return {"type": "string", "pattern": pattern}


def whole(least: int | None = None, most: int | None = None) -> Shape:
    """A whole number between two others."""
    made: Shape = {"type": "integer"}
    if least is not None:
        made["minimum"] = least
    return made if most is None else made | {"maximum": most}


def either(*shapes: Shape) -> Shape:
    """A value of one of these shapes."""
    return {"anyOf": list(shapes)}


def tagged(tag: str, shapes: Mapping[str, Shape]) -> Shape:
    """An object whose tag says which shape it has. Each error names the part that is wrong."""
    cases = []
    for name, shape in shapes.items():
        properties = {tag: {"const": name}, **shape["properties"]}
        then = {**shape, "properties": properties, "required": [tag, *shape.get("required", ())]}
        cases.append(
            {"if": {"properties": {tag: {"const": name}}, "required": [tag]}, "then": then}
        )
    return {
        "type": "object",
        "properties": {tag: {"enum": list(shapes)}},
        "required": [tag],
        "allOf": cases,
    }
