"""Contracts: the versioned, frozen types of all messages between actors.

A contract is a pydantic model with a name and a version. A request is a contract that
declares its reply, which gives `ask` its type:

    class Findings(Contract):
        count: int

    class ReviewFile(Request[Findings], name="review.file", version=2):
        path: str
        upcasters = {1: lambda fields: {"path": fields["file"]}}

Name and version identify a contract across processes. A fingerprint of the schema finds
a change that forgot to raise the version.

Making a class registers nothing: Ray imports modules in many processes, and a class from
a driver's `__main__` is rebuilt in its workers. A `ContractRegistry` belongs to one host
and learns contracts from the actors that it starts; it searches for others among the
imported subclasses of `Contract`.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import GenericAlias
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
)

import msgpack
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import CoreSchema

from .arrival import Arrival, no_schema
from .errors import InvalidMessage, PayloadTooLarge, SpecError, UnknownContract, VersionMismatch
from .limits import DEFAULT_LIMITS, Limits
from .module_names import former_name, module_of, near_match
from .names import check_name
from .schema import depth_is_bounded, schema_fingerprint
from .travel import MARK, Travel

__all__ = [
    "Build",
    "Contract",
    "ContractInfo",
    "ContractKey",
    "ContractRegistry",
    "Request",
    "Upcaster",
    "check_depth",
    "contract_key",
    "describe_contract",
    "is_same_contract",
    "reply_type",
]

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]
"""Turns the fields of one version into the fields of the next."""

ReplyT = TypeVar("ReplyT", covariant=True)

NAME_BYTES_MAX: Final = 200
PROBLEMS_SHOWN_MAX: Final = 3


class Contract(BaseModel):
    """The base class of every message: frozen, without unknown fields, named and versioned.

    Class keywords: `name` (default: module and class name, see `names.py`) and `version`
    (default 1).
    `upcasters` maps a version to the function that makes fields of the next version of its
    fields. A class that breaks these rules raises `SpecError`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True
    )

    contract_name: ClassVar[str] = "callboard.Contract"
    """The name that it is registered by."""
    contract_version: ClassVar[int] = 1
    """Its version, from 1."""
    contract_caches: ClassVar[bool] = False
    """Whether it has cached properties, which lie among the fields and do not travel."""
    contract_info: ClassVar["ContractInfo | None"] = None
    """Made at the first use. It is read once per message sent, and lies on the class itself, so
    that a class that is collected takes it with it. A derived class has its own."""
    upcasters: ClassVar[Mapping[int, Upcaster]] = {}
    """For a version, the function that makes fields of the next version of its fields."""

    def __init_subclass__(
        cls, *, name: str | None = None, version: int = 1, **keywords: Any
    ) -> None:
        super().__init_subclass__(**keywords)
        if type(version) is not int or version < 1:
            raise SpecError(
                f"contract {cls.__qualname__}: version is {version!r}.",
                advice="Versions are whole numbers from 1 on.",
            )
        chosen = name if name is not None else f"{module_of(cls)}.{cls.__qualname__}"
        check_name(f"contract {cls.__qualname__}: the name", chosen, bytes_max=NAME_BYTES_MAX)
        # Plain class attributes: they survive cloudpickle's two-step rebuild of a
        # class from `__main__`, which does not repeat the class keywords.
        cls.contract_name = chosen
        cls.contract_version = version
        cls.contract_caches = any(
            isinstance(attribute, functools.cached_property)
            for base in cls.__mro__
            for attribute in vars(base).values()
        )

    @classmethod
    def __pydantic_init_subclass__(cls, **keywords: Any) -> None:
        super().__pydantic_init_subclass__(**keywords)
        # A class whose annotations name later ones is checked at its first use.
        if cls.__pydantic_complete__ and not cls.__module__.startswith("callboard."):
            Arrival(cls).check_annotations()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        try:
            return handler(source)
        except PydanticSchemaGenerationError:
            raise no_schema(cls) from None


