"""What the alert manager is asked, and what it says to those who follow it."""

from typing import Any, Final

from pydantic import Field

from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Ref

from .durations import NS
from .health import RuleHealth
from .matching import MATCHERS_MAX, matcher, matcher_text
from .muting import View
from .silences import Silence
from .table import Change

__all__ = [
    "ALERT_MANAGER",
    "FILES_MAX",
    "AddSilence",
    "AlertChanged",
    "AlertText",
    "AlertView",
    "AlertsReloaded",
    "AlertsView",
    "EndSilence",
    "FollowAlerts",
    "Followed",
    "QueryAlerts",
    "ReloadAlerts",
    "RuleView",
    "SilenceAdded",
    "SilenceEnded",
    "SilenceView",
    "alert_view",
    "change_of",
    "rule_view",
    "silence_of",
    "silence_view",
]

ALERT_MANAGER: Final = "callboard.alerts"
"""The name of the alert manager, for `lookup`."""
FILES_MAX: Final = 100


class AlertView(Contract, name="callboard.alerts.alert"):
    """One alert."""

    id: str
    """Its identity; the same while its rule and its labels are."""
    name: str
    """The name of its rule."""
    group: str
    """The name of the rule's group."""
    state: str
    """`pending`, `firing` or `resolved`."""
    severity: str = ""
    """Its label `severity`; empty without one."""
    labels: dict[str, str] = Field(default_factory=dict)
    """All of its labels."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Texts for people."""
    value: float = 0.0
    """The newest value of the expression."""
    active_since: float = 0.0
    """Seconds since 1970; 0 for times that have not come."""
    fired_at: float = 0.0
    """When it fired, in seconds since 1970; 0 if it never did."""
    resolved_at: float = 0.0
    """When it was resolved, in seconds since 1970; 0 if it was not."""
    silenced_by: str = ""
    """The id of a silence that keeps it from its receivers."""
    is_inhibited: bool = False
    """Whether another alert keeps it from its receivers."""


class RuleView(Contract, name="callboard.alerts.rule"):
    """One rule, and how its newest evaluation ended."""

    group: str
    """The name of its group."""
    name: str
    """Its name."""
    expression: str
    """What is evaluated."""
    state: str
    """`ok`, `no_data` or `failed`; `unknown` before the first evaluation."""
    problem: str = ""
    """Why it has failed."""
    missing: tuple[str, ...] = ()
    """The metrics that do not exist."""
    since: float = 0.0
    """Since when it is in this state, in seconds since 1970."""


class SilenceView(Contract, name="callboard.alerts.silence"):
    """One silence."""

    id: str
    """Its identity."""
    matchers: tuple[str, ...]
    """The conditions on labels, as texts."""
    begins_at: float
    """When it begins, in seconds since 1970."""
    ends_at: float
    """When it ends, in seconds since 1970."""
    author: str
    """Who has made it."""
    comment: str = ""
    """Why."""
    is_active: bool = False
    """Whether it counts at the time of the view."""


class AlertsView(Contract, name="callboard.alerts.view"):
    """All alerts, rules and silences."""

    at: float
    """The time of the view, in seconds since 1970."""
    alerts: tuple[AlertView, ...] = ()
    """The alerts: those that fire first."""
    rules: tuple[RuleView, ...] = ()
    """All rules, in the order of their groups."""
    silences: tuple[SilenceView, ...] = ()
    """The silences, also those that are over for some days."""
    undelivered: int = 0
    """Notifications that are not delivered yet."""
    counts: dict[str, int] = Field(default_factory=dict)
    """What has happened since the manager began; empty from a store."""
    left_off: int = 0
    """Alerts that did not fit into this view."""
    files: tuple[str, ...] = ()
    """The names of the files that the rules come from."""


class QueryAlerts(Request[AlertsView], name="callboard.alerts.query"):
    """Ask for all alerts, rules and silences."""


class SilenceAdded(Contract, name="callboard.alerts.silence_added"):
    """The silence is stored."""

    id: str
    """The id of the silence."""


