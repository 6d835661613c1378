"""The schema by which the fields of a contract are checked when they arrive.

It is the contract's own schema without what belongs to construction: the users' validators,
converters and hooks, which have run once, at the sender. Types and bounds stay:

- A scalar must have its exact type. Containers, enums and models may come in their bare form
  (see `travel.py`), of which the annotation makes the object again.
- A bound that stands inside a validator of the user (`Annotated[int, Field(le=9),
  AfterValidator(f)]`, or a `field_validator` of the mode "after" or "wrap") is one of the
  validator's input, not of the value that travels. It is not checked again; its type is.
- A `model_post_init`, a `__post_init__`, an `__init__` of the user's and an enum's `_missing_` do
  not run; defaults fill in for what an older sender did not know.

The walk also finds what the bare form depends on: the classes that a contract can hold, and
whether its annotations leave the receiver a choice. It refuses types that cannot travel.
"""

import dataclasses
import enum
import functools
import operator
import pathlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn, get_args, get_origin
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from .errors import SpecError
from .extensions import LEAVES, URLS
from .shapes import leaves_choice

__all__ = ["Arrival", "Schema", "no_schema"]

Schema = dict[str, Any]

CONVERSIONS: Final = frozenset(
    {"coerce_numbers_to_str", "microseconds_precision", "strip_whitespace", "to_lower", "to_upper"}
)
"""What a scalar's schema converts. At the receiver the value is what it is."""
OF_THE_CLOCK: Final = frozenset({"now_op", "now_utc_offset"})
"""A time in the future when it was sent may be in the past when it arrives."""
NOT_ON_ARRIVAL: Final = frozenset({"metadata", "ref", "serialization"}) | CONVERSIONS | OF_THE_CLOCK
BOUNDS: Final = frozenset(
    {"allow_inf_nan", "decimal_places", "ge", "gt", "le", "lt", "max_digits", "max_length",
     "min_length", "multiple_of", "pattern", "tz_constraint"}
)  # fmt: skip
CONFIG: Final = frozenset(
    {"allow_inf_nan", "cache_strings", "extra_fields_behavior", "hide_input_in_errors",
     "regex_engine", "str_max_length", "str_min_length", "title"}
)  # fmt: skip
"""What stays of a model's configuration: bounds, and what concerns errors."""

SCALARS: Final = frozenset(
    {"bool", "bytes", "complex", "date", "datetime", "decimal", "float", "fraction", "int", "none",
     "str", "time", "timedelta", "uuid"}
)  # fmt: skip
COLLECTIONS: Final = frozenset(
    {"counter", "deque", "dict", "frozenset", "list", "ordered-dict", "set", "tuple"}
)
ANYTHING: Final[Schema] = {"type": "any"}

DECLARE: Final = "Declare a contract, a pydantic model, a dataclass or a plain type."
INSTEAD: Final = {
    "ByteSize": "Declare int.",
    "ImportString": "Declare str, and import at the receiver.",
    "Secret": "Declare str, or send the name under which the receiver finds the secret.",
    "SecretBytes": "Declare bytes, or send the name under which the receiver finds the secret.",
    "SecretStr": "Declare str, or send the name under which the receiver finds the secret.",
    "bytearray": "Declare bytes.",
    "callable": "Send data, and choose the function at the receiver.",
    "defaultdict": "Declare dict.",
    "generator": "An iterator is read only once: declare tuple[...] or list[...].",
    "is-subclass": "Send the name of the class.",
    "memoryview": "Declare bytes.",
    "ndarray": "Declare callboard.messaging.Array.",
    "pattern_str_validator": "Declare str, and compile it at the receiver.",
}
"""What to declare instead of a type that cannot travel."""
OPAQUE: Final = frozenset(
    {"ByteSize", "Color", "ImportString", "NameEmail", "PaymentCardNumber", "Secret", "SecretBytes",
     "SecretStr", "defaultdict"}
)  # fmt: skip
"""Classes whose values are objects with code of their own."""


