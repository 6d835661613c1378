"""The decisions of the alert manager: evaluations and moments in, rows and notifications out.

The core has the alerts of all rules, the groups of all routes, and the silences. `evaluated`,
`advance` and the others take an event and the time. `changes` gives the rows to store. What is in
`outbox` and `take_news` may leave once they are stored.

Invariants, which the tests hold:

- An alert never fires before its condition has held for `for`.
- A group makes at most one notification in each `group_interval`, and one at a time.
- A silenced or inhibited alert is in no notification, and is counted.
- The end of an alert that was delivered as firing is delivered, too.
- A core that begins with the stored rows goes on as the one before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from callboard.messages.core.errors import UsageError

from .encoding import FILES, GroupMoment, Owner, ReloadedFiles, Stored, encode, key_of
from .grouping import (
    AlertGroup,
    Notification,
    Outcome,
    group_id,
    is_needed,
    new_group,
    settled,
    with_due,
)
from .health import RuleHealth
from .matching import Labels
from .muting import Muting, View
from .routing import AlertRoute, NotificationPlan
from .rules import RuleGroup
from .silences import SILENCES_MAX, Silence
from .states import Alert, AlertState
from .table import AlertTable, Change, Failed, Found

__all__ = ["GROUPS_MAX", "AlertCore"]

GROUPS_MAX: Final = 10_000
"""Groups of alerts at once; alerts of others are notified when some have ended, and counted."""
RESOLVED_KEPT_NS: Final = 15 * 60 * 1_000_000_000
"""How long an alert that is resolved is still shown."""


class _Members(NamedTuple):
    """The alerts of one group that fire, or are resolved."""

    route: AlertRoute
    labels: Labels
    alerts: dict[str, Alert]


class AlertCore:
    """See the module."""

    def __init__(
        self, groups: Sequence[RuleGroup], plan: NotificationPlan, stored: Iterable[Stored] = ()
    ) -> None:
        self.plan: Final = plan
        self._dirty: Final[dict[str, None]] = {}
        self.counts: Final[Counter[str]] = Counter()
        self.table: Final = AlertTable(groups, self._dirty, self.counts)
        self.silences: Final[dict[str, Silence]] = {}
        self.notified: Final[dict[str, AlertGroup]] = {}
        self._receivers: Final = {receiver.name: receiver for receiver in plan.receivers}
        self._routes: Final = {
            route.id: route.for_receiver(self._receivers[route.receiver])
            for _, route in plan.route.walk()
        }
        self._routed: Final[dict[str, list[tuple[str, AlertRoute, Labels]]]] = {}
        """For each alert its groups, as long as it exists."""
        self._muting: Final = Muting(plan.inhibitions, self.silences)
        self.muted: set[str] = set()
        """The alerts that nobody is notified of."""
        self._files: ReloadedFiles | None = None
        for value in stored:
            self._restore(value)

    # --- stored rows ---------------------------------------------------------------------

    def _restore(self, value: Stored) -> None:
        table = self.table
        is_known = True
        match value:
            case Alert():
                table.restore(value)
            case AlertGroup():
                is_known = value.route in self._routes
                if is_known:
                    self.notified[value.id] = value
                else:  # There is nobody any more to notify.
                    self.counts["routes_gone"] += 1
            case Silence():
                self.silences[value.id] = value
            case RuleHealth():
                rule = table.rules.get(value.id)
                is_known = rule is not None and rule.expression == value.expression
                if is_known:
                    table.health[value.id] = value
            case GroupMoment():
                is_known = value.group in table.groups
                if is_known:
                    table.stored_moments.add(value.group)
                    table.moments[value.group] = value.evaluated_ns
            case Owner():
                pass  # The shell compares it.
            case ReloadedFiles():
                self._files = value
        if not is_known:
            self._dirty[key_of(value)] = None

    def begin(self, now_ns: int) -> None:
        """End the alerts whose rules do not exist any more; call it once, first."""
        self.table.end_rules_that_are_gone(now_ns)

    def renewed(self, groups: Sequence[RuleGroup], plan: NotificationPlan) -> "AlertCore":
        """A core with other rules and notifications, which goes on from where this one is."""
        table = self.table
        moments = (GroupMoment(name, at_ns) for name, at_ns in table.moments.items())
        kept: list[Stored] = [*table.alerts.values(), *table.health.values(), *moments]
        kept += [*self.notified.values(), *self.silences.values()]
        core = AlertCore(groups, plan, kept)
        core.not_stored(self._dirty)
        core.counts.update(self.counts)
        core.table.news.extend(table.news)
        core.files, core.muted = self._files, self.muted
        return core

    @property
    def files(self) -> ReloadedFiles | None:
        """The files that have replaced those of the start."""
        return self._files

    @files.setter
    def files(self, files: ReloadedFiles | None) -> None:
        if files != self._files:
            self._files = files
            self._dirty[FILES] = None

    def changes(self) -> dict[str, bytes | None]:
        """The rows that have changed since the last call, as they are now; None for a deleted one.

        They count as stored from now on: see `not_stored`.
        """
        rows = {key: self._row(key) for key in self._dirty}
        self._dirty.clear()
        return rows

    def not_stored(self, keys: Iterable[str]) -> None:
        """These changes were not stored after all: `changes` gives them again."""
        self._dirty.update(dict.fromkeys(keys))

    @property
    def has_changes(self) -> bool:
        """Whether there is something to store."""
        return bool(self._dirty)

    def has_change(self, key: str) -> bool:
        """Whether this row has to be stored."""
        return key in self._dirty

    def _row(self, key: str) -> bytes | None:
        kind, _, name = key.partition("/")
        table = self.table
        value: Stored | None = None
        match kind:
            case "alert":
                value = table.alerts.get(name)
            case "group":
                value = self.notified.get(name)
            case "silence":
                value = self.silences.get(name)
            case "rule":
                value = table.health.get(name)
            case "moment":
                if name in table.stored_moments:
                    value = GroupMoment(name, table.moments[name])
            case "files":
                value = self._files
            case _:
                raise AssertionError(f"the core has no row {key}")
        return None if value is None else encode(value)

    # --- evaluations and notifications -----------------------------------------------------

    def evaluated(
        self, group: RuleGroup, results: Mapping[str, Found | Failed], now_ns: int
    ) -> None:
        """Take the results of a group's rules, by the identities of the rules."""
        self.table.evaluated(group, results, now_ns)

    def advance(self, now_ns: int) -> None:
        """Make the notifications that are due, and forget what is over."""
        self._forget(now_ns)
        views = {view.alert.id: view for view in self.views(now_ns)}
        muted = {key for key, view in views.items() if view.is_muted}
        for key in muted - self.muted:
            self.counts["silenced" if views[key].silenced_by else "inhibited"] += 1
        self.muted = muted
        members = self._members()
        for name, found in members.items():
            group = self.notified.get(name)
            if group is None:
                if all(alert.state is not AlertState.FIRING for alert in found.alerts.values()):
                    continue
                if len(self.notified) >= GROUPS_MAX:
                    self.counts["groups_full"] += 1
                    continue
                group = new_group(found.route, found.labels, now_ns)
            group = self._without_muted(_not_ahead(group, now_ns), muted)
            route = self._routes[group.route]
            sends_resolved = self._receivers[route.receiver].sends_resolved
            after = with_due(
                group, route, found.alerts, muted, now_ns, sends_resolved=sends_resolved
            )
            if after.sequence != group.sequence:
                self.counts["notifications"] += 1
            self._put_group(after)
        self._drop_groups(members, now_ns)

    def _without_muted(self, group: AlertGroup, muted: set[str]) -> AlertGroup:
        """Take back an open notification of which an alert is muted by now."""
        sent = group.open
        if sent is None or not any(alert.id in muted for alert in sent.alerts):
            return group
        self.counts["withdrawn"] += 1
        return settled(group, sent.key, Outcome.WITHDRAWN)

    def _put_group(self, group: AlertGroup) -> None:
        if self.notified.get(group.id) != group:
            self.notified[group.id] = group
            self._dirty[key_of(group)] = None

    def _members(self) -> dict[str, _Members]:
        found: dict[str, _Members] = {}
        for each in self.table.alerts.values():
            alert = each.for_receivers
            if alert is None:
                continue
            for name, route, labels in self._routes_of(alert):
                found.setdefault(name, _Members(route, labels, {})).alerts[alert.id] = alert
        return found

    def _routes_of(self, alert: Alert) -> list[tuple[str, AlertRoute, Labels]]:
        routed = self._routed.get(alert.id)
        if routed is None:
            grouped = [
                (route, route.group_of(alert.labels))
                for route in self.plan.route.taking(alert.labels)
            ]
            routed = [(group_id(route, labels), route, labels) for route, labels in grouped]
            self._routed[alert.id] = routed
        return routed

    def _drop_groups(self, members: Mapping[str, _Members], now_ns: int) -> None:
        for name, group in list(self.notified.items()):
            alerts = members[name].alerts if name in members else {}
            if not alerts and group.open is None and (group.firing or group.unsure):
                # The store has lost the alerts, or another route takes them now.
                self._put_group(replace(group, firing=frozenset(), unsure=frozenset()))
            if not is_needed(self.notified[name], self._routes[group.route], alerts, now_ns):
                del self.notified[name]
                self._dirty[key_of(group)] = None

    @property
    def outbox(self) -> Iterator[Notification]:
        """The notifications that are not delivered yet."""
        return (group.open for group in self.notified.values() if group.open is not None)

    def settle(self, key: str, outcome: Outcome) -> None:
        """Note how a notification ended; one that was withdrawn meanwhile changes nothing."""
        for group in self.notified.values():
            if group.open is not None and group.open.key == key:
                self.counts[outcome.value] += 1
                self._put_group(settled(group, key, outcome))
                return

    def _forget(self, now_ns: int) -> None:
        held: set[str] = set()
        for group in self.notified.values():
            held |= group.firing | group.unsure
            if group.open is not None:
                held.update(alert.id for alert in group.open.alerts)
        for alert in list(self.table.alerts.values()):
            is_old = now_ns >= alert.resolved_at_ns + RESOLVED_KEPT_NS
            if alert.state is AlertState.RESOLVED and is_old and alert.id not in held:
                self.table.drop(alert)
        for key in [key for key in self._routed if key not in self.table.alerts]:
            del self._routed[key]
        self._muting.keep(self.table.alerts.keys())
        for silence in list(self.silences.values()):
            if silence.is_forgotten(now_ns):
                del self.silences[silence.id]
                self._dirty[key_of(silence)] = None

    def views(self, now_ns: int) -> list[View]:
        """All alerts, and why nobody is notified of some."""
        return self._muting.views(self.table.alerts.values(), now_ns)

    def take_news(self) -> list[Change]:
        """The steps of alerts since the last call."""
        news = list(self.table.news)
        self.table.news.clear()
        return news

    # --- silences --------------------------------------------------------------------------

    def silence(self, made: Silence) -> None:
        """Add or replace a silence. Raises `UsageError` when there are too many."""
        if made.id not in self.silences and len(self.silences) >= SILENCES_MAX:
            raise UsageError(
                f"there are {SILENCES_MAX:,} silences.", advice="Let some of them end first."
            )
        self.silences[made.id] = made
        self._muting.changed()
        self._dirty[key_of(made)] = None

    def end_silence(self, name: str, now_ns: int) -> bool:
        """End a silence now; False when there is none of this id that is not over."""
        found = self.silences.get(name)
        if found is None or found.until_ns <= now_ns:
            return False
        if found.from_ns >= now_ns:
            del self.silences[name]
        else:
            self.silences[name] = replace(found, until_ns=now_ns)
        self._muting.changed()
        self._dirty[key_of(found)] = None
        return True

    def replace_silences(self, stored: Iterable[Silence]) -> None:
        """Take the silences of the store, which somebody else has changed."""
        theirs = {each.id: each for each in stored}
        mine = {key.partition("/")[2] for key in self._dirty if key.startswith("silence/")}
        for name in [name for name in self.silences if name not in theirs and name not in mine]:
            del self.silences[name]
        self.silences.update((name, each) for name, each in theirs.items() if name not in mine)
        self._muting.changed()


def _not_ahead(group: AlertGroup, now_ns: int) -> AlertGroup:
    """The group, whose times are not ahead of a clock that was set back."""
    if max(group.created_ns, group.notified_ns) <= now_ns:
        return group
    return replace(
        group,
        created_ns=min(group.created_ns, now_ns),
        notified_ns=min(group.notified_ns, now_ns),
    )
