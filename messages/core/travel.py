"""How the values of one contract travel: in their bare form, or each with its type.

Where the annotations leave no choice, values travel in their bare form: a tuple or a set as a
list, a model or a dataclass as the map of its fields, an enum's member as its value. The receiver
makes the object again after the annotation.

Where they leave a choice (`Any`, a union of two models, `set | list`, a model and one that is
derived from it), every value of the contract that msgpack does not know names its type. Such a
message has a mark among its fields; without the mark they are those of an earlier release.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, RootModel

from .arrival import Arrival, Schema
from .extensions import ENCODERS

__all__ = ["MARK", "Travel", "fields_of"]

MARK: Final = None
"""The key, among a message's fields, that says that each value names its type."""

PLAIN: Final = frozenset({bool, bytes, float, str, type(None)})


class Travel:
    """The encoders of one contract's values, and the validator of its fields on arrival.

    Raises `SpecError` for a contract with a field whose type cannot travel.
    """

    __slots__ = ("_arrival", "_makers", "_names", "_parts", "encoders", "is_marked", "validate")

    def __init__(self, cls: type[BaseModel]) -> None:
        arrival = Arrival(cls)
        self._arrival = arrival
        self.is_marked: Final = arrival.leaves_choice
        """Whether each value names its type."""
        self.validate: Final = arrival.validator(arrival.schema).validate_python
        self.encoders: dict[type, Callable[[Any], Any]] = dict(ENCODERS)
        """What msgpack gets for a value that needs no packer of its own."""
        self._names: dict[type, bytes] = {}
        self._parts: dict[type, Callable[[Any], Any]] = {}
        self._makers: dict[str, Callable[[Any], Any]] = {}
        for held in arrival.classes:
            if hasattr(held, "contract_name"):
                continue  # It has a key of its own.
            self._parts[held] = _parts_of(held)
            bare = None if self.is_marked else _bare_form(held)
            if bare is not None:
                self.encoders[held] = bare
        if not self.is_marked:
            self.encoders |= {set: list, frozenset: list}

    def name_of(self, cls: type) -> bytes | None:
        """The name on the wire of a class that the contract can hold, and None for others."""
        name = self._names.get(cls)
        if name is None and cls in self._parts:
            is_unique = sum(held.__qualname__ == cls.__qualname__ for held in self._parts) == 1
            text = cls.__qualname__ if is_unique else f"{cls.__module__}.{cls.__qualname__}"
            name = self._names[cls] = text.encode()
        return name

    def parts_of(self, value: Any) -> Any:
        """What stands behind the name of a value's class on the wire."""
        return self._parts[type(value)](value)

    def made(self, name: str, parts: Any) -> Any:
        """The object of a named class. Raises `ValueError` for a name that is unknown here."""
        make = self._makers.get(name)
        if make is None:
            found = [
                held
                for held in self._parts
                if name in {held.__qualname__, f"{held.__module__}.{held.__qualname__}"}
            ]
            if len(found) != 1:
                raise ValueError(f"the contract holds no {name:.200}, or several")
            make = self._makers[name] = self._maker(found[0])
        return make(parts)

    def _maker(self, cls: type) -> Callable[[Any], Any]:
        if issubclass(cls, enum.Enum):
            return lambda part: cls(part) if type(part) is int else cls.__members__[part]
        schema = self._arrival.classes[cls]
        if issubclass(cls, BaseModel):
            validate = self._arrival.validator(schema).validate_python
            return lambda parts: validate(parts, strict=True)
        if issubclass(cls, tuple):
            # The schema of its place checks the items.
            return lambda parts: tuple.__new__(cls, parts)
        return self._dataclass_maker(cls, schema)

    def _dataclass_maker(self, cls: type, schema: Schema) -> Callable[[Any], Any]:
        if schema["type"] == "definition-ref":
            schema = self._arrival.definitions[schema["schema_ref"]]
        validate = self._arrival.validator(schema["schema"]).validate_python

        def make(parts: Any) -> Any:
            fields, _ = validate(parts, strict=True)
            made: Any = object.__new__(cls)
            for name, value in fields.items():
                object.__setattr__(made, name, value)
            return made

        return make


def fields_of(model: BaseModel) -> dict[str, Any]:
    """The parts of a model that travel: fields and allowed extras, no cached properties."""
    fields = model.__dict__
    declared = type(model).__pydantic_fields__
    if len(fields) != len(declared):
        fields = {name: value for name, value in fields.items() if name in declared}
    extra = model.__pydantic_extra__
    return {**fields, **extra} if extra else fields


def _bare_form(cls: type) -> Callable[[Any], Any] | None:
    if issubclass(cls, RootModel):
        return None  # Its root needs the codec.
    if issubclass(cls, enum.Enum):
        return None if issubclass(cls, enum.Flag) else _values_of(cls)
    return None if issubclass(cls, tuple) else _parts_of(cls)


def _values_of(cls: type[enum.Enum]) -> Callable[[Any], Any] | None:
    """The value of each member, if msgpack knows every one of them."""
    values = {member: member.value for member in cls}
    are_plain = all(
        -(2**63) <= value < 2**63 if type(value) is int else type(value) in PLAIN
        for value in values.values()
    )
    return values.__getitem__ if are_plain else None


def _parts_of(cls: type) -> Callable[[Any], Any]:
    if issubclass(cls, RootModel):
        return lambda value: value.root
    if issubclass(cls, BaseModel):
        return fields_of
    if issubclass(cls, enum.Enum):
        return _member_of
    if issubclass(cls, tuple):
        return list
    assert dataclasses.is_dataclass(cls), cls
    names = tuple(field.name for field in dataclasses.fields(cls))
    return lambda value: {name: getattr(value, name) for name in names}


def _member_of(member: enum.Enum) -> Any:
    return member.value if isinstance(member, enum.Flag) else member.name