class Arrival:
    """The arrival schema of one model, and what it may hold.

    Raises `SpecError` for a field whose type cannot travel.
    """

    def __init__(self, cls: type[BaseModel]) -> None:
        self.classes: dict[type, Schema] = {}
        """The models, dataclasses, enums and named tuples that it may hold, with their schemas."""
        self.leaves_choice = False
        """Whether bare values would leave the receiver a choice between types."""
        self.definitions: dict[str, Schema] = {}
        """The schemas of recursive types."""
        self._found: dict[str, Schema] = {}
        """The same as pydantic has them."""
        self._cls = cls
        self._field_of = (cls, "")
        """The model and the field that are being walked."""
        self._is_relaxed = False
        """Whether it walks the input of a user's function, whose bounds are not those of the
        value."""
        self.schema = self._node(_schema_of(cls))
        self.leaves_choice = self.leaves_choice or any(
            issubclass(one, other)
            for one in self.classes
            for other in self.classes
            if one is not other
        )

    def validator(self, schema: Schema) -> SchemaValidator:
        """The validator of a part of this schema."""
        whole: Any = {
            "type": "definitions",
            "schema": schema,
            "definitions": list(self.definitions.values()),
        }
        # Not with the validators of its models, which run the users' functions.
        return SchemaValidator(whole, _use_prebuilt=False)

    # --- the walk -----------------------------------------------------------------------------

    def _node(self, schema: Any) -> Schema:
        """The schema on arrival."""
        kind: str = schema["type"]
        if kind in SCALARS:
            return {**self._bounded(schema), "strict": True}
        if kind in COLLECTIONS:
            return self._collection(schema)
        if kind.startswith("function-"):
            return self._function(schema)
        walk = getattr(self, f"_walk_{kind.replace('-', '_')}", None)
        if walk is None:
            self._refuse(kind)
        walked: Schema = walk(schema)
        return walked

    def _relaxed(self, schema: Schema) -> Schema:
        """The schema of a user's function's input, without bounds."""
        before, self._is_relaxed = self._is_relaxed, True
        made = self._node(schema)
        self._is_relaxed = before
        return made

    def _bounded(self, schema: Schema) -> Schema:
        dropped = BOUNDS if self._is_relaxed else ()
        return {key: value for key, value in _kept(schema).items() if key not in dropped}

    def _inner(self, schema: Schema) -> Schema:
        return self._node(schema["schema"])

    def _walk_definition_ref(self, schema: Schema) -> Schema:
        return _kept(schema)

    def _walk_custom_error(self, schema: Schema) -> Schema:
        return {**_kept(schema), "schema": self._inner(schema)}

    _walk_nullable = _walk_custom_error

    def _walk_any(self, _schema: Schema) -> Schema:
        self.leaves_choice = True
        return ANYTHING

    def _walk_definitions(self, schema: Schema) -> Schema:
        self._found |= {found["ref"]: found for found in schema["definitions"]}
        for found in schema["definitions"]:
            if found["ref"] not in self.definitions:
                self.definitions[found["ref"]] = {}
                self.definitions[found["ref"]] = {**self._node(found), "ref": found["ref"]}
        return self._inner(schema)

    def _collection(self, schema: Schema) -> Schema:
        # A deque has no bare form: a list is another member of its union.
        made = {**self._bounded(schema), "strict": schema["type"] == "deque"}
        for part in ("items_schema", "keys_schema", "values_schema"):
            inner = made.get(part)
            if isinstance(inner, list):
                made[part] = [self._node(one) for one in inner]
            elif inner is not None:
                made[part] = self._node(inner)
        if leaves_choice(schema, self._found):
            self.leaves_choice = True
        return made

    def _walk_union(self, schema: Schema) -> Schema:
        choices = schema["choices"]
        choices = choices.values() if isinstance(choices, dict) else choices
        if leaves_choice(schema, self._found):
            self.leaves_choice = True
        plain = [choice[0] if isinstance(choice, tuple) else choice for choice in choices]
        return {
            "type": "union",
            "choices": [self._node(choice) for choice in plain],
        }

    def _walk_tagged_union(self, schema: Schema) -> Schema:
        choices = {tag: self._node(one) for tag, one in schema["choices"].items()}
        field = schema["discriminator"]
        if isinstance(field, str) and all(map(self._has_field(field), choices.values())):
            return {"type": "tagged-union", "choices": choices, "discriminator": field}
        # The receiver cannot ask the user's function, nor an alias, for the tag.
        self.leaves_choice = True
        return {"type": "union", "choices": list(choices.values())}

    def _has_field(self, field: str) -> Callable[[Schema], bool]:
        def has(schema: Schema) -> bool:
            if schema["type"] == "definition-ref":
                schema = self.definitions[schema["schema_ref"]]
            inner = schema.get("schema", {})
            fields = inner.get("fields", ())
            if inner.get("type") == "dataclass-args":
                return any(one["name"] == field for one in fields)
            return inner.get("type") == "model-fields" and field in fields

        return has

    def _walk_json_or_python(self, schema: Schema) -> Schema:
        return self._node(schema["python_schema"])

    def _walk_json(self, schema: Schema) -> Schema:
        """A text of JSON at construction; what it says on the way."""
        return self._node(schema.get("schema", ANYTHING))

    def _walk_chain(self, schema: Schema) -> Schema:
        first, *_, last = schema["steps"]
        if first["type"] != "is-instance" or not last["type"].startswith("function-"):
            return self._relaxed(last)
        # A Sequence: the value has the class that it had.
        self.leaves_choice = True
        items = {**self._bounded(last["schema"]), "strict": False}
        if "items_schema" in items:
            items["items_schema"] = self._node(items["items_schema"])
        checked = core_schema.no_info_wrap_validator_function(_as_sent, _core(items))
        return {"type": "chain", "steps": [_kept(first), checked]}

    def _walk_lax_or_strict(self, schema: Schema) -> Schema:
        strict = self._node(schema["strict_schema"])
        cls = strict.get("cls")
        if isinstance(cls, type) and issubclass(cls, pathlib.PurePath):
            # Earlier releases wrote a path as text.
            text = core_schema.no_info_after_validator_function(
                cls, core_schema.str_schema(strict=True)
            )
            lax = {"type": "union", "choices": [strict, text]}
            return {"type": "lax-or-strict", "lax_schema": lax, "strict_schema": strict}
        return strict

    def _walk_is_instance(self, schema: Schema) -> Schema:
        cls = schema["cls"]
        for one in cls if isinstance(cls, tuple) else (cls,):
            self._may_hold(getattr(one, "__origin__", None) or one)
        return _kept(schema)

    def _may_hold(self, cls: Any) -> None:
        if cls in LEAVES or cls is np.ndarray or hasattr(cls, "to_external"):
            return
        if isinstance(cls, type) and issubclass(cls, pathlib.PurePath | URLS):
            return
        self.leaves_choice = True
        if isinstance(cls, type) and (
            issubclass(cls, BaseModel | enum.Enum) or dataclasses.is_dataclass(cls)
        ):
            if cls not in self.classes:
                self._node(_schema_of(cls))
        elif getattr(cls, "__module__", "") not in _ABSTRACT:
            self._refuse(getattr(cls, "__name__", repr(cls)))

    # --- functions ------------------------------------------------------------------------------

    def _function(self, schema: Schema) -> Schema:
        kind = schema["type"]
        function = schema["function"]["function"]
        inner = schema.get("schema")
        if inner is None:
            return self._plain_function(schema, function)
        if inner["type"] in {"url", "multi-host-url"}:
            made = {**schema, "schema": _kept(inner)}
            url = core_schema.no_info_wrap_validator_function(_url_as_sent, _core(_kept(made)))
            return dict(url)
        if isinstance(function, operator.attrgetter) and inner["type"] == "enum":
            return {"type": "literal", "expected": [member.value for member in inner["members"]]}
        if _is_internal(function):
            return {**_kept(schema), "schema": self._inner(schema)}
        return self._inner(schema) if kind == "function-before" else self._relaxed(inner)

    def _plain_function(self, schema: Schema, function: Any) -> Schema:
        name = getattr(function, "__name__", "")
        if _is_internal(function) and name == "validate_str_is_valid_iana_tz":
            return {"type": "is-instance", "cls": ZoneInfo}
        if _is_internal(function):
            self._refuse(name)
        serialization = schema.get("serialization", {})
        if _is_internal(serialization.get("function")) and "schema" in serialization:
            # The annotation, which pydantic keeps for what it writes.
            return self._relaxed(serialization["schema"])
        return self._walk_any(schema)

    # --- classes ------------------------------------------------------------------------------

    def _walk_enum(self, schema: Schema) -> Schema:
        cls = schema["cls"]
        made = {**_kept(schema), "strict": False}
        if "missing" in made and getattr(made["missing"], "__module__", "") != enum.__name__:
            del made["missing"]
        self.classes.setdefault(cls, made)
        return made

    def _walk_literal(self, schema: Schema) -> Schema:
        for value in schema["expected"]:
            if isinstance(value, enum.Enum):
                self.leaves_choice = True
                self.classes.setdefault(type(value), {"type": "any"})
        return _kept(schema)

    def _walk_model(self, schema: Schema) -> Schema:
        cls = schema["cls"]
        made: Schema = {
            "type": "model",
            "cls": cls,
            "root_model": schema.get("root_model", False),
            "revalidate_instances": "never",
            "config": _config(schema),
        }
        for key in ("extra_behavior", "generic_origin"):
            if key in schema:
                made[key] = schema[key]
        private = next(iter(cls.__private_attributes__), None)
        if private is not None:
            raise SpecError(
                f"contract {self._cls.__qualname__}: {cls.__qualname__} has the private attribute "
                f"{private!r}, which does not travel.",
                advice="Make it a field, or a functools.cached_property.",
            )
        made["schema"] = self._in_class(cls, schema["schema"])
        if made["config"].get("extra_fields_behavior") == "allow":
            self.leaves_choice = True
        self._enter(cls, schema, made)
        return made

    def _enter(self, cls: type, schema: Schema, made: Schema) -> None:
        ref = schema.get("ref")
        known = ref in self.definitions
        self.classes[cls] = {"type": "definition-ref", "schema_ref": ref} if known else made

    def _walk_model_fields(self, schema: Schema) -> Schema:
        made = {**_kept(schema), "computed_fields": []}
        if "extras_schema" in made:
            made["extras_schema"] = self._node(made["extras_schema"])
        made["fields"] = {
            name: {"type": "model-field", "schema": self._field(name, field["schema"])}
            for name, field in schema["fields"].items()
        }
        return made

    def _in_class(self, cls: type, schema: Schema) -> Schema:
        before, self._field_of = self._field_of, (cls, "")
        made = self._node(schema)
        self._field_of = before
        return made

    def _field(self, name: str, schema: Schema) -> Schema:
        before, was_relaxed = self._field_of, self._is_relaxed
        self._field_of, self._is_relaxed = (before[0], name), False
        made = self._node(schema)
        self._field_of, self._is_relaxed = before, was_relaxed
        return made

    def _walk_typed_dict(self, schema: Schema) -> Schema:
        made = {**_kept(schema), "computed_fields": [], "config": _config(schema), "strict": False}
        made["fields"] = {
            name: {
                "type": "typed-dict-field",
                "required": field.get("required", schema.get("total", True)),
                "schema": self._field(name, field["schema"]),
            }
            for name, field in schema["fields"].items()
        }
        behaviour = schema.get("extra_behavior") or made["config"].get("extra_fields_behavior")
        if behaviour == "allow":
            self.leaves_choice = True
        else:
            made["extra_behavior"] = "forbid"
        return made

    def _walk_named_tuple(self, schema: Schema) -> Schema:
        made = _kept(schema)
        made["fields"] = [
            {**_kept(field), "schema": self._field(field["name"], field["schema"])}
            for field in schema["fields"]
        ]
        self._enter(schema["cls"], schema, made)
        return made

    def _walk_dataclass(self, schema: Schema) -> Schema:
        cls = schema["cls"]
        made = {**_kept(schema), "config": _config(schema), "post_init": False, "strict": False}
        made["revalidate_instances"] = "never"
        made["schema"] = self._in_class(cls, schema["schema"])
        if "__pydantic_validator__" not in vars(cls):
            # Nobody has checked its fields, so each value says what it is.
            self.leaves_choice = True
            _let_integers_be(made["schema"])
        self._enter(cls, schema, made)
        return made

    def _walk_dataclass_args(self, schema: Schema) -> Schema:
        made = {**_kept(schema), "computed_fields": [], "collect_init_only": False}
        made["fields"] = [
            {
                "type": "dataclass-field",
                "name": field["name"],
                "kw_only": False,
                "init": True,
                "schema": self._field(field["name"], field["schema"]),
            }
            for field in schema["fields"]
            if not field.get("init_only")
        ]
        return made

    def _walk_default(self, schema: Schema) -> Schema:
        made = self._walk_nullable(schema)
        made.pop("on_error", None)
        made["validate_default"] = False
        if type(schema.get("default")) is int:
            made["schema"] = _or_integer(made["schema"])
        return made

    def check_annotations(self) -> None:
        """Raises `SpecError` for a class that makes its values by functions of its own.

        Its schema does not say of which class its values are.
        """
        models = [held for held in self.classes if issubclass(held, BaseModel)]
        for model in models:
            for field, info in model.model_fields.items():
                for cls in _classes_in(info.annotation):
                    if _is_opaque(cls):
                        raise _refusal(self._cls, model, field, cls.__name__)

    def _refuse(self, what: str) -> NoReturn:
        raise _refusal(self._cls, *self._field_of, what)


