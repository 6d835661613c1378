"""Contracts: the versioned, frozen message types that everything between actors is.

A contract is a pydantic model with a name and a version. A request is a contract that
names its reply, so that `ask` is typed by it:

    class Findings(Contract):
        count: int

    class ReviewFile(Request[Findings], name="review.file", version=2):
        path: str
        upcasters = {1: lambda fields: {"path": fields["file"]}}

What makes two contracts the same across processes is (name, version), and a
fingerprint of the schema finds the change that forgot to raise the version.

Nothing is registered when a class is made: Ray imports modules in many processes, and
a class from a driver's `__main__` is rebuilt in its workers. A `ContractRegistry`
belongs to one host and learns contracts from the actors it starts; what it does not
know yet it looks for among the imported subclasses of `Contract`.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import (
    InvalidMessage,
    PayloadTooLarge,
    SpecError,
    UnknownContract,
    VersionMismatch,
)
from .limits import DEFAULT_LIMITS, Limits

__all__ = [
    "Contract",
    "ContractInfo",
    "ContractKey",
    "ContractRegistry",
    "Request",
    "Upcaster",
    "check_depth",
    "contract_key",
    "describe_contract",
    "reply_type",
]

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]
"""Turns the fields of one version into those of the next version."""

ReplyT = TypeVar("ReplyT", covariant=True)

NAME_CHARS_MAX: Final = 200
PROBLEMS_SHOWN_MAX: Final = 3


class Contract(BaseModel):
    """The base of every message: frozen, closed to unknown fields, named and versioned.

    Class keywords: `name` (default: module and class name) and `version` (default 1).
    `upcasters` maps a version to the function that leads to the next one.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True
    )

    contract_name: ClassVar[str] = "callboard.Contract"
    contract_version: ClassVar[int] = 1
    upcasters: ClassVar[Mapping[int, Upcaster]] = {}

    def __init_subclass__(
        cls, *, name: str | None = None, version: int = 1, **keywords: Any
    ) -> None:
        super().__init_subclass__(**keywords)
        if not isinstance(version, int) or version < 1:
            raise SpecError(
                f"contract {cls.__qualname__}: version is {version!r}.",
                advice="Versions are whole numbers from 1 on.",
            )
        chosen = name if name is not None else f"{cls.__module__}.{cls.__qualname__}"
        if not chosen or len(chosen) > NAME_CHARS_MAX:
            raise SpecError(
                f"contract {cls.__qualname__}: the name has {len(chosen)} characters.",
                advice=f"Give it 1 to {NAME_CHARS_MAX}.",
            )
        # Plain class attributes: they survive cloudpickle's two-step rebuild of a
        # class from `__main__`, which does not repeat the class keywords.
        cls.contract_name = chosen
        cls.contract_version = version


if TYPE_CHECKING:

    class Request(Contract, Generic[ReplyT]):
        """A contract that is answered by a `ReplyT` (a contract, or None)."""

else:

    class Request(Contract):
        """A contract that is answered by its type argument (a contract, or None)."""

        reply_contract: ClassVar[Any] = None

        def __class_getitem__(cls, reply: Any) -> GenericAlias:
            # Not pydantic's generics: they make a class per argument and put it into
            # this module, where another process does not find it by reference.
            return GenericAlias(cls, (reply,))

        def __init_subclass__(cls, **keywords: Any) -> None:
            super().__init_subclass__(**keywords)
            for base in cls.__dict__.get("__orig_bases__", ()):
                origin = get_origin(base)
                if isinstance(origin, type) and issubclass(origin, Request):
                    cls.reply_contract = _checked_reply(cls, get_args(base)[0])


def _checked_reply(cls: type, reply: Any) -> type[Contract] | None:
    if reply is None or reply is type(None) or isinstance(reply, TypeVar):
        return None
    if isinstance(reply, type) and issubclass(reply, Contract):
        return reply
    raise SpecError(
        f"request {cls.__qualname__} names {reply!r} as its reply.",
        advice="A reply is a Contract class that is already defined, or None.",
    )


def reply_type(request: "type[Contract]") -> type[Contract] | None:
    """The contract that answers this request; None when it answers with None."""
    found: type[Contract] | None = getattr(request, "reply_contract", None)
    return found


