"""What a value looks like on the wire in its bare form, and where two types look alike.

msgpack has numbers, texts, bytes, lists and maps. Where an annotation accepts two types of one
shape (`Path | str`, `set | list`, two models), a bare value would not say which of them it is.
"""

import pathlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["leaves_choice"]

Kind = tuple[str, Any]
"""A shape, and the type of the values that have it."""

NATIVE: Final = frozenset({bool, bytes, dict, float, int, list, str})
"""The types that say what they are."""
SHAPES: Final[Mapping[str, Kind]] = {
    "bool": ("number", bool),
    "bytes": ("bytes", bytes),
    "counter": ("map", "counter"),
    "dict": ("map", dict),
    "float": ("number", float),
    "frozenset": ("list", frozenset),
    "int": ("number", int),
    "list": ("list", list),
    "ordered-dict": ("map", "ordered-dict"),
    "set": ("list", set),
    "str": ("text", str),
    "tuple": ("list", tuple),
    "typed-dict": ("map", dict),
}
"""The others are extension types, which say what they are."""
CLASSES: Final[Mapping[str, str]] = {"dataclass": "map", "model": "map", "named-tuple": "list"}
VALUES: Final[Mapping[type, str]] = {
    bool: "number", bytes: "bytes", float: "number", int: "number", str: "text",
}  # fmt: skip
PARTS: Final = ("choices", "items_schema", "keys_schema", "schema", "values_schema")
"""Where a schema has the schemas of what it holds."""


def leaves_choice(schema: Any, definitions: Mapping[str, Any]) -> bool:
    """Whether bare values of a union look alike, or bare keys and members are not hashable.

    `definitions` has the schemas of recursive types.
    """
    if "choices" not in schema:
        part = "items_schema" if schema["type"] in {"frozenset", "set"} else "keys_schema"
        hashed = _kinds(schema[part], definitions, set()) if part in schema else ()
        return any(shape == "map" for shape, _ in hashed)
    alike = defaultdict[str, set[Any]](set)
    for shape, kind in _kinds(schema, definitions, set()):
        alike[shape].add(kind)
    return any(len(types) > 1 and not types <= NATIVE for types in alike.values())


def _kinds(schema: Any, definitions: Mapping[str, Any], seen: set[str]) -> Iterator[Kind]:
    """The kinds of all values of a schema, down to the fields of models."""
    kind = schema["type"]
    if kind in CLASSES:
        yield from _kinds_of_class(CLASSES[kind], schema)
    elif kind in {"enum", "literal"}:
        yield from _kinds_of_values(schema)
    elif kind == "lax-or-strict":
        # A path, which was a text in earlier releases, or an extension type.
        strict = schema["strict_schema"]
        cls = strict.get("python_schema", strict).get("cls", object)
        if issubclass(cls, pathlib.PurePath):
            yield "text", cls
    else:
        if kind in SHAPES:
            yield SHAPES[kind]
        for part in _parts(schema, definitions, seen):
            yield from _kinds(part, definitions, seen)


def _parts(schema: Any, definitions: Mapping[str, Any], seen: set[str]) -> Iterator[Any]:
    """The schemas inside a schema that is none of a class."""
    kind = schema["type"]
    if kind == "definition-ref":
        if schema["schema_ref"] not in seen:
            seen.add(schema["schema_ref"])
            yield definitions[schema["schema_ref"]]
    elif kind == "json-or-python":
        yield schema["python_schema"]
    elif kind == "function-plain":
        # The annotation, which pydantic keeps for what it writes.
        yield schema.get("serialization", {}).get("schema", {"type": "any"})
    elif kind == "typed-dict":
        for field in schema["fields"].values():
            yield field["schema"]
    else:
        for name in PARTS:
            inner = schema.get(name, ())
            is_one = isinstance(inner, dict) and name != "choices"
            parts = [inner] if is_one else inner.values() if isinstance(inner, dict) else inner
            for part in parts:
                yield part[0] if isinstance(part, tuple) else part


def _kinds_of_values(schema: Any) -> Iterator[Kind]:
    if schema["type"] == "enum":
        for member in schema["members"]:
            yield VALUES.get(type(member.value), "extension"), schema["cls"]
    else:
        for value in schema["expected"]:
            yield VALUES.get(type(value), "extension"), type(value)


def _kinds_of_class(shape: str, schema: Any) -> Iterator[Kind]:
    cls = schema["cls"]
    if hasattr(cls, "contract_name"):
        # A contract says which one it is; but earlier releases wrote the map of its fields.
        yield "map", "contract"
        return
    yield shape, cls
    if schema["type"] == "named-tuple":
        yield "map", cls  # Its schema also takes the map of its fields.
    if schema.get("root_model"):
        # It looks like its root, which may be anything.
        for other in ("bytes", "list", "number", "text"):
            yield other, cls
