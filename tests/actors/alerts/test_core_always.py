"""What must always hold of the core, whatever happens and in whichever order."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from hypothesis.stateful import rule as step

from callboard.actors.alerts.core import AlertCore
from callboard.actors.alerts.encoding import Owner, Stored
from callboard.actors.alerts.grouping import AlertGroup, Outcome
from callboard.actors.alerts.matching import accepts, matcher
from callboard.actors.alerts.routing import AlertRoute, Inhibition, NotificationPlan, Receiver
from callboard.actors.alerts.silences import Silence
from callboard.actors.alerts.states import Alert, AlertState
from callboard.actors.alerts.table import Failed, Found
from tests.thoroughness import examples

from .scripted import T0, S, found, group, labels, rule, save, stored

HOSTS: Final = tuple(labels(host=name) for name in "abc")
INTERVAL_S: Final = 60
INHIBITION: Final = Inhibition(
    source=(matcher("alertname=Down"),), target=(matcher("alertname=Slow"),), equal=("host",)
)
ROUTE: Final = AlertRoute(
    receiver="log",
    group_wait_s=30,
    group_interval_s=120,
    repeat_interval_s=900,
    routes=(
        AlertRoute(
            receiver="other",
            matchers=(matcher("host=a"),),
            group_wait_s=0,
            group_interval_s=200,
            group_by=("alertname", "host"),
            continues=True,
        ),
        AlertRoute(receiver="log", matchers=(matcher("host=~.*"),), group_interval_s=120),
    ),
)
PLAN: Final = NotificationPlan(
    receivers=(Receiver("log"), Receiver("other")), route=ROUTE, inhibitions=(INHIBITION,)
)
RULES: Final = group(
    rule("Down", for_s=120.0),
    rule("Slow", keep_firing_for_s=120.0, keep_firing_while="x"),
    interval_s=INTERVAL_S,
)


def comparable(core: AlertCore) -> Any:
    """All of a core that has to survive a restart."""

    def plain(alert: Alert) -> Alert:
        return replace(alert, value=0.0, annotations=())

    def settled(each: AlertGroup) -> AlertGroup:
        if each.open is None:
            return each
        alerts = tuple(map(plain, each.open.alerts))
        return replace(each, open=replace(each.open, alerts=alerts))

    return (
        {key: plain(alert) for key, alert in core.table.alerts.items()},
        {key: settled(each) for key, each in core.notified.items()},
        dict(core.silences),
        dict(core.table.health),
    )


class Notifying(RuleBasedStateMachine):
    """Evaluations, silences, deliveries, failures and restarts, against a plain record."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0
        self.core = AlertCore((RULES,), PLAN)
        self.twin = AlertCore((RULES,), PLAN)
        """Makes the same steps, and begins again from its rows all the time."""
        self.rows: dict[str, bytes] = {}
        self.true_since: dict[str, int] = {}
        """For each alert the first of the evaluations in a row in which its condition held."""
        self.made: dict[str, list[int]] = defaultdict(list)
        self.seen: set[str] = set()
        self.view: dict[str, set[str]] = defaultdict(set)
        """For each group the alerts that its receiver takes for firing."""

    @initialize()
    def begin(self) -> None:
        self.core.begin(T0)

    @property
    def now_ns(self) -> int:
        return T0 + self.now_s * S

    def both(self) -> Iterable[AlertCore]:
        """Both cores; the twin from its rows."""
        save(self.twin, self.rows)
        owner: list[Stored] = [Owner(1, "me")]
        self.twin = AlertCore((RULES,), PLAN, [*stored(self.rows), *owner])
        return (self.core, self.twin)

    @step(
        down=st.frozensets(st.sampled_from(HOSTS)),
        slow=st.frozensets(st.sampled_from(HOSTS)),
        kept=st.frozensets(st.sampled_from(HOSTS)),
        fails=st.sampled_from([False, False, False, True]),
        times=st.integers(1, 3),
        gap=st.sampled_from([1, 1, 1, 1, 10]),
    )
    def evaluations(
        self, down: Any, slow: Any, kept: Any, fails: bool, times: int, gap: int
    ) -> None:
        for _ in range(times):
            self.now_s = (self.now_s // INTERVAL_S + gap) * INTERVAL_S
            results: dict[str, Found | Failed] = {
                RULES.rule_id(RULES.rules[0]): Failed("no") if fails else found(*down),
                RULES.rule_id(RULES.rules[1]): found(*slow, kept=kept),
            }
            before = {key: alert.state for key, alert in self.core.table.alerts.items()}
            for core in self.both():
                core.evaluated(RULES, results, self.now_ns)
                core.advance(self.now_ns)
            self.check_for(before, down, fails=fails)

    def check_for(self, before: dict[str, AlertState], down: Any, *, fails: bool) -> None:
        for alert in self.core.table.alerts.values():
            if alert.name != "Down" or alert.state is not AlertState.FIRING:
                continue
            if before.get(alert.id) is not AlertState.FIRING:
                host = dict(alert.labels)["host"]
                assert not fails
                assert self.now_s - self.true_since[host] >= 120, "it fired too soon"
        if fails:
            return
        names = {dict(each)["host"] for each in down}
        self.true_since = {name: self.true_since.get(name, self.now_s) for name in sorted(names)}

    @step()
    def reload(self) -> None:
        """The same rules come again: one goes on in memory as the other from its rows."""
        self.core = self.core.renewed((RULES,), PLAN)
        self.core.begin(self.now_ns)

    @step(seconds=st.integers(1, 400))
    def time_passes(self, seconds: int) -> None:
        self.now_s += seconds
        for core in self.both():
            core.advance(self.now_ns)

    @step(host=st.sampled_from("abc"), lasts=st.integers(1, 900), wait=st.integers(0, 60))
    def silence(self, host: str, lasts: int, wait: int) -> None:
        made = Silence(
            id=f"{host}{self.now_s}",
            matchers=(matcher(f"host={host}"),),
            from_ns=self.now_ns + wait * S,
            until_ns=self.now_ns + (wait + lasts) * S,
            author="me",
            comment="",
        )
        for core in self.both():
            core.silence(made)
            core.advance(self.now_ns)

    @step(outcome=st.sampled_from([Outcome.DELIVERED, Outcome.DELIVERED, Outcome.GIVEN_UP]))
    def deliveries(self, outcome: Outcome) -> None:
        groups = {each.open.key: each.id for each in self.core.notified.values() if each.open}
        for each in list(self.core.outbox):
            if outcome is Outcome.DELIVERED:
                view = self.view[groups[each.key]]
                view |= each.ids(AlertState.FIRING)
                view -= each.ids(AlertState.RESOLVED)
        keys = [each.key for each in self.core.outbox]
        for core in self.both():
            for key in keys:
                core.settle(key, outcome)

    @invariant()
    def a_restart_changes_nothing(self) -> None:
        save(self.core, {})
        assert comparable(self.core) == comparable(self.twin)

    @invariant()
    def groups_keep_their_interval_and_silenced_alerts_stay_inside(self) -> None:
        routes = {route.id: route for _, route in ROUTE.walk()}
        for each in self.core.notified.values():
            sent = each.open
            if sent is None or sent.key in self.seen:
                continue
            self.seen.add(sent.key)
            times = self.made[each.id]
            if times:
                assert sent.made_at_ns - times[-1] >= routes[each.route].interval_ns
            times.append(sent.made_at_ns)
            for alert in sent.alerts:
                for silence in self.core.silences.values():
                    is_covered = accepts(silence.matchers, alert.labels)
                    assert not (silence.is_active(sent.made_at_ns) and is_covered)

    def teardown(self) -> None:
        """All conditions end: in the end every receiver knows it."""
        for _ in range(40):
            self.evaluations(frozenset(), frozenset(), frozenset(), fails=False, times=1, gap=1)
            self.deliveries(Outcome.DELIVERED)
            self.time_passes(55)
            self.groups_keep_their_interval_and_silenced_alerts_stay_inside()
        assert not any(self.view.values()), "an end was not delivered"
        assert not list(self.core.outbox)
        assert not self.core.table.alerts
        assert not self.core.notified


TestNotifying = Notifying.TestCase
TestNotifying.settings = settings(max_examples=examples(160), stateful_step_count=25)
