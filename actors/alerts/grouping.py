"""Groups of alerts, and when which notification is due.

A notification of a group is made once its first alert has waited for `group_wait`; then at most
one each `group_interval`, when there is news: an alert that fires and was not delivered yet, or
one that was delivered as firing and has ended. Without news, `repeat_interval` counts.

A notification is stored before it is sent, and sent until it is delivered or given up. So it may
arrive twice (after a crash, or an answer that got lost), and has the same key each time. Until
then the group makes no other one.

What is muted (silenced or inhibited) is in no notification. The end of an alert that was delivered
as firing is delivered too: after the silence, if it is muted at that time.
"""

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .matching import Labels
from .routing import AlertRoute
from .rules import digest
from .states import Alert, AlertState

__all__ = [
    "NOTIFIED_MAX",
    "AlertGroup",
    "Notification",
    "Outcome",
    "is_needed",
    "settled",
    "with_due",
]

NOTIFIED_MAX: Final = 500
"""The alerts of one notification; further ones are in the next."""


@enum.unique
class Outcome(enum.Enum):
    """How a notification ended."""

    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
    """It was sent several times, and none is known to have arrived; one may have."""
    WITHDRAWN = "withdrawn"
    """One of its alerts was silenced before it was known to have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What a receiver gets."""

    key: str
    """The same for each attempt to deliver it; no other notification has it."""
    receiver: str
    """The name of the receiver."""
    group: Labels
    """The labels that its alerts share, as the route groups them."""
    alerts: tuple[Alert, ...]
    """Those that fire, and those that have ended."""
    made_at_ns: int
    """When it was made."""
    left_off: int = 0
    """Alerts of the group that fire too, and did not fit."""

    @property
    def is_firing(self) -> bool:
        """Whether one of its alerts fires."""
        return any(alert.state is AlertState.FIRING for alert in self.alerts)

    def ids(self, state: AlertState) -> frozenset[str]:
        """Its alerts in this state."""
        return frozenset(alert.id for alert in self.alerts if alert.state is state)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertGroup:
    """The alerts of a route that share some labels, and what was delivered of them."""

    id: str
    route: str
    labels: Labels
    created_ns: int
    notified_ns: int = 0
    """When its last notification was made; 0 before the first one."""
    sequence: int = 0
    """How many notifications it has made."""
    firing: frozenset[str] = frozenset()
    """The alerts that were delivered as firing, and whose end was not."""
    unsure: frozenset[str] = frozenset()
    """The alerts that may have been delivered as firing: their end is delivered, too."""
    open: Notification | None = None
    """The notification that is not delivered yet."""


def group_id(route: AlertRoute, labels: Labels) -> str:
    """The identity of a group."""
    return digest(route.id, *(part for pair in labels for part in pair))


def new_group(route: AlertRoute, labels: Labels, now_ns: int) -> AlertGroup:
    """A group that has just got its first alert."""
    return AlertGroup(id=group_id(route, labels), route=route.id, labels=labels, created_ns=now_ns)


def with_due(
    group: AlertGroup,
    route: AlertRoute,
    members: Mapping[str, Alert],
    muted: Collection[str],
    now_ns: int,
    *,
    sends_resolved: bool,
) -> AlertGroup:
    """The group, with an open notification if one is due now."""
    if group.open is not None:
        return group
    group = _without_ended(group, members, sends_resolved=sends_resolved)
    audible = [alert for key, alert in members.items() if key not in muted]
    firing = [alert for alert in audible if alert.state is AlertState.FIRING]
    ended = [
        alert
        for alert in audible
        if alert.state is AlertState.RESOLVED and alert.id in group.firing | group.unsure
    ]
    new = [alert for alert in firing if alert.id not in group.firing]
    if group.sequence == 0:
        is_due = bool(new) and now_ns >= group.created_ns + route.wait_ns
    else:
        is_news = bool(new or ended) and now_ns >= group.notified_ns + route.interval_ns
        is_due = is_news or (
            bool(firing) and now_ns >= group.notified_ns + max(route.repeat_ns, route.interval_ns)
        )
    if not is_due:
        return group
    # What is news comes first: alerts that do not fit are in a later notification.
    old = [alert for alert in firing if alert.id in group.firing]
    chosen = (*ended, *new, *old)[:NOTIFIED_MAX]
    sequence = group.sequence + 1
    notification = Notification(
        key=digest(group.id, str(sequence), str(now_ns)),
        receiver=route.receiver,
        group=group.labels,
        alerts=tuple(sorted(chosen, key=_order)),
        made_at_ns=now_ns,
        left_off=len(ended) + len(firing) - len(chosen),
    )
    return replace(group, open=notification, sequence=sequence, notified_ns=now_ns)


def _order(alert: Alert) -> tuple[bool, int, str]:
    return alert.state is not AlertState.FIRING, alert.fired_at_ns, alert.id


def _without_ended(
    group: AlertGroup, members: Mapping[str, Alert], *, sends_resolved: bool
) -> AlertGroup:
    """Forget delivered alerts whose end nobody wants to hear, or that exist no more."""
    if sends_resolved:
        gone = frozenset(key for key in group.firing | group.unsure if key not in members)
    else:
        gone = frozenset(
            key
            for key in group.firing | group.unsure
            if key not in members or members[key].state is not AlertState.FIRING
        )
    if not gone:
        return group
    return replace(group, firing=group.firing - gone, unsure=group.unsure - gone)


def settled(group: AlertGroup, key: str, outcome: Outcome) -> AlertGroup:
    """The group after the end of its open notification; the same for any other key."""
    sent = group.open
    if sent is None or sent.key != key:
        return group
    firing, ended = sent.ids(AlertState.FIRING), sent.ids(AlertState.RESOLVED)
    if outcome is Outcome.DELIVERED:
        return replace(
            group,
            open=None,
            firing=(group.firing | firing) - ended,
            unsure=group.unsure - firing - ended,
        )
    return replace(group, open=None, unsure=group.unsure | (firing - group.firing))


def is_needed(
    group: AlertGroup, route: AlertRoute, members: Mapping[str, Alert], now_ns: int
) -> bool:
    """Whether the group still has something to say, or keeps its interval."""
    if group.open is not None or group.firing or group.unsure:
        return True
    if any(alert.state is AlertState.FIRING for alert in members.values()):
        return True
    # An alert that comes and goes stays in one group, whose wait is over at some time.
    begun_ns = group.notified_ns if group.sequence else group.created_ns + route.wait_ns
    return now_ns < begun_ns + route.interval_ns
