"""One alert over time: `for`, what keeps it firing, its end, and gaps."""

import itertools
from typing import Any

import pytest

from callboard.actors.alerts.core import AlertCore
from callboard.actors.alerts.routing import NotificationPlan
from callboard.actors.alerts.rules import AlertRule, OnMissing
from callboard.actors.alerts.states import STEPS, AlertState, Condition, next_alert
from callboard.actors.alerts.table import Failed, Found

from .scripted import T0, S, evaluate, found, group, labels, rule

HOST = labels(host="a")


def states(of: AlertRule, script: str, *, interval_s: float = 60.0, every_s: float = 60.0) -> str:
    """The state after each evaluation. The script: `x` holds, `k` is kept, `.` ends, `?` fails."""
    rules = group(of, interval_s=interval_s)
    core = AlertCore((rules,), NotificationPlan())
    seen = ""
    for number, each in enumerate(script):
        results: dict[str, Found | Failed] = {
            "x": found(HOST),
            "k": found(kept=frozenset({HOST})),
            ".": found(),
            "?": Failed("no"),
            "0": found(missing=("load",)),
        }
        evaluate(core, rules, results[each], number * every_s)
        alerts = list(core.table.alerts.values())
        seen += {"pending": "p", "firing": "F", "resolved": "r"}[alerts[0].state] if alerts else "-"
    return seen


@pytest.mark.parametrize(
    ("options", "script", "expected"),
    [
        ({}, "x.x", "FrF"),
        ({"for_s": 120}, "xxxx", "ppFF"),
        ({"for_s": 120}, "xx.xxx", "pp-ppF"),
        ({"for_s": 120}, "xxx..x", "ppFrrp"),
        ({"for_s": 90}, "xxx", "ppF"),
        ({"keep_firing_for_s": 120}, "x...", "FFFr"),
        ({"keep_firing_for_s": 120}, "x..x...", "FFFFFFr"),
        ({"keep_firing_while": "load > 0.5"}, "xkkk.", "FFFFr"),
        ({"keep_firing_while": "load > 0.5"}, "k", "-"),
        ({"keep_firing_while": "load > 0.5", "for_s": 60}, "xkx", "p-p"),
        ({"for_s": 120}, "x?xx", "pppF"),
        ({"for_s": 120}, "xxx??x", "ppFFFF"),
        ({}, "x0", "Fr"),
        ({"on_missing": OnMissing.IGNORE}, "x0", "Fr"),
        ({"on_missing": OnMissing.KEEP}, "x000x.", "FFFFFr"),
        ({"on_missing": OnMissing.KEEP, "for_s": 120}, "x00xx", "ppppF"),
    ],
)
def test_the_states_of_an_alert(options: dict[str, Any], script: str, expected: str) -> None:
    assert states(rule(**options), script) == expected


def test_time_in_which_nobody_evaluated_does_not_count() -> None:
    rules = group(rule(for_s=300.0))
    core = AlertCore((rules,), NotificationPlan())
    for at_s in (0, 60, 3_600, 3_660, 3_720):
        evaluate(core, rules, found(HOST), at_s)
        (alert,) = core.table.alerts.values()
        assert alert.state is AlertState.PENDING, at_s
    evaluate(core, rules, found(HOST), 3_780)
    (alert,) = core.table.alerts.values()
    assert alert.state is AlertState.FIRING
    assert core.counts["gaps"] == 1


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    rules = group(rule(for_s=120.0))
    core = AlertCore((rules,), NotificationPlan())
    evaluate(core, rules, found(HOST), 7_200)
    for at_s, expected in ((0, "pending"), (60, "pending"), (120, "firing")):
        evaluate(core, rules, found(HOST), at_s)
        (alert,) = core.table.alerts.values()
        assert (alert.state, core.counts["clock_back"]) == (expected, 1)
    evaluate(core, rules, found(HOST), 150)
    assert [each.alerts[0].name for each in core.outbox] == ["High"]


def test_every_step_is_in_the_table() -> None:
    options = [
        rule(for_s=for_s, keep_firing_for_s=keep_s) for for_s in (0, 60) for keep_s in (0, 60)
    ]
    for of in options:
        for script in itertools.product("xk.?", repeat=4):
            seen = states(of, "".join(script))
            named = {"p": AlertState.PENDING, "F": AlertState.FIRING, "r": AlertState.RESOLVED}
            for before, after in itertools.pairwise(f"-{seen}"):
                assert named.get(after) in STEPS[named.get(before)], (script, seen)


def test_an_alert_of_a_rule_that_is_gone_ends() -> None:
    rules = group(rule("Old"), rule("Slow", for_s=600.0))
    core = AlertCore((rules,), NotificationPlan())
    evaluate(core, rules, found(HOST), 0)
    left = AlertCore((group(rule("New")),), NotificationPlan(), core.table.alerts.values())
    left.begin(T0 + 60 * S)
    assert [(a.name, a.state) for a in left.table.alerts.values()] == [("Old", "resolved")]
    assert [change.is_over for change in left.take_news()] == [False, True]


def test_another_expression_of_a_rule_keeps_its_alerts() -> None:
    before, after = group(rule()), group(rule(expression="load > 2"))
    core = AlertCore((before,), NotificationPlan())
    evaluate(core, before, found(HOST), 0)
    later = AlertCore((after,), NotificationPlan(), core.table.alerts.values())
    later.begin(T0)
    evaluate(later, after, found(HOST), 60)
    assert [change.alert.state for change in later.take_news()] == []


def test_labels_and_annotations_are_rendered() -> None:
    of = rule(
        labels={"severity": "critical", "place": "{{ $labels.host }}", "host": ""},
        annotations={"summary": "{{ $labels.host }} has {{$value}}, {{ $labels.none }}"},
    )
    rules = group(of)
    core = AlertCore((rules,), NotificationPlan())
    evaluate(core, rules, found(HOST, value=2.123456789), 0)
    (alert,) = core.table.alerts.values()
    assert dict(alert.labels) == {"alertname": "High", "severity": "critical", "place": "a"}
    assert dict(alert.annotations) == {"summary": "a has 2.12346, "}


def test_too_many_alerts_of_a_rule_are_a_failure_of_the_rule() -> None:
    rules = group(rule(), limit=2)
    core = AlertCore((rules,), NotificationPlan())
    evaluate(core, rules, found(HOST), 0)
    evaluate(core, rules, found(*(labels(host=str(n)) for n in range(3))), 60)
    (health,) = core.table.rules_now()
    assert (health.state, len(core.table.alerts)) == ("failed", 1)
    assert "the limit is 2" in health.problem


def test_a_resolved_alert_ends_no_further() -> None:
    rules = group(rule())
    core = AlertCore((rules,), NotificationPlan())
    evaluate(core, rules, found(HOST), 0)
    evaluate(core, rules, found(), 60)
    (alert,) = core.table.alerts.values()
    assert next_alert(rule(), alert, Condition.GONE, T0 + 99 * S) == alert