class AddSilence(Request[SilenceAdded], name="callboard.alerts.add_silence"):
    """Silence the alerts that fulfil all matchers."""

    id: str = Field(min_length=1, max_length=64)
    """Chosen by the asker: asked twice, there is one silence."""
    matchers: tuple[str, ...] = Field(min_length=1, max_length=MATCHERS_MAX)
    """The conditions on labels, such as `severity=critical`."""
    begins_at: float = Field(ge=0.0, le=1e11)
    """When it begins, in seconds since 1970."""
    ends_at: float = Field(ge=0.0, le=1e11)
    """When it ends, in seconds since 1970."""
    author: str
    """Who makes it."""
    comment: str = ""
    """Why."""


class SilenceEnded(Contract, name="callboard.alerts.silence_ended"):
    """Whether there was such a silence that was not over."""

    was_known: bool
    """Whether there was one of this id that was not over."""


class EndSilence(Request[SilenceEnded], name="callboard.alerts.end_silence"):
    """End a silence now."""

    id: str
    """The id of the silence."""


class AlertText(Contract, name="callboard.alerts.text"):
    """The text of one file of rules or notifications."""

    name: str
    """Its path, or another name that problems are shown with."""
    text: str
    """What is in it."""


class AlertsReloaded(Contract, name="callboard.alerts.reloaded"):
    """The files count from now on, and are stored."""

    rules: int
    """The rules that are evaluated now, with those for Callboard itself."""
    receivers: int
    """The receivers that there are now."""


class ReloadAlerts(Request[AlertsReloaded], name="callboard.alerts.reload"):
    """Put these files in the place of all that count until now.

    With a problem in one of them, everything stays as it is.
    """

    files: tuple[AlertText, ...] = Field(min_length=1, max_length=FILES_MAX)
    """All files of rules, receivers and routes."""


class Followed(Contract, name="callboard.alerts.followed"):
    """The follower gets each change from now on."""


class FollowAlerts(Request[Followed], name="callboard.alerts.follow"):
    """Get an `AlertChanged` for each change of an alert, until the follower ends.

    A follower whose mailbox is full misses changes; `AlertChanged.number` has a gap then.
    """

    follower: Ref[Any]
    """The actor, which handles `AlertChanged`."""


class AlertChanged(Contract, name="callboard.alerts.changed"):
    """An alert has made a step. It is stored."""

    number: int
    """Counts the changes of this manager since it began, from 1."""
    at: float
    """When it was evaluated, in seconds since 1970."""
    before: str
    """The state before; empty for an alert that was not there."""
    state: str
    """The state now; empty for a pending alert that is not there any more."""
    alert: AlertView
    """The alert after the step."""


def alert_view(view: View) -> AlertView:
    """An alert as its contract."""
    alert = view.alert
    return AlertView(
        id=alert.id,
        name=alert.name,
        group=alert.group,
        state=str(alert.state),
        severity=alert.severity,
        labels=dict(alert.labels),
        annotations=dict(alert.annotations),
        value=alert.value,
        active_since=alert.active_since_ns / NS,
        fired_at=alert.fired_at_ns / NS,
        resolved_at=alert.resolved_at_ns / NS,
        silenced_by=view.silenced_by,
        is_inhibited=view.is_inhibited,
    )


def rule_view(health: RuleHealth) -> RuleView:
    """A rule as its contract."""
    return RuleView(
        group=health.group,
        name=health.name,
        expression=health.expression,
        state=str(health.state),
        problem=health.problem,
        missing=health.missing,
        since=health.since_ns / NS,
    )


def silence_view(silence: Silence, now_ns: int) -> SilenceView:
    """A silence as its contract."""
    return SilenceView(
        id=silence.id,
        matchers=tuple(map(matcher_text, silence.matchers)),
        begins_at=silence.from_ns / NS,
        ends_at=silence.until_ns / NS,
        author=silence.author,
        comment=silence.comment,
        is_active=silence.is_active(now_ns),
    )


def silence_of(request: AddSilence) -> Silence:
    """The silence that is asked for. Raises `UsageError`."""
    return Silence(
        id=request.id,
        matchers=tuple(map(matcher, request.matchers)),
        from_ns=round(request.begins_at * NS),
        until_ns=round(request.ends_at * NS),
        author=request.author,
        comment=request.comment,
    )


def change_of(change: Change, number: int) -> AlertChanged:
    """A change as its contract."""
    return AlertChanged(
        number=number,
        at=change.at_ns / NS,
        before="" if change.before is None else str(change.before),
        state="" if change.is_over else str(change.alert.state),
        alert=alert_view(View(change.alert, "", is_inhibited=False)),
    )
