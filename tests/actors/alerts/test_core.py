"""Notifications: groups, repeats, silences, inhibitions, restarts."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from callboard.actors.alerts.core import RESOLVED_KEPT_NS, AlertCore
from callboard.actors.alerts.grouping import NOTIFIED_MAX, Outcome
from callboard.actors.alerts.matching import matcher
from callboard.actors.alerts.routing import AlertRoute, Inhibition, NotificationPlan, Receiver
from callboard.actors.alerts.silences import Silence
from callboard.messages.core.errors import SpecError, UsageError

from .scripted import T0, S, evaluate, found, group, labels, rule, save, stored

A, B, C = (labels(host=name) for name in "abc")
ROUTE = AlertRoute(receiver="log", group_wait_s=30, group_interval_s=300, repeat_interval_s=3_600)
RULES = group(rule(labels={"severity": "critical"}), interval_s=10.0)


def made(route: AlertRoute = ROUTE, **options: Any) -> AlertCore:
    return AlertCore((RULES,), NotificationPlan(route=route, **options))


def sent(core: AlertCore, outcome: Outcome = Outcome.DELIVERED) -> list[list[str]]:
    """Settle what is due; for each notification its alerts, those that ended with a minus."""
    seen = []
    for each in list(core.outbox):
        names = [
            ("" if alert.state == "firing" else "-") + dict(alert.labels).get("host", "?")
            for alert in each.alerts
        ]
        seen.append(sorted(names))
        core.settle(each.key, outcome)
    return seen


def run(core: AlertCore, script: Mapping[float, tuple[Any, ...]], until_s: float) -> list[Any]:
    """Evaluate every 10 s what the script says last; the times and contents of notifications."""
    seen: list[Any] = []
    now: tuple[Any, ...] = ()
    at_s = 0.0
    while at_s <= until_s:
        now = script.get(at_s, now)
        evaluate(core, RULES, found(*now), at_s)
        seen += [(at_s, names) for names in sent(core)]
        at_s += 10.0
    return seen


def silence(*matchers: str, begin_s: float = 0.0, end_s: float = 1e6, name: str = "s") -> Silence:
    return Silence(
        id=name, matchers=tuple(map(matcher, matchers)), from_ns=T0 + round(begin_s * S),
        until_ns=T0 + round(end_s * S), author="me", comment="",
    )  # fmt: skip


def test_alerts_of_a_group_wait_for_each_other_and_are_repeated() -> None:
    assert run(made(), {0: (A,), 10: (A, B), 100: (A, B, C)}, 4_300) == [
        (30, ["a", "b"]),
        (330, ["a", "b", "c"]),
        (3_930, ["a", "b", "c"]),
    ]


def test_the_end_is_notified_once() -> None:
    assert run(made(), {0: (A, B), 40: (B,), 700: ()}, 2_000) == [
        (30, ["a", "b"]),
        (330, ["-a", "b"]),
        (700, ["-b"]),
    ]


def test_a_group_keeps_its_interval_when_an_alert_comes_and_goes() -> None:
    script = {float(at): (A,) if at % 20 else () for at in range(0, 1_000, 10)}
    times = [at for at, _ in run(made(), script, 990)]
    assert all(after - before >= 300 for before, after in itertools.pairwise(times))
    assert len(times) >= 3


def test_an_alert_that_ends_before_its_group_is_notified_is_no_news() -> None:
    core = made()
    assert run(core, {0: (A,), 20: ()}, 1_500) == []
    assert not core.notified
    assert not core.table.alerts


def test_a_silence_holds_alerts_back_and_their_end_too() -> None:
    core = made()
    core.silence(silence("host=b", end_s=1_000))
    core.silence(silence("host=a", begin_s=100, end_s=800, name="later"))
    assert run(core, {0: (A, B), 200: ()}, 2_000) == [(30, ["a"]), (800, ["-a"])]
    assert core.counts["silenced"] == 2


def test_an_alert_that_still_fires_after_its_silence_is_notified() -> None:
    core = made()
    core.silence(silence("host=~.*", end_s=600))
    assert run(core, {0: (A,)}, 900) == [(600, ["a"])]


def test_a_silence_withdraws_what_is_not_delivered() -> None:
    core = made()
    evaluate(core, RULES, found(A), 0)
    evaluate(core, RULES, found(A), 30)
    (before,) = core.outbox
    core.silence(silence("host=a", end_s=400))
    core.advance(T0 + 31 * S)
    assert not list(core.outbox)
    core.settle(before.key, Outcome.DELIVERED)  # Too late: nobody waits for it.
    assert core.counts["withdrawn"] == 1
    evaluate(core, RULES, found(), 60)
    core.advance(T0 + 500 * S)
    # It may have arrived: then its end must, too.
    assert sent(core) == [["-a"]]


def test_what_is_given_up_is_in_the_next_notification() -> None:
    core = made()
    evaluate(core, RULES, found(A), 0)
    evaluate(core, RULES, found(A), 30)
    first = next(core.outbox)
    assert sent(core, Outcome.GIVEN_UP) == [["a"]]
    evaluate(core, RULES, found(A, B), 40)
    assert sent(core) == [], "at most one for each interval"
    evaluate(core, RULES, found(B), 330)
    assert next(core.outbox).key != first.key
    assert sent(core) == [["-a", "b"]]


def test_inhibition() -> None:
    rules = (
        rule("Down", labels={"severity": "critical"}),
        rule("Slow", labels={"severity": "warning"}),
    )
    both = group(*rules)
    rules_of = Inhibition(
        source=(matcher("severity=critical"),),
        target=(matcher("severity=~critical|warning"),),
        equal=("host",),
    )
    plan = NotificationPlan(route=replace(ROUTE, group_by=("host",)), inhibitions=(rules_of,))
    core = AlertCore((both,), plan)
    down, slow = (both.rule_id(each) for each in rules)
    core.evaluated(both, {down: found(A), slow: found(A, B)}, T0)
    core.advance(T0)
    core.advance(T0 + 30 * S)
    names = {each.alerts[0].name: each.group for each in core.outbox}
    assert names == {"Down": labels(host="a"), "Slow": labels(host="b")}
    assert core.counts["inhibited"] == 1


def test_routes_by_severity_and_labels() -> None:
    route = AlertRoute(
        receiver="log",
        group_wait_s=0,
        routes=(
            AlertRoute(receiver="all", matchers=(), group_wait_s=0, continues=True),
            AlertRoute(
                receiver="pager",
                matchers=(matcher("severity=critical"),),
                routes=(
                    AlertRoute(receiver="team", matchers=(matcher("host=b"),), group_wait_s=0),
                ),
            ),
            AlertRoute(receiver="mail", matchers=(matcher("severity=warning"),)),
        ),
    )
    names = [each.receiver for each in route.taking(labels(severity="critical", host="b"))]
    assert names == ["all", "team"]
    assert [r.receiver for r in route.taking(labels(severity="critical"))] == ["all", "pager"]
    assert [r.receiver for r in route.taking(labels(severity="info"))] == ["all"]
    first = replace(route, routes=route.routes[1:])
    assert [r.receiver for r in first.taking(labels(severity="info"))] == ["log"]


def test_a_receiver_that_wants_no_ends_gets_none() -> None:
    core = made(receivers=(Receiver("log", sends_resolved=False),))
    assert run(core, {0: (A,), 50: (), 400: (A,)}, 900) == [(30, ["a"]), (430, ["a"])]


def test_an_alertmanager_hears_of_firing_alerts_each_minute() -> None:
    receiver = Receiver("log", "alertmanager", "http://127.0.0.1:1")
    core = made(receivers=(receiver,))
    assert [at for at, _ in run(core, {0: (A,), 200: ()}, 300)] == [30, 90, 150, 210]


def test_more_alerts_than_a_notification_holds_are_in_the_next() -> None:
    rules = group(rule(), limit=5_000)
    core = AlertCore((rules,), NotificationPlan(route=ROUTE))
    many = [labels(host=f"{n:04}") for n in range(NOTIFIED_MAX + 7)]
    seen: set[str] = set()
    for at_s in range(0, 1_000, 60):
        evaluate(core, rules, found(*many), at_s)
        for each in core.outbox:
            assert len(each.alerts) <= NOTIFIED_MAX
        for each in list(core.outbox):
            seen |= each.ids(each.alerts[0].state)
            core.settle(each.key, Outcome.DELIVERED)
    assert len(seen) == len(many)


def test_a_resolved_alert_is_shown_for_a_while() -> None:
    core = made()
    evaluate(core, RULES, found(A), 0)
    evaluate(core, RULES, found(), 10)
    core.advance(T0 + 10 * S + RESOLVED_KEPT_NS - 1)
    assert [view.alert.state for view in core.views(T0)] == ["resolved"]
    core.advance(T0 + 10 * S + RESOLVED_KEPT_NS)
    assert not core.table.alerts


def test_a_notification_that_was_stored_is_sent_again_with_its_key() -> None:
    core, rows = made(), dict[str, bytes]()
    evaluate(core, RULES, found(A), 0)
    evaluate(core, RULES, found(A), 30)
    save(core, rows)
    again = AlertCore((RULES,), core.plan, stored(rows))
    again.begin(T0 + 40 * S)
    again.advance(T0 + 40 * S)
    assert list(again.outbox) == list(core.outbox)
    assert sent(again) == [["a"]]
    save(again, rows)
    last = AlertCore((RULES,), core.plan, stored(rows))
    evaluate(last, RULES, found(A), 300)
    assert not list(last.outbox)


def test_silences_of_the_store_replace_those_of_the_core_but_its_own() -> None:
    core, rows = made(), dict[str, bytes]()
    core.silence(silence("host=a", name="old"))
    save(core, rows)
    core.silence(silence("host=a", name="mine"))
    core.replace_silences([silence("host=b", name="theirs")])
    assert set(core.silences) == {"mine", "theirs"}
    assert core.end_silence("theirs", T0 + 5 * S)
    assert not core.end_silence("theirs", T0 + 5 * S)
    assert not core.end_silence("none", T0)


def test_a_silence_of_everything_or_of_no_time_is_refused() -> None:
    with pytest.raises(UsageError, match="0 matchers"):
        silence()
    with pytest.raises(UsageError, match="ends before it begins"):
        silence("a=b", begin_s=10, end_s=10)


def test_a_plan_names_its_problems() -> None:
    with pytest.raises(SpecError, match="names the receiver 'nobody'"):
        NotificationPlan(route=AlertRoute(receiver="nobody"))
    with pytest.raises(SpecError, match="two receivers"):
        NotificationPlan(receivers=(Receiver("log"), Receiver("log")))


def test_an_end_is_delivered_though_the_alert_was_pending_again() -> None:
    rules = group(rule(for_s=20.0), interval_s=10.0)
    core = AlertCore((rules,), NotificationPlan(route=ROUTE))
    seen = []
    for at_s in range(0, 500, 10):
        holds = at_s < 100 or at_s == 200
        evaluate(core, rules, found(A) if holds else found(), at_s)
        seen += [(at_s, names) for names in sent(core)]
    assert seen == [(50, ["a"]), (350, ["-a"])]


def test_a_clock_that_is_set_back_delays_a_group_by_its_interval_only() -> None:
    core = made()
    evaluate(core, RULES, found(A), 7_200)
    evaluate(core, RULES, found(A), 7_230)
    assert sent(core) == [["a"]]
    seen = []
    for at_s in range(0, 400, 10):
        evaluate(core, RULES, found(A, B), at_s)
        seen += [(at_s, names) for names in sent(core)]
    assert seen == [(300, ["a", "b"])]