class ContractKey(NamedTuple):
    """What a frame says of a contract: enough to refuse the wrong one clearly."""

    name: str
    version: int
    fingerprint: int

    def __str__(self) -> str:
        return f"{self.name} v{self.version} (schema {self.fingerprint:016x})"


class ContractInfo:
    """One contract, ready for the hot path: its key and its bound validator."""

    __slots__ = ("bounded", "cls", "key", "validate")

    def __init__(self, cls: type[Contract]) -> None:
        self.cls = cls
        schema = _schema(cls)
        digest = hashlib.sha256(schema.encode()).digest()
        self.key = ContractKey(
            cls.contract_name, cls.contract_version, int.from_bytes(digest[:7], "big")
        )
        self.validate: Callable[[Any], Contract] = cls.__pydantic_validator__.validate_python
        # A schema without free-form parts bounds the depth of what validates; only the
        # others need their decoded fields walked.
        self.bounded = _depth_is_bounded(cls)

    def build(self, fields: Fields) -> Contract:
        """A message from decoded fields; raises `InvalidMessage` naming field and problem."""
        try:
            return self.validate(fields)
        except ValidationError as error:
            raise InvalidMessage(
                f"a message does not keep contract {self.key}: {_problems(error)}.",
                advice="Send what the contract declares.",
                contract=self.key.name,
            ) from None


def _problems(error: ValidationError) -> str:
    rows = error.errors(include_url=False, include_context=False, include_input=False)
    shown = "; ".join(
        f"{'.'.join(str(part) for part in row['loc']) or 'message'}: {row['msg']}"
        for row in rows[:PROBLEMS_SHOWN_MAX]
    )
    more = len(rows) - PROBLEMS_SHOWN_MAX
    return shown + (f"; and {more} more" if more > 0 else "")


def _schema(cls: type[Contract]) -> str:
    try:
        described: Any = cls.model_json_schema()
    except Exception:  # noqa: BLE001 - a field type of the user's may have no JSON schema
        described = {
            field: repr(info.annotation) + ("" if info.is_required() else "?")
            for field, info in cls.model_fields.items()
        }
    else:
        described = _without_prose(described)
    return json.dumps(described, sort_keys=True, default=repr)


def _without_prose(schema: Any) -> Any:
    """A schema without its descriptions: rewording a docstring is no new schema."""
    if isinstance(schema, dict):
        return {
            key: _without_prose(value)
            for key, value in schema.items()
            if not (key in {"description", "title", "examples"} and isinstance(value, str | list))
        }
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    return schema


def _depth_is_bounded(cls: type[BaseModel], above: tuple[type, ...] = ()) -> bool:
    if cls in above:
        return False
    return all(
        _annotation_is_bounded(field.annotation, (*above, cls))
        for field in cls.model_fields.values()
    )


