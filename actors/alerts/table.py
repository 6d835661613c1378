"""The alerts of all rules, and what the evaluations make of them; see `states.py` for the steps."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from .health import RuleHealth, RuleState
from .matching import Labels
from .rules import AlertRule, OnMissing, RuleGroup
from .states import Alert, AlertState, Condition, alert_id, labels_of, next_alert
from .templates import template

__all__ = ["ALERTS_MAX", "NEWS_MAX", "AlertTable", "Change", "Failed", "Found"]

ALERTS_MAX: Final = 20_000
"""Alerts of all rules at once; further ones are not made, and counted."""
GAP_INTERVALS: Final = 2
"""A longer time between two evaluations than so many intervals is a gap."""
NEWS_MAX: Final = 10_000
"""Steps of alerts that wait to be published; with more, the oldest ones are dropped."""


class Found(NamedTuple):
    """What the evaluation of a rule gave."""

    samples: Mapping[Labels, float]
    """The value for each set of labels, without the name of the metric."""
    kept: frozenset[Labels] = frozenset()
    """The labels for which `keep_firing_while` gave a sample."""
    missing: tuple[str, ...] = ()
    """The metrics of the expression that do not exist."""


class Failed(NamedTuple):
    """A rule could not be evaluated."""

    problem: str


class Change(NamedTuple):
    """One step of an alert, for those who follow."""

    alert: Alert
    before: AlertState | None
    at_ns: int
    is_over: bool = False
    """Whether it is inactive now: its state is the one that it had."""


class AlertTable:
    """See the module. `dirty` has the keys of the rows that have to be stored."""

    def __init__(
        self, groups: Iterable[RuleGroup], dirty: dict[str, None], counts: "Counter[str]"
    ) -> None:
        self.groups: Final = {group.name: group for group in groups}
        self.rules: Final = {
            group.rule_id(rule): rule for group in self.groups.values() for rule in group.rules
        }
        self._dirty = dirty
        self._counts = counts
        self.alerts: Final[dict[str, Alert]] = {}
        self._by_rule: Final[dict[str, dict[str, None]]] = {}
        self.health: Final[dict[str, RuleHealth]] = {}
        self.moments: Final[dict[str, int]] = {}
        """For each group when it was evaluated last."""
        self.stored_moments: Final[set[str]] = set()
        """The groups whose moment is stored: an alert of theirs is pending."""
        self.news: Final[list[Change]] = []
        self._unwell: Final[dict[str, RuleHealth]] = {}

    def restore(self, alert: Alert) -> None:
        """Take an alert from the store."""
        self.alerts[alert.id] = alert
        self._by_rule.setdefault(alert.rule, {})[alert.id] = None

    def rules_now(self) -> list[RuleHealth]:
        """All rules in their order; one that was not evaluated yet has no time."""
        found = []
        for group in self.groups.values():
            for rule in group.rules:
                name = group.rule_id(rule)
                health = self.health.get(name)
                found.append(health or _unknown(group, rule, name))
        return found

    def take_unwell(self) -> list[RuleHealth]:
        """The rules that have failed, or lost their data, since the last call."""
        unwell = list(self._unwell.values())
        self._unwell.clear()
        return unwell

    def end_rules_that_are_gone(self, now_ns: int) -> None:
        """End the alerts whose rules do not exist any more."""
        gone = AlertRule(name="gone", expression="0")
        for alert in list(self.alerts.values()):
            if alert.rule not in self.rules:
                self._set(alert, next_alert(gone, alert, Condition.GONE, now_ns), now_ns)

    def evaluated(
        self, group: RuleGroup, results: Mapping[str, Found | Failed], now_ns: int
    ) -> None:
        """Take the results of a group's rules, by the identities of the rules."""
        before_ns = self.moments.get(group.name, now_ns)
        if now_ns < before_ns:
            self._counts["clock_back"] += 1
            self._turn_back(group, now_ns)
            before_ns = now_ns
        passed_ns = now_ns - before_ns
        gap_ns = 0
        if passed_ns > GAP_INTERVALS * group.interval_ns:
            gap_ns = passed_ns - group.interval_ns
            self._counts["gaps"] += 1
        for rule in group.rules:
            name = group.rule_id(rule)
            result = results.get(name, Failed("it was not evaluated"))
            if isinstance(result, Found) and len(result.samples) > group.limit:
                result = Failed(
                    f"it gives {len(result.samples):,} alerts, the limit is {group.limit:,}"
                )
            self._counts["evaluations"] += 1
            if isinstance(result, Failed):
                self._counts["failures"] += 1
                self._set_health(group, rule, RuleState.FAILED, now_ns, problem=result.problem)
                self._hold(name, passed_ns)
            else:
                self._apply(group, rule, result, now_ns, passed_ns, gap_ns)
        self.moments[group.name] = now_ns
        self._note_moment(group)

    def _hold(self, rule: str, unobserved_ns: int) -> None:
        """Time in which a rule was not evaluated does not count for `for`."""
        for alert in self._of(rule) if unobserved_ns else ():
            if alert.state is AlertState.PENDING:
                since_ns = alert.active_since_ns + unobserved_ns
                self._put(replace(alert, active_since_ns=since_ns))

    def _turn_back(self, group: RuleGroup, now_ns: int) -> None:
        """The clock was set back: no alert may wait for a time that seems far ahead."""
        for rule in group.rules:
            for alert in self._of(group.rule_id(rule)):
                self._put(
                    replace(
                        alert,
                        active_since_ns=min(alert.active_since_ns, now_ns),
                        fired_at_ns=min(alert.fired_at_ns, now_ns),
                        ended_since_ns=min(alert.ended_since_ns, now_ns),
                        resolved_at_ns=min(alert.resolved_at_ns, now_ns),
                    )
                )

    def _apply(
        self,
        group: RuleGroup,
        rule: AlertRule,
        found: Found,
        now_ns: int,
        passed_ns: int,
        gap_ns: int,
    ) -> None:
        name = group.rule_id(rule)
        is_missing = not found.samples and bool(found.missing)
        is_missing = is_missing and rule.on_missing is not OnMissing.IGNORE
        state = RuleState.NO_DATA if is_missing else RuleState.OK
        missing = found.missing if is_missing else ()
        self._set_health(group, rule, state, now_ns, missing=missing)
        if is_missing:
            self._counts["without_data"] += 1
            if rule.on_missing is OnMissing.KEEP:
                self._hold(name, passed_ns)
                return
        self._hold(name, gap_ns)
        kept = {alert_id(name, labels) for labels in found.kept}
        seen: set[str] = set()
        for labels, value in found.samples.items():
            key = alert_id(name, labels)
            seen.add(key)
            before = self.alerts.get(key)
            if before is None and len(self.alerts) >= ALERTS_MAX:
                self._counts["alerts_full"] += 1
                continue
            known = before or Alert(
                id=key, rule=name, group=group.name, labels=labels_of(rule, labels),
                annotations=(), state=AlertState.PENDING, value=value, active_since_ns=now_ns,
            )  # fmt: skip
            now = replace(known, value=value, annotations=_rendered(rule, value, labels))
            self._set(before, next_alert(rule, now, Condition.HOLDS, now_ns), now_ns)
        for alert in self._of(name):
            if alert.id not in seen:
                condition = Condition.KEPT if alert.id in kept else Condition.ENDED
                self._set(alert, next_alert(rule, alert, condition, now_ns), now_ns)

    def _of(self, rule: str) -> list[Alert]:
        return [self.alerts[key] for key in self._by_rule.get(rule, ())]

    def _set(self, before: Alert | None, after: Alert | None, now_ns: int) -> None:
        """Let an alert make a step."""
        if after is None:
            assert before is not None, "an alert that was not there cannot end"
            self.drop(before)
            self._add_news(Change(before, before.state, now_ns, is_over=True))
            return
        self._put(after)
        if before is None or before.state is not after.state:
            self._counts[str(after.state)] += 1
            self._add_news(Change(after, None if before is None else before.state, now_ns))

    def _add_news(self, change: Change) -> None:
        if len(self.news) >= NEWS_MAX:
            self.news.pop(0)
            self._counts["news_lost"] += 1
        self.news.append(change)

    def _put(self, alert: Alert) -> None:
        if not alert.is_same_state(self.alerts.get(alert.id)):
            self._dirty[f"alert/{alert.id}"] = None
        self.restore(alert)

    def drop(self, alert: Alert) -> None:
        """Forget an alert."""
        del self.alerts[alert.id]
        mine = self._by_rule[alert.rule]
        del mine[alert.id]
        if not mine:
            del self._by_rule[alert.rule]
        self._dirty[f"alert/{alert.id}"] = None

    def _set_health(
        self,
        group: RuleGroup,
        rule: AlertRule,
        state: RuleState,
        now_ns: int,
        *,
        problem: str = "",
        missing: tuple[str, ...] = (),
    ) -> None:
        name = group.rule_id(rule)
        before = self.health.get(name)
        is_new = before is None or before.state is not state
        since_ns = now_ns if before is None or is_new else before.since_ns
        health = RuleHealth(
            id=name, group=group.name, name=rule.name, expression=rule.expression, state=state,
            problem=problem, missing=missing, since_ns=since_ns,
        )  # fmt: skip
        if health != before:
            self.health[name] = health
            self._dirty[f"rule/{name}"] = None
            if is_new and state is not RuleState.OK:
                self._unwell[name] = health

    def _note_moment(self, group: RuleGroup) -> None:
        """Store the time of an evaluation while it decides when an alert fires."""
        has_pending = any(
            alert.state is AlertState.PENDING
            for rule in group.rules
            for alert in self._of(group.rule_id(rule))
        )
        if has_pending:
            self.stored_moments.add(group.name)
        elif group.name in self.stored_moments:
            self.stored_moments.discard(group.name)
        else:
            return
        self._dirty[f"moment/{group.name}"] = None


def _rendered(rule: AlertRule, value: float, labels: Labels) -> Labels:
    return tuple(
        (name, template(text).render(value, labels)) for name, text in rule.annotations.items()
    )


def _unknown(group: RuleGroup, rule: AlertRule, name: str) -> RuleHealth:
    return RuleHealth(
        id=name,
        group=group.name,
        name=rule.name,
        expression=rule.expression,
        state=RuleState.UNKNOWN,
    )