if TYPE_CHECKING:

    class Request(Contract, Generic[ReplyT]):
        """A contract whose reply is a `ReplyT`: a contract, or None."""

else:

    class Request(Contract):
        """A contract whose reply is its type argument: a contract, or None."""

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
        f"request {cls.__qualname__} declares {reply!r} as its reply.",
        advice="Declare a Contract class that is already defined, or None.",
    )


def reply_type(request: "type[Contract]") -> type[Contract] | None:
    """The contract of this request's reply; None for a request whose reply is None."""
    found: type[Contract] | None = getattr(request, "reply_contract", None)
    return found


class ContractKey(NamedTuple):
    """A contract's identity on the wire: enough to refuse a wrong one with a clear error."""

    name: str
    version: int
    fingerprint: int

    def __str__(self) -> str:
        return f"{self.name} v{self.version} (schema {self.fingerprint:016x})"


class ContractInfo:
    """One contract, ready for the hot path: its key, and how its messages travel and arrive."""

    __slots__ = ("bounded", "build", "cls", "has_caches", "head", "key", "travel")

    def __init__(self, cls: type[Contract]) -> None:
        self.cls = cls
        self.key = ContractKey(cls.contract_name, cls.contract_version, schema_fingerprint(cls))
        key: bytes = msgpack.packb(tuple(self.key))
        self.head = len(key).to_bytes(2, "big") + key
        """The key as it stands before the fields of a contract inside another one."""
        # A schema without free-form parts bounds the depth of what it accepts; only for
        # other schemas the depth of decoded fields is checked.
        self.bounded = depth_is_bounded(cls)
        self.has_caches: Final = cls.contract_caches
        self.travel: Final = Travel(cls)
        """How its values travel."""
        self.build: Final = Build(self)
        """Makes messages of decoded fields."""

    def construct(self, fields: Fields) -> Contract:
        """A new message of these fields, by the class itself and with its users' validators.

        Raises `InvalidMessage`, which names each problem.
        """
        try:
            return self.cls.model_validate(fields, by_name=True)
        except ValidationError as error:
            raise _violation(self, error) from None

    def __reduce__(self) -> tuple[Any, ...]:
        # It lies on its class, and a class that travels by value is described again.
        return type(None), ()


class Build:
    """Makes messages of one contract of fields that have arrived.

    Types and bounds are checked; the users' validators have run at the sender. `is_lax` lets
    fields of an earlier release be as a constructor takes them, such as a date as text.
    """

    __slots__ = ("_depth_max", "_info", "_is_lax", "_steps", "_validate", "make", "travel")

    def __init__(
        self,
        info: ContractInfo,
        steps: Sequence[Upcaster] = (),
        depth_max: int | None = None,
        *,
        is_lax: bool = False,
    ) -> None:
        self.travel: Final = info.travel
        self._info = info
        self._steps = steps
        self._depth_max = depth_max
        self._is_lax = is_lax or bool(steps)
        self._validate: Callable[..., Contract] = info.travel.validate
        is_plain = not self._is_lax and depth_max is None and not info.travel.is_marked
        self.make: Callable[[Fields], Contract] = self._plain if is_plain else self._checked
        """The message. Raises `InvalidMessage`, which names each problem, and the errors of
        `ContractRegistry.resolve`."""

    def __call__(self, fields: Fields) -> Contract:
        """The same as `make`."""
        return self.make(fields)

    def _plain(self, fields: Fields) -> Contract:
        try:
            return self._validate(fields)
        except ValidationError as error:
            raise _violation(self._info, error) from None

    def _checked(self, fields: Fields) -> Contract:
        if self._depth_max is not None:
            check_depth(fields, self._depth_max)
        marked: dict[Any, Any] = fields
        is_marked = self.travel.is_marked and marked.pop(MARK, None) is not None
        # An upcaster, too, may write a value as a constructor takes it.
        strict = True if is_marked and not self._steps else False if self._is_lax else None
        for step in self._steps:
            fields = _upcast(self._info, step, fields)
        try:
            return self._validate(fields, strict=strict)
        except ValidationError as error:
            raise _violation(self._info, error) from None


