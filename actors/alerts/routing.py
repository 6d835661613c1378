"""Who is notified of which alerts, as data: routes, groups of alerts, and inhibitions.

The words and their meaning are those of Prometheus' Alertmanager.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from callboard.messages.core.errors import SpecError
from callboard.messages.core.names import problem_of, shown

from ..metrics.series import Matcher
from .durations import nanoseconds
from .matching import Labels, accepts, matcher_text, value_of
from .rules import NAME_LABEL, digest

__all__ = [
    "ALERTMANAGER_S",
    "LOG",
    "AlertRoute",
    "Inhibition",
    "NotificationPlan",
    "Receiver",
    "ReceiverKind",
]

SECONDS_MAX: Final = 366 * 86_400.0
ROUTES_MAX: Final = 1_000
DEPTH_MAX: Final = 16


class ReceiverKind:
    """The kinds of receivers that Callboard has."""

    LOG: Final = "log"
    WEBHOOK: Final = "webhook"
    ALERTMANAGER: Final = "alertmanager"


ALERTMANAGER_S: Final = 60.0
"""How often an Alertmanager hears of alerts that fire, whatever the route says: for Alertmanager,
an alert that is not repeated has ended."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """One way to notify somebody."""

    name: str
    """Its name, which routes use."""
    kind: str = ReceiverKind.LOG
    """One of `log`, `webhook` and `alertmanager`."""
    url: str = ""
    """Where a webhook or an Alertmanager listens."""
    sends_resolved: bool = True
    """Whether it hears of alerts that have ended."""

    def __post_init__(self) -> None:
        problem = problem_of(self.name)
        if problem:
            raise SpecError(f"the receiver {shown(self.name)} {problem}.", field="name")


LOG: Final = Receiver("log")
"""The receiver that writes into Callboard's own log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRoute:
    """The alerts that fulfil all matchers go to a receiver, in groups.

    The first child that accepts an alert takes it, and further ones while a child `continues`;
    an alert that no child takes is the route's own.
    """

    receiver: str
    """The name of its receiver."""
    matchers: tuple[Matcher, ...] = ()
    """The conditions on the labels of an alert."""
    group_by: tuple[str, ...] = (NAME_LABEL,)
    """Alerts with equal values of these labels are one notification; `...` for all labels."""
    group_wait_s: float = 30.0
    """How long the first notification of a group waits for more alerts."""
    group_interval_s: float = 300.0
    """The shortest time between two notifications of a group."""
    repeat_interval_s: float = 4 * 3_600.0
    """After this time without news, alerts that fire are notified again."""
    continues: bool = False
    """Whether the routes after it get the alerts that it takes, too."""
    routes: "tuple[AlertRoute, ...]" = ()
    """Its children, in their order."""

    def __post_init__(self) -> None:
        for name in ("group_wait_s", "group_interval_s", "repeat_interval_s"):
            value = getattr(self, name)
            lowest = 0.0 if name == "group_wait_s" else 1.0
            if not lowest <= value <= SECONDS_MAX:
                raise SpecError(
                    f"a route's {name} is {value!r}.",
                    advice=f"Give seconds from {lowest:g} to a year.",
                    field=name,
                )

    @property
    def id(self) -> str:
        """Its identity: it keeps its groups when its times change."""
        return digest(self.receiver, *self.group_by, "", *map(matcher_text, self.matchers))

    @property
    def wait_ns(self) -> int:
        """`group_wait_s` in nanoseconds."""
        return nanoseconds(self.group_wait_s)

    @property
    def interval_ns(self) -> int:
        """`group_interval_s` in nanoseconds."""
        return nanoseconds(self.group_interval_s)

    @property
    def repeat_ns(self) -> int:
        """`repeat_interval_s` in nanoseconds."""
        return nanoseconds(self.repeat_interval_s)

    def for_receiver(self, receiver: Receiver) -> "AlertRoute":
        """The route with the times that count for this receiver."""
        if receiver.kind != ReceiverKind.ALERTMANAGER:
            return self
        return replace(
            self,
            group_interval_s=min(self.group_interval_s, ALERTMANAGER_S),
            repeat_interval_s=min(self.repeat_interval_s, ALERTMANAGER_S),
        )

    def group_of(self, labels: Labels) -> Labels:
        """The labels of the group that an alert belongs to."""
        if "..." in self.group_by:
            return labels
        return tuple((name, value_of(labels, name)) for name in sorted(self.group_by))

    def taking(self, labels: Labels) -> "Iterator[AlertRoute]":
        """The routes that take an alert: this one, or some below it."""
        if not accepts(self.matchers, labels):
            return
        taken = False
        for child in self.routes:
            matched = False
            for route in child.taking(labels):
                matched = taken = True
                yield route
            if matched and not child.continues:
                break
        if not taken:
            yield self

    def walk(self, depth: int = 0) -> "Iterator[tuple[int, AlertRoute]]":
        """This route and all below it, with their depths."""
        yield depth, self
        for child in self.routes:
            yield from child.walk(depth + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibition:
    """While a source fires, nobody is notified of targets with equal values of some labels."""

    source: tuple[Matcher, ...]
    """The conditions on the alert that fires."""
    target: tuple[Matcher, ...]
    """The conditions on the alert that it mutes."""
    equal: tuple[str, ...] = ()
    """The labels whose values must be equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationPlan:
    """Receivers, the route of all alerts, and inhibitions. Without receivers, the log hears all."""

    receivers: tuple[Receiver, ...] = (LOG,)
    """All receivers."""
    route: AlertRoute = AlertRoute(receiver=LOG.name)
    """The route of all alerts, with its children."""
    inhibitions: tuple[Inhibition, ...] = ()
    """Which alerts mute others."""

    def __post_init__(self) -> None:
        names = [receiver.name for receiver in self.receivers]
        routes = list(self.route.walk())
        problems = [f"two receivers are named {shown(n)}" for n in set(names) if names.count(n) > 1]
        problems += [
            f"a route names the receiver {shown(route.receiver)}, which is not there"
            for _, route in routes
            if route.receiver not in names
        ]
        if len(routes) > ROUTES_MAX or max(depth for depth, _ in routes) > DEPTH_MAX:
            problems.append(f"there are more than {ROUTES_MAX} routes, or {DEPTH_MAX} levels")
        if problems:
            raise SpecError(
                "the plan of notifications is wrong: " + "; ".join(problems) + ".",
                problems=problems,
            )