def _annotation_is_bounded(annotation: Any, above: tuple[type, ...]) -> bool:
    arguments = get_args(annotation)
    if arguments:
        origin = get_origin(annotation)
        return (isinstance(origin, type) or origin is UnionType or origin is not None) and all(
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
        return _depth_is_bounded(annotation, above)
    return not issubclass(annotation, list | dict | tuple | set | frozenset)


# Looked up once per message sent: kept on the class itself, so that a class that is
# collected takes its entry with it.
_INFO_ATTRIBUTE: Final = "__callboard_contract_info__"


def describe_contract(cls: type[Contract]) -> ContractInfo:
    """The `ContractInfo` of a class, made at first use."""
    info: ContractInfo | None = cls.__dict__.get(_INFO_ATTRIBUTE)
    if info is None or info.cls is not cls:
        cls.model_rebuild()
        info = ContractInfo(cls)
        setattr(cls, _INFO_ATTRIBUTE, info)
    return info


def contract_key(cls: type[Contract]) -> ContractKey:
    """Name, version and schema fingerprint of a contract class."""
    return describe_contract(cls).key


class ContractRegistry:
    """The contracts one host knows, by name; `resolve` is what the edge asks."""

    __slots__ = ("_by_name", "_depth_max", "_resolved")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._depth_max = limits.depth_max
        self._by_name: dict[str, ContractInfo] = {}
        self._resolved: dict[tuple[str, int, int], Callable[[Fields], Contract]] = {}

    def learn(self, cls: type[Contract]) -> ContractInfo:
        """Take a contract in; a newer version of a name replaces the older one.

        Raises `SpecError` when the same name and version mean two schemas.
        """
        info = describe_contract(cls)
        known = self._by_name.get(info.key.name)
        if known is not None and known.key != info.key:
            if known.key.version == info.key.version:
                raise SpecError(
                    f"two schemas for contract {info.key.name} v{info.key.version}: "
                    f"{known.cls.__module__}.{known.cls.__qualname__} and "
                    f"{cls.__module__}.{cls.__qualname__}.",
                    advice="Raise the version of the changed one, or give one another name.",
                )
            if known.key.version > info.key.version:
                return info
        if known is None or known.cls is not cls:
            self._by_name[info.key.name] = info
            self._resolved.clear()
        return info

    def resolve(self, name: str, version: int, fingerprint: int) -> Callable[[Fields], Contract]:
        """The builder for fields of that name, version and schema.

        Raises `UnknownContract`, or `VersionMismatch` when no upcaster leads from
        there to the version known here.
        """
        builder = self._resolved.get((name, version, fingerprint))
        if builder is None:
            builder = self._resolved[(name, version, fingerprint)] = self._builder(
                ContractKey(name, version, fingerprint)
            )
        return builder

    def _builder(self, key: ContractKey) -> Callable[[Fields], Contract]:
        info = self._by_name.get(key.name) or self._search(key.name)
        if info is None:
            raise UnknownContract(
                f"no contract {key.name!r} is known here.",
                advice="Import its module on this host, or start an actor that handles it.",
                contract=key.name,
            )
        if info.key == key:
            return info.build if info.bounded else self._depth_checking(info.build)
        if info.key.version == key.version:
            raise VersionMismatch(
                f"contract {key.name} v{key.version} has another schema here "
                f"({info.key.fingerprint:016x}) than at the sender ({key.fingerprint:016x}).",
                advice="Raise its version when its fields change, and add an upcaster.",
                contract=key.name,
            )
        steps = [info.cls.upcasters.get(step) for step in range(key.version, info.key.version)]
        if key.version > info.key.version or None in steps:
            raise VersionMismatch(
                f"contract {key.name} is v{info.key.version} here, the message is "
                f"v{key.version}, and no chain of upcasters leads there.",
                advice="Update this host, or add the missing upcaster.",
                contract=key.name,
            )
        upcast = _upcasting(info, [step for step in steps if step is not None])
        return self._depth_checking(upcast)

    def _depth_checking(self, build: Callable[[Fields], Contract]) -> Callable[[Fields], Contract]:
        def checked(fields: Fields) -> Contract:
            check_depth(fields, self._depth_max)
            return build(fields)

        return checked

    def _search(self, name: str) -> ContractInfo | None:
        """Look among all imported contracts: a subclass may reply where its base is named."""
        newest: type[Contract] | None = None
        for cls in _subclasses(Contract):
            if cls.contract_name == name and (
                newest is None or cls.contract_version >= newest.contract_version
            ):
                newest = cls
        return None if newest is None else self.learn(newest)

    def names(self) -> tuple[str, ...]:
        """The names of all contracts taken in so far, in order."""
        return tuple(sorted(self._by_name))


def _upcasting(info: ContractInfo, steps: list[Upcaster]) -> Callable[[Fields], Contract]:
    def build(fields: Fields) -> Contract:
        for step in steps:
            try:
                fields = step(fields)
            except Exception as error:
                raise VersionMismatch(
                    f"an upcaster of contract {info.key.name} failed: {error!r}.",
                    advice="An upcaster takes the fields of its version and returns the next's.",
                    contract=info.key.name,
                ) from error
        return info.build(fields)

    return build


def check_depth(value: Any, depth_max: int) -> None:
    """Raises `PayloadTooLarge` when `value` nests deeper than `depth_max` levels."""
    level: list[Any] = [value]
    # Level by level, not by recursion: what is checked may be as deep as it likes.
    for _ in range(depth_max + 1):
        below: list[Any] = []
        for item in level:
            inside = item.values() if type(item) is dict else item
            below.extend(part for part in inside if type(part) in _CONTAINERS)
        if not below:
            return
        level = below
    raise PayloadTooLarge(
        f"a message nests deeper than {depth_max} levels.",
        advice="Flatten it, or put it into a store and send a reference.",
    )


_CONTAINERS: Final = frozenset((dict, list, tuple))


def _subclasses(cls: type[Contract]) -> Iterator[type[Contract]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)