def _upcast(info: ContractInfo, step: Upcaster, fields: Fields) -> Fields:
    try:
        return step(fields)
    except Exception as error:
        raise VersionMismatch(
            f"an upcaster of contract {info.key.name} failed: {error!r}.",
            advice="An upcaster takes the fields of one version and returns those of the next.",
            contract=info.key.name,
        ) from error


def _violation(info: ContractInfo, error: ValidationError) -> InvalidMessage:
    return InvalidMessage(
        f"a message violates contract {info.key}: {_problems(error)}.",
        advice="Send the fields that the contract declares.",
        contract=info.key.name,
    )


def _problems(error: ValidationError) -> str:
    rows = error.errors(include_url=False, include_context=False, include_input=False)
    shown = "; ".join(
        f"{'.'.join(str(part) for part in row['loc']) or 'message'}: {row['msg']}"
        for row in rows[:PROBLEMS_SHOWN_MAX]
    )
    more = len(rows) - PROBLEMS_SHOWN_MAX
    return shown + (f"; and {more} more" if more > 0 else "")


def describe_contract(cls: type[Contract]) -> ContractInfo:
    """The `ContractInfo` of a class, made at first use. Raises `SpecError` for a wrong class."""
    info = cls.contract_info
    if info is None or info.cls is not cls:
        _check_class(cls)
        info = cls.contract_info = ContractInfo(cls)
    return info


def _check_class(cls: type[Contract]) -> None:
    try:
        cls.model_rebuild()
    except PydanticUndefinedAnnotation as error:
        raise SpecError(
            f"contract {cls.__qualname__}: {error.name!r} in its annotations is not defined.",
            advice="Define or import it at module level, and not only for type checkers.",
        ) from error
    if not cls.model_config.get("frozen") or cls.model_config.get("extra") == "allow":
        raise SpecError(
            f"contract {cls.__qualname__} is not frozen, or allows unknown fields.",
            advice="Leave frozen=True; extra may be 'forbid' or 'ignore'.",
        )


def contract_key(cls: type[Contract]) -> ContractKey:
    """Name, version and schema fingerprint of a contract class."""
    return describe_contract(cls).key


def is_same_contract(cls: type, other: type) -> bool:
    """Whether two classes are the same contract: the same name, version and schema.

    Each run of a driver script makes its own class of a contract in its `__main__`, and
    actors of several runs may share a host.
    """
    return (
        issubclass(cls, Contract)
        and issubclass(other, Contract)
        and cls.contract_name == other.contract_name
        and contract_key(cls) == contract_key(other)
    )


