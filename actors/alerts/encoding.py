"""How alerts, groups, silences and rules are stored: rows of bytes under texts.

A row begins with the version of its format. A row that does not decode is an error of its own,
and never another state.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgpack

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreDamaged

from .grouping import AlertGroup, Notification
from .health import RuleHealth, RuleState
from .matching import Labels, matcher, matcher_text
from .silences import Silence
from .states import Alert, AlertState

__all__ = [
    "FILES",
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


def encode(value: Stored) -> bytes:
    """The bytes of a row."""
    fields: tuple[Any, ...]
    match value:
        case Alert():
            fields = _alert_fields(value)
        case AlertGroup():
            sent = value.open
            fields = (
                value.id, value.route, value.labels, value.created_ns, value.notified_ns,
                value.sequence, sorted(value.firing), sorted(value.unsure),
                None if sent is None else _notification_fields(sent),
            )  # fmt: skip
        case Silence():
            fields = (
                value.id, [matcher_text(each) for each in value.matchers], value.from_ns,
                value.until_ns, value.author, value.comment,
            )  # fmt: skip
        case RuleHealth():
            fields = (
                value.id, value.group, value.name, value.expression, value.state, value.problem,
                value.since_ns, value.missing,
            )  # fmt: skip
        case GroupMoment():
            fields = (value.group, value.evaluated_ns)
        case Owner():
            fields = (value.fence, value.name)
        case ReloadedFiles():
            fields = (value.origin, value.files)
    packed: bytes = msgpack.packb((FORMAT, *fields), unicode_errors="surrogatepass")
    return packed


def _alert_fields(alert: Alert) -> tuple[Any, ...]:
    return (
        alert.id, alert.rule, alert.group, alert.labels, alert.annotations, alert.state,
        alert.value, alert.active_since_ns, alert.fired_at_ns, alert.ended_since_ns,
        alert.resolved_at_ns,
    )  # fmt: skip


def _notification_fields(sent: Notification) -> tuple[Any, ...]:
    return (
        sent.key, sent.receiver, sent.group, [_alert_fields(alert) for alert in sent.alerts],
        sent.made_at_ns, sent.left_off,
    )  # fmt: skip


def decode(key: str, data: bytes) -> Stored:
    """The value of a row. Raises `StoreDamaged`."""
    try:
        form, *fields = msgpack.unpackb(data, unicode_errors="surrogatepass")
        assert form == FORMAT, f"its format is {form!r}"
        value = _value(key.partition("/")[0], fields)
        assert key_of(value) == key, "it belongs to another key"
    except (
        ValueError, TypeError, IndexError, AttributeError, CallboardError, msgpack.UnpackException,
        AssertionError,
    ) as error:  # fmt: skip
        raise StoreDamaged(
            f"the row {key!r} of the alerts does not decode: {error}.",
            advice="Restore the store from a backup, or delete the row: the alert begins again.",
        ) from error
    return value


def _value(kind: str, fields: list[Any]) -> Stored:
    match kind:
        case "alert":
            return _alert(fields)
        case "group":
            return _group(fields)
        case "silence":
            name, matchers, from_ns, until_ns, author, comment = fields
            return Silence(
                id=_text(name), matchers=tuple(map(matcher, matchers)), from_ns=_whole(from_ns),
                until_ns=_whole(until_ns), author=_text(author), comment=_text(comment),
            )  # fmt: skip
        case "rule":
            name, group, rule, expression, state, problem, since_ns, missing = fields
            return RuleHealth(
                id=_text(name), group=_text(group), name=_text(rule), expression=_text(expression),
                state=RuleState(state), problem=_text(problem), since_ns=_whole(since_ns),
                missing=tuple(map(_text, missing)),
            )  # fmt: skip
        case "moment":
            return GroupMoment(_text(fields[0]), _whole(fields[1]))
        case "owner":
            return Owner(_whole(fields[0]), _text(fields[1]))
        case "files":
            return ReloadedFiles(_text(fields[0]), _labels(fields[1]))
        case _:
            raise ValueError("nothing has such a key")


def _alert(fields: list[Any]) -> Alert:
    name, rule, group, labels, annotations, state, value, active, fired, ended, resolved = fields
    return Alert(
        id=_text(name), rule=_text(rule), group=_text(group), labels=_labels(labels),
        annotations=_labels(annotations), state=AlertState(state), value=float(value),
        active_since_ns=_whole(active), fired_at_ns=_whole(fired), ended_since_ns=_whole(ended),
        resolved_at_ns=_whole(resolved),
    )  # fmt: skip


def _group(fields: list[Any]) -> AlertGroup:
    name, route, labels, created, notified, sequence, firing, unsure, sent = fields
    made = AlertGroup(
        id=_text(name), route=_text(route), labels=_labels(labels), created_ns=_whole(created),
        notified_ns=_whole(notified), sequence=_whole(sequence),
        firing=frozenset(map(_text, firing)), unsure=frozenset(map(_text, unsure)),
    )  # fmt: skip
    if sent is None:
        return made
    key, receiver, group, alerts, made_at, left_off = sent
    notification = Notification(
        key=_text(key), receiver=_text(receiver), group=_labels(group),
        alerts=tuple(map(_alert, alerts)), made_at_ns=_whole(made_at), left_off=_whole(left_off),
    )  # fmt: skip
    return replace(made, open=notification)


def _labels(pairs: Iterable[Any]) -> Labels:
    return tuple((_text(name), _text(value)) for name, value in pairs)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no text")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r:.60} is no whole number")
    return value
