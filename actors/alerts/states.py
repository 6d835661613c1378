"""The states of one alert, and what an evaluation does to them.

| from | the condition | to |
|---|---|---|
| inactive | holds | pending; firing if the rule has no `for` |
| pending | holds, for less than `for` | pending |
| pending | has held for `for` | firing |
| pending | does not hold | inactive; resolved, if it comes from there |
| firing | holds, or `keep_firing_while` does | firing |
| firing | does not hold, within `keep_firing_for` | firing |
| firing | does not hold | resolved |
| resolved | holds | as from inactive, as a new alert |

A pending alert that comes from resolved counts as resolved for its receivers until it fires.
Inactive alerts are not kept. An evaluation that fails changes nothing. Time in which nobody
evaluated does not count for `for`: after a gap, an alert is pending for longer. A pending alert of
a rule that is gone is inactive, one that fires is resolved.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from .matching import Labels
from .rules import NAME_LABEL, AlertRule, digest
from .templates import template

__all__ = ["STEPS", "Alert", "AlertState", "Condition", "alert_id", "labels_of", "next_alert"]


@enum.unique
class AlertState(enum.StrEnum):
    """What an alert is now."""

    PENDING = "pending"
    """Its condition holds, but not for long enough."""
    FIRING = "firing"
    """Its receivers are notified."""
    RESOLVED = "resolved"
    """It has fired, and its condition does not hold any more."""


@enum.unique
class Condition(enum.Enum):
    """What an evaluation says of one alert."""

    HOLDS = "holds"
    KEPT = "kept"
    """The expression gives no sample, but `keep_firing_while` does."""
    ENDED = "ended"
    GONE = "gone"
    """Its rule does not exist any more."""


STEPS: Final[Mapping[AlertState | None, frozenset[AlertState | None]]] = {
    None: frozenset({None, AlertState.PENDING, AlertState.FIRING}),
    AlertState.PENDING: frozenset(
        {AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED, None}
    ),
    AlertState.FIRING: frozenset({AlertState.FIRING, AlertState.RESOLVED}),
    AlertState.RESOLVED: frozenset({AlertState.RESOLVED, AlertState.PENDING, AlertState.FIRING}),
}
"""The steps that an evaluation may make; None is inactive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert: a sample of a rule's expression, over time."""

    id: str
    """Its identity: that of its rule, and the labels of its sample."""
    rule: str
    """The identity of its rule."""
    group: str
    """The name of the rule's group."""
    labels: Labels
    """Those of the sample, those of the rule, and `alertname`."""
    annotations: Labels
    """Texts for people, rendered with the newest value."""
    state: AlertState
    """Its state now."""
    value: float
    """The newest value of the expression."""
    active_since_ns: int
    """Since when the condition holds; later by the time in which nobody evaluated."""
    fired_at_ns: int = 0
    """When it fired, the last time; 0 if it never did."""
    ended_since_ns: int = 0
    """Since when the condition of an alert that still fires does not hold; 0 while it does."""
    resolved_at_ns: int = 0
    """When it was resolved; 0 while it fires."""

    @property
    def name(self) -> str:
        """The name of its rule."""
        return dict(self.labels).get(NAME_LABEL, "")

    @property
    def severity(self) -> str:
        """Its label `severity`; empty without one."""
        return dict(self.labels).get("severity", "")

    @property
    def for_receivers(self) -> "Alert | None":
        """The alert as its receivers see it; None for one that never fired."""
        if self.state is not AlertState.PENDING:
            return self
        return replace(self, state=AlertState.RESOLVED) if self.resolved_at_ns else None

    def is_same_state(self, other: "Alert | None") -> bool:
        """Whether only the value and the texts differ, which need not be stored."""
        return other is not None and other == replace(
            self, value=other.value, annotations=other.annotations
        )


def alert_id(rule: str, sample: Labels) -> str:
    """The identity of the alert of a rule for a sample."""
    return digest(rule, *(part for pair in sample for part in pair))


def labels_of(rule: AlertRule, sample: Labels) -> Labels:
    """The labels of a rule's alert; those of the rule win over those of the sample."""
    rendered = {name: template(text).render(0.0, sample) for name, text in rule.labels.items()}
    merged = {**dict(sample), **rendered, NAME_LABEL: rule.name}
    return tuple(sorted((name, value) for name, value in merged.items() if value))


def next_alert(rule: AlertRule, before: Alert, condition: Condition, now_ns: int) -> Alert | None:
    """An alert after an evaluation; None when it is inactive then."""
    state = before.state
    if condition is Condition.HOLDS:
        if state is AlertState.FIRING:
            return replace(before, ended_since_ns=0)
        if state is AlertState.RESOLVED:
            before = replace(before, state=AlertState.PENDING, active_since_ns=now_ns)
        if now_ns - before.active_since_ns >= rule.for_ns:
            return replace(
                before,
                state=AlertState.FIRING,
                fired_at_ns=now_ns,
                ended_since_ns=0,
                resolved_at_ns=0,
            )
        return before
    if state is AlertState.PENDING:
        return replace(before, state=AlertState.RESOLVED) if before.resolved_at_ns else None
    if state is AlertState.RESOLVED:
        return before
    if condition is Condition.KEPT:
        return replace(before, ended_since_ns=0)
    ended_ns = before.ended_since_ns or now_ns
    if condition is Condition.ENDED and now_ns - ended_ns < rule.keep_ns:
        return replace(before, ended_since_ns=ended_ns)
    return replace(
        before, state=AlertState.RESOLVED, ended_since_ns=ended_ns, resolved_at_ns=now_ns
    )