class ContractRegistry:
    """The contracts that one host knows, by name. `resolve` serves incoming messages."""

    __slots__ = ("_by_name", "_depth_max", "_resolved", "_resolved_max", "_resolved_packed")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._depth_max = limits.depth_max
        self._resolved_max = limits.contracts_max
        self._by_name: dict[str, ContractInfo] = {}
        self._resolved: dict[tuple[str, int, int], Build] = {}
        self._resolved_packed: dict[bytes, Build] = {}

    def learn(self, cls: type[Contract]) -> ContractInfo:
        """Add a contract; a newer version replaces an older one of the same name.

        Raises `SpecError` when one name and version have two schemas.
        """
        info = describe_contract(cls)
        known = self._by_name.get(info.key.name)
        if known is not None and known.key != info.key:
            if known.key.version == info.key.version:
                raise SpecError(
                    f"two schemas for contract {info.key.name} v{info.key.version}: "
                    f"{known.cls.__module__}.{known.cls.__qualname__} and "
                    f"{cls.__module__}.{cls.__qualname__}.",
                    advice="Raise the version of the changed class, or rename one of them.",
                )
            if known.key.version > info.key.version:
                return info
        if known is None or known.cls is not cls:
            self._by_name[info.key.name] = info
            self._forget()
        return info

    def resolve(self, name: str, version: int, fingerprint: int) -> Build:
        """What makes a message of fields with this name, version and schema.

        Raises `UnknownContract`, or `VersionMismatch` when no upcasters lead from that
        version to the one that is known here.
        """
        builder = self._resolved.get((name, version, fingerprint))
        if builder is None:
            builder = self._builder(ContractKey(name, version, fingerprint))
            if len(self._resolved) >= self._resolved_max:
                # An old version is accepted with any fingerprint, so a peer chooses the keys.
                self._forget()
            self._resolved[(name, version, fingerprint)] = builder
        return builder

    def resolve_packed(self, key: bytes) -> Build:
        """The same for a key as it stands before the fields of a contract inside another one."""
        build = self._resolved_packed.get(key)
        if build is None:
            build = self.resolve(*msgpack.unpackb(key))
            if len(self._resolved_packed) >= self._resolved_max:
                self._resolved_packed.clear()
            self._resolved_packed[key] = build
        return build

    def _forget(self) -> None:
        self._resolved.clear()
        self._resolved_packed.clear()

    def find(self, name: str) -> type[Contract] | None:
        """The class of this name; None when there is none."""
        info = self._by_name.get(name) or self._search(name)
        return None if info is None else info.cls

    def _builder(self, key: ContractKey) -> Build:
        info = self._by_name.get(key.name) or self._search(key.name)
        if info is None:
            near = near_match(key.name, {*self._by_name, *_names_of_users()}, "known")
            raise UnknownContract(
                f"no contract {key.name!r} is known here{near}.",
                advice="Import its module on this host, or start an actor that handles it.",
                contract=key.name,
            )
        # Without the name: what an earlier release stored may have a former one.
        if info.key[1:] == key[1:]:
            return info.build if info.bounded else Build(info, (), self._depth_max)
        if info.key.version == key.version:
            raise VersionMismatch(
                f"contract {key.name} v{key.version} has schema {info.key.fingerprint:016x} here "
                f"and schema {key.fingerprint:016x} at the sender.",
                advice="Raise the version when the fields change, and add an upcaster.",
                contract=key.name,
            )
        steps = _upcasters_from(key.version, info)
        if steps is None:
            raise VersionMismatch(
                f"contract {key.name} is v{info.key.version} here, the message is "
                f"v{key.version}, and no chain of upcasters leads there.",
                advice="Run the same release on both sides, or add the missing upcaster.",
                contract=key.name,
            )
        return Build(info, steps, self._depth_max)

    def _search(self, name: str) -> ContractInfo | None:
        """Search all imported contracts: a reply may be a subclass of the declared contract."""
        newest: type[Contract] | None = None
        for cls in _subclasses(Contract):
            names = (cls.contract_name, former_name(cls, cls.contract_name))
            if name in names and (
                newest is None or cls.contract_version >= newest.contract_version
            ):
                newest = cls
        return None if newest is None else self.learn(newest)

    def names(self) -> tuple[str, ...]:
        """The names of all contracts that were added so far, sorted."""
        return tuple(sorted(self._by_name))


def _upcasters_from(version: int, info: ContractInfo) -> list[Upcaster] | None:
    if not 1 <= version < info.key.version:
        return None
    steps: list[Upcaster] = []
    for number in range(version, info.key.version):
        step = info.cls.upcasters.get(number)
        if step is None:
            return None
        steps.append(step)
    return steps


def check_depth(value: Any, depth_max: int) -> None:
    """Raises `PayloadTooLarge` when `value` nests deeper than `depth_max` levels."""
    level: list[Any] = [value]
    # Level by level, not by recursion: the value may have any depth.
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


def _names_of_users() -> Iterator[str]:
    for cls in _subclasses(Contract):
        if not cls.__module__.startswith("callboard."):
            yield cls.contract_name


def _subclasses(cls: type[Contract]) -> Iterator[type[Contract]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)