def no_schema(cls: type[BaseModel]) -> SpecError:
    """The error for a contract with a field for which pydantic has no schema."""
    for field, info in cls.__pydantic_fields__.items():
        try:
            TypeAdapter(info.rebuild_annotation())
        except PydanticUserError:
            unknown = [one for one in _classes_in(info.annotation) if not _has_schema(one)]
            return _refusal(cls, cls, field, unknown[0].__name__ if unknown else "")
    return _refusal(cls, cls, "", "")


def _has_schema(cls: type) -> bool:
    try:
        TypeAdapter(cls)
    except PydanticUserError:
        return False
    return True


def _refusal(contract: type, holder: type, field: str, what: str) -> SpecError:
    fields = getattr(holder, "__annotations__", {})
    declared = fields.get(field, what)
    text = declared if isinstance(declared, str) else _shown(declared)
    where = f"the field {field!r}" if holder is contract else f"{holder.__qualname__}.{field}"
    return SpecError(
        f"contract {contract.__qualname__}: {where} is declared as {text}, and values of this "
        "type cannot travel between hosts.",
        advice=INSTEAD.get(what, DECLARE),
    )


_ABSTRACT: Final = frozenset({"builtins", "collections.abc", "numbers", "typing"})


def _core(schema: Any) -> CoreSchema:
    found: CoreSchema = schema
    return found


