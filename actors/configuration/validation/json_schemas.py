"""Whether readers of one JSON Schema can read what is written for another.

After the modes of schema registries: `BACKWARD` means that new readers read old documents,
`FORWARD` that old readers read new ones, `FULL` both. What the table cannot tell counts as a
break: a proof is to read the stored documents.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

__all__ = ["BACKWARD", "FORWARD", "SchemaBreak", "schema_breaks"]

BACKWARD: Final = "BACKWARD"
FORWARD: Final = "FORWARD"
DEPTH_MAX: Final = 40
BREAKS_MAX: Final = 200
LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
IGNORED: Final = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"}
)
KNOWN: Final = frozenset(
    {"type", "properties", "required", "enum", "const", "items", "additionalProperties", "anyOf",
     "oneOf", "uniqueItems", "$ref", "$defs", "definitions", *LEAST, *MOST}
)  # fmt: skip
ALL_TYPES: Final = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})
# A truth is a number for Python, so it is asked for first.
TYPE_NAMES: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    Mapping: "object",
}


class SchemaBreak(NamedTuple):
    """One change that one side cannot follow."""

    mode: str
    """`BACKWARD`: new readers refuse old documents. `FORWARD`: old readers refuse new ones."""
    path: str
    """The place in a document."""
    problem: str
    """What the reader does with it."""


def schema_breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[SchemaBreak]:
    """Every break between two schemas, at most 200."""
    found = [SchemaBreak(BACKWARD, *each) for each in _narrowed(old, new, "", 0, (old, new))]
    found += [SchemaBreak(FORWARD, *each) for each in _narrowed(new, old, "", 0, (new, old))]
    return found[:BREAKS_MAX]


Problem = tuple[str, str]
Roots = tuple[Mapping[str, Any], Mapping[str, Any]]


def _narrowed(writer: Any, reader: Any, path: str, depth: int, roots: Roots) -> Iterator[Problem]:
    """Why a reader may refuse what a writer may write."""
    writer, reader = _resolved(writer, roots[0]), _resolved(reader, roots[1])
    if reader is True or reader == {} or writer is False or writer == reader:
        return
    if not isinstance(writer, Mapping) or not isinstance(reader, Mapping):
        yield path, "takes fewer values"
        return
    if depth > DEPTH_MAX:
        yield path, "nests too deep to compare"
        return
    unknown = (set(writer) | set(reader)) - KNOWN - IGNORED
    for key in sorted(map(str, unknown)):
        if writer.get(key) != reader.get(key) and key in reader:
            yield path, f"{key} has changed, which the table cannot judge"
    yield from _values(writer, reader, path)
    yield from _bounds(writer, reader, path)
    yield from _choices(writer, reader, path, depth, roots)
    if "properties" in reader or "properties" in writer or "required" in reader:
        yield from _objects(writer, reader, path, depth, roots)
    elif reader.get("additionalProperties", True) is not True:
        inner = writer.get("additionalProperties", True)
        yield from _narrowed(inner, reader["additionalProperties"], f"{path}.*", depth + 1, roots)
    if "items" in reader:
        inner = writer.get("items", True)
        yield from _narrowed(inner, reader["items"], f"{path}[]", depth + 1, roots)


def _resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    for _ in range(DEPTH_MAX):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        found: Any = root
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        schema = found
    return False


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    found = schema.get("type")
    if found is None and "const" in schema:
        return ALL_TYPES
    names = [found] if isinstance(found, str) else found if isinstance(found, list) else ALL_TYPES
    types = frozenset(map(str, names))
    return types | {"integer"} if "number" in types else types


def _values(writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> Iterator[Problem]:
    written, read = _listed(writer), _listed(reader)
    types = _types(writer) if written is None else {_type_of(value) for value in written}
    if gone := types - _types(reader):
        yield path, f"does not take {', '.join(sorted(gone))}"
    if read is not None:
        if written is None:
            yield path, "takes only some values"
        elif any(value not in read for value in written):
            missing = [value for value in written if value not in read]
            yield path, f"does not take {missing[0]!r:.60}"


def _type_of(value: Any) -> str:
    """The narrowest type of a value as JSON has it."""
    if isinstance(value, float) and value.is_integer():
        return "integer"
    return next((name for kind, name in TYPE_NAMES.items() if isinstance(value, kind)), "null")


def _listed(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return found if isinstance(found, list) else None


def _bounds(writer: Mapping[str, Any], reader: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for key in (*LEAST, *MOST):
        limit, other = reader.get(key), writer.get(key)
        if not isinstance(limit, int | float):
            continue
        is_inside = isinstance(other, int | float) and (
            other >= limit if key in LEAST else other <= limit
        )
        if not is_inside:
            yield path, f"has the {key} {limit}"
    if reader.get("uniqueItems") is True and writer.get("uniqueItems") is not True:
        yield path, "takes no repeated items"


def _choices(
    writer: Mapping[str, Any], reader: Mapping[str, Any], path: str, depth: int, roots: Roots
) -> Iterator[Problem]:
    for key in ("anyOf", "oneOf"):
        readers = reader.get(key)
        if not isinstance(readers, list):
            continue
        writers = writer.get(key)
        for number, one in enumerate(writers if isinstance(writers, list) else [writer]):
            fits = (
                next(_narrowed(one, other, path, depth + 1, roots), None) is None
                for other in readers[:BREAKS_MAX]
            )
            if not any(fits):
                yield path, f"has no form for {key} {number + 1}"


def _objects(
    writer: Mapping[str, Any], reader: Mapping[str, Any], path: str, depth: int, roots: Roots
) -> Iterator[Problem]:
    written, read = writer.get("properties", {}), reader.get("properties", {})
    if not isinstance(written, Mapping) or not isinstance(read, Mapping):
        yield path, "has properties that are no object"
        return
    always = {str(name) for name in writer.get("required", ()) or ()}
    for name in reader.get("required", ()) or ():
        # A reader with a default fills the field in.
        inner = read.get(name)
        has_default = isinstance(inner, Mapping) and "default" in inner
        if str(name) not in always and not has_default:
            yield f"{path}.{name}".strip("."), "is required"
    rest = reader.get("additionalProperties", True)
    for name, inner in written.items():
        place = f"{path}.{name}".strip(".")
        if name in read:
            yield from _narrowed(inner, read[name], place, depth + 1, roots)
        elif rest is False:
            yield place, "is not known, and no other field is taken"
        elif rest is not True:
            yield from _narrowed(inner, rest, place, depth + 1, roots)
    if rest is False and writer.get("additionalProperties", True) is not False:
        yield path, "takes no other fields"
    writers_rest = writer.get("additionalProperties", True)
    if isinstance(writers_rest, Mapping):
        for name in set(read) - set(written):
            place = f"{path}.{name}".strip(".")
            yield from _narrowed(writers_rest, read[name], place, depth + 1, roots)
