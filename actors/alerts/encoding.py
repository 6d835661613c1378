"""How alerts, groups, silences and rules are stored: rows of bytes under texts.

A row begins with the version of its format; the fields of the class follow, in their order. A row
that does not decode is an error of its own, and never another state.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgpack

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreDamaged

from ..metrics.series import Matcher
from .grouping import AlertGroup, Notification
from .health import RuleHealth
from .matching import matcher, matcher_text
from .silences import Silence
from .states import Alert

__all__ = [
    "FILES",
    "KINDS",
    "MODEL",
    "OWNER",
    "GroupMoment",
    "Owner",
    "ReloadedFiles",
    "Stored",
    "decode",
    "encode",
    "key_of",
]

MODEL: Final = "callboard.alerts"
"""The name of the read model that holds the rows."""
OWNER: Final = "owner"
FILES: Final = "files"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Owner:
    """The incarnation of the alert manager that writes."""

    fence: int
    name: str


@dataclass(frozen=True, slots=True)
class GroupMoment:
    """When a group of rules was evaluated last; stored while one of its alerts is pending."""

    group: str
    evaluated_ns: int


@dataclass(frozen=True, slots=True)
class ReloadedFiles:
    """The files that have replaced those of the start."""

    origin: str
    """The start that they belong to: the files of a later one come in their place."""
    files: tuple[tuple[str, str], ...]
    """The names and the texts."""


Stored = Alert | AlertGroup | Silence | RuleHealth | GroupMoment | Owner | ReloadedFiles


def key_of(value: Stored) -> str:
    """The key of a row."""
    match value:
        case Alert():
            return f"alert/{value.id}"
        case AlertGroup():
            return f"group/{value.id}"
        case Silence():
            return f"silence/{value.id}"
        case RuleHealth():
            return f"rule/{value.id}"
        case GroupMoment():
            return f"moment/{value.group}"
        case Owner():
            return OWNER
        case ReloadedFiles():
            return FILES


KINDS: Final[Mapping[str, Any]] = {
    "alert": Alert,
    "group": AlertGroup,
    "silence": Silence,
    "rule": RuleHealth,
    "moment": GroupMoment,
    OWNER: Owner,
    FILES: ReloadedFiles,
}
"""What a row is, by the beginning of its key."""
FIELDS: Final[Mapping[type[Any], Sequence[str]]] = {
    kind: [each.name for each in dataclasses.fields(kind)]
    for kind in (*KINDS.values(), Notification)
}


def encode(value: Stored) -> bytes:
    """The bytes of a row."""
    packed: bytes = msgpack.packb((FORMAT, *_plain(value)), unicode_errors="surrogatepass")
    return packed


def _plain(value: Any) -> Any:
    """What MessagePack knows; of a dataclass the values of its fields, in their order."""
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is tuple:
        return [_plain(each) for each in value]
    if kind is frozenset:
        return sorted(value)
    if kind is Matcher:
        return matcher_text(value)
    names = FIELDS.get(kind)
    return value if names is None else [_plain(getattr(value, name)) for name in names]


def decode(key: str, data: bytes) -> Stored:
    """The value of a row. Raises `StoreDamaged`."""
    try:
        form, *fields = msgpack.unpackb(data, unicode_errors="surrogatepass")
        assert form == FORMAT, f"its format is {form!r}"
        value: Stored = _reader(KINDS[key.partition("/")[0]])(fields)
        assert key_of(value) == key, "it belongs to another key"
    except (
        ValueError, TypeError, LookupError, AttributeError, CallboardError,
        msgpack.UnpackException, AssertionError,
    ) as error:  # fmt: skip
        raise StoreDamaged(
            f"the row {key!r} of the alerts does not decode: {error}.",
            advice="Restore the store from a backup, or delete the row: the alert begins again.",
        ) from error
    return value


@functools.cache
def _reader(hint: Hashable) -> Callable[..., Any]:
    """What makes a value of this type of what `_plain` has made. Raises for another value."""
    if hint in READERS:
        return READERS[hint]
    made: Any = hint
    kind: Any = get_origin(hint)
    inner = get_args(hint)
    if kind is types.UnionType:
        read_some = _reader(inner[0])
        return lambda data: None if data is None else read_some(data)
    if kind is frozenset or inner[-1:] == (...,):
        read_each = _reader(inner[0])
        return lambda data: kind(map(read_each, data))
    if kind is tuple:
        readers = list(map(_reader, inner))
        return lambda data: tuple([r(each) for r, each in zip(readers, data, strict=True)])
    if made not in FIELDS:
        enumerated: Callable[..., Any] = made
        return enumerated
    hints = get_type_hints(made)
    by_name = [(name, _reader(hints[name])) for name in FIELDS[made]]
    return lambda data: made(
        **{name: read(each) for (name, read), each in zip(by_name, data, strict=True)}
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no text")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r:.60} is no whole number")
    return value


READERS: Final[Mapping[Any, Callable[[Any], Any]]] = {
    str: _text,
    int: _whole,
    float: float,
    Matcher: matcher,
}