def _schema_of(cls: type) -> Schema:
    found: Any = (
        cls.__pydantic_core_schema__ if issubclass(cls, BaseModel) else TypeAdapter(cls).core_schema
    )
    return dict(found)


def _kept(schema: Mapping[str, Any]) -> Schema:
    return {key: value for key, value in schema.items() if key not in NOT_ON_ARRIVAL}


def _config(schema: Schema) -> Schema:
    return {key: value for key, value in schema.get("config", {}).items() if key in CONFIG}


def _let_integers_be(arguments: Schema) -> None:
    for field in arguments["fields"]:
        field["schema"] = _or_integer(field["schema"])


def _or_integer(schema: Schema) -> Schema:
    """Let an integer stay one that nobody has converted: type checkers take it for a float."""
    if schema["type"] in {"default", "nullable"}:
        return {**schema, "schema": _or_integer(schema["schema"])}
    if schema["type"] != "float":
        return schema
    integer = {key: value for key, value in schema.items() if key != "allow_inf_nan"}
    return {"type": "union", "choices": [schema, {**integer, "type": "int"}]}


def _is_internal(function: Any) -> bool:
    """Whether a function is one of pydantic's that only checks, or builds a standard type."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None) or ""
    return module.startswith(("pydantic._internal", "pydantic.functional"))


def _as_sent(value: Any, check: Callable[[Any], Any]) -> Any:
    """A sequence with its class; a list may come in its bare form."""
    if isinstance(value, str | bytes):
        raise ValueError("a text is no sequence of values")  # noqa: TRY004 - pydantic's errors
    if type(value) is list:
        return check(value)
    check(list(value))
    return value


def _url_as_sent(value: Any, make: Callable[[Any], Any]) -> Any:
    """A URL of the declared class, or of a class derived from it, checked by its text."""
    if not isinstance(value, URLS):
        raise ValueError("a URL is expected")  # noqa: TRY004 - pydantic's errors
    made = make(str(value))
    return value if isinstance(value, type(made)) else made


def _classes_in(annotation: Any) -> Iterator[type]:
    """The classes in an annotation; recursive aliases name only classes that pydantic knows."""
    arguments = get_args(annotation)
    cls = get_origin(annotation) or annotation
    if isinstance(cls, type):
        yield cls
    for argument in arguments:
        if argument is not annotation:
            yield from _classes_in(argument)


def _is_opaque(cls: type) -> bool:
    if cls.__module__.startswith("pydantic") or cls is defaultdict:
        return cls.__name__.partition("[")[0] in OPAQUE
    if issubclass(cls, URLS):
        return True
    if not hasattr(cls, "__get_pydantic_core_schema__") or hasattr(cls, "to_external"):
        return False
    if issubclass(cls, BaseModel | enum.Enum) or dataclasses.is_dataclass(cls):
        return False
    return "'type': 'function-" in repr(TypeAdapter(cls).core_schema)


def _shown(annotation: Any) -> str:
    """An annotation as it is written."""
    is_class = isinstance(annotation, type) and not get_args(annotation)
    return annotation.__name__ if is_class else str(annotation).replace("typing.", "")
