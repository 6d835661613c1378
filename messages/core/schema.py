"""What a contract's schema says: its fingerprint, and whether it bounds how deep it nests.

Two hosts understand each other when what travels is the same, so the fingerprint covers
the fields and their types and leaves out what only people read (titles, descriptions,
examples) and what only a constructor reads (defaults: a sender sends every field).
"""

import dataclasses
import hashlib
import json
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

__all__ = ["depth_is_bounded", "schema_fingerprint"]

FINGERPRINT_BYTES: Final = 7
"""56 bits: an integer that msgpack, and any other peer, holds without a sign."""

NOT_ON_THE_WIRE: Final = frozenset({"default", "description", "examples", "title"})
NAMED_SCHEMAS: Final = frozenset({"$defs", "patternProperties", "properties"})
PLAIN_VALUES: Final = frozenset({"const", "enum", "required"})


class _QuietSchema(GenerateJsonSchema):
    """Says nothing: a fingerprint must not depend on how warnings are filtered."""

    def emit_warning(self, kind: Any, detail: str) -> None:
        """Nothing is lost: what warnings are about is not on the wire."""


def schema_fingerprint(cls: type[BaseModel]) -> int:
    """A number that is the same in every process for the same fields, and no others."""
    try:
        described: Any = cls.model_json_schema(schema_generator=_QuietSchema)
    except Exception:  # noqa: BLE001 - a field type of the user's may have no JSON schema
        described = {
            field: repr(info.annotation) + ("" if info.is_required() else "?")
            for field, info in cls.model_fields.items()
        }
    else:
        described = _on_the_wire(described)
    text = json.dumps(described, sort_keys=True, default=repr)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:FINGERPRINT_BYTES], "big")


def _on_the_wire(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_on_the_wire(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in NAMED_SCHEMAS and isinstance(value, dict):
            # What is inside are names of fields: one may well be called `title`.
            kept[keyword] = {name: _on_the_wire(inner) for name, inner in value.items()}
        elif keyword in PLAIN_VALUES:
            kept[keyword] = value
        elif keyword not in NOT_ON_THE_WIRE:
            kept[keyword] = _on_the_wire(value)
    return kept


def depth_is_bounded(cls: type[BaseModel], above: tuple[type, ...] = ()) -> bool:
    """Whether nothing that validates as `cls` nests without end."""
    if cls in above or cls.model_config.get("extra") == "allow":
        return False
    return all(
        _annotation_is_bounded(field.annotation, (*above, cls))
        for field in cls.model_fields.values()
    )


def _annotation_is_bounded(annotation: Any, above: tuple[type, ...]) -> bool:
    arguments = get_args(annotation)
    if arguments:
        return get_origin(annotation) is not None and all(
            _annotation_is_bounded(argument, above)
            for argument in arguments
            if argument is not Ellipsis
        )
    if annotation is Any or annotation is object:
        return False
    if annotation is None or not isinstance(annotation, type):
        # The values of a Literal end here; a type variable or alias bounds nothing.
        return isinstance(annotation, str | int | bytes | bool) or annotation is None
    if issubclass(annotation, BaseModel):
        return depth_is_bounded(annotation, above)
    if dataclasses.is_dataclass(annotation):
        return False
    return not issubclass(annotation, list | dict | tuple | set | frozenset)
