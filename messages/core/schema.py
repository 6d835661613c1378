"""The fingerprint of a contract's schema, and whether the schema bounds the nesting depth.

Two hosts understand each other when the same fields travel. So the fingerprint covers the
fields and their types. It leaves out the texts for people (titles, descriptions, examples)
and the defaults, which only a constructor reads: a sender sends every field.
"""

import dataclasses
import hashlib
import json
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

__all__ = ["depth_is_bounded", "schema_fingerprint"]

FINGERPRINT_BYTES: Final = 7
"""56 bits: an integer that fits a signed 64-bit number everywhere."""

NOT_ON_THE_WIRE: Final = frozenset({"default", "description", "examples", "title"})
NAMED_SCHEMAS: Final = frozenset({"$defs", "patternProperties", "properties"})
PLAIN_VALUES: Final = frozenset({"const", "enum", "required"})


class _QuietSchema(GenerateJsonSchema):
    """Emits no warnings: a fingerprint must not depend on how warnings are filtered."""

    def emit_warning(self, kind: Any, detail: str) -> None:
        """Drop the warning: it is about nothing that travels."""


def schema_fingerprint(cls: type[BaseModel]) -> int:
    """A number that is the same in every process for the same fields and types."""
    try:
        described: Any = cls.model_json_schema(schema_generator=_QuietSchema)
    except Exception:  # noqa: BLE001 - the type of a field may have no JSON schema
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
            # The keys are names of fields: one of them may be `title`.
            kept[keyword] = {name: _on_the_wire(inner) for name, inner in value.items()}
        elif keyword in PLAIN_VALUES:
            kept[keyword] = value
        elif keyword not in NOT_ON_THE_WIRE:
            kept[keyword] = _on_the_wire(value)
    return kept


def depth_is_bounded(cls: type[BaseModel], above: tuple[type, ...] = ()) -> bool:
    """Whether the schema of `cls` bounds the nesting depth of its values."""
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
        # The values of a Literal arrive here; a type variable or alias bounds nothing.
        return isinstance(annotation, str | int | bytes | bool) or annotation is None
    if issubclass(annotation, BaseModel):
        return depth_is_bounded(annotation, above)
    if dataclasses.is_dataclass(annotation):
        return False
    return not issubclass(annotation, list | dict | tuple | set | frozenset)
