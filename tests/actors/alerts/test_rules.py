"""Rules: what is refused, and rules over windows with the evaluator that systems use."""

import re
from dataclasses import replace
from typing import Any, Final

import pytest

from callboard.actors.alerts.core import AlertCore
from callboard.actors.alerts.evaluation import RuleEvaluation
from callboard.actors.alerts.routing import NotificationPlan
from callboard.actors.alerts.rules import AlertRule, RuleGroup, check_groups
from callboard.actors.alerts.table import Found
from callboard.actors.alerts.window_evaluator import WindowEvaluator
from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.messages.core.errors import SpecError
from callboard.runtime.telemetry.default_rules import NO_METRICS, default_groups
from callboard.runtime.telemetry.names import METRICS, Kind, exposed_name

from .scripted import T0, S, group, rule
from .windows import windows

NAN: Final = float("nan")
NAME: Final = re.compile(r"callboard_\w+")
KINDS: Final = {Kind.GAUGE: MetricKind.GAUGE, Kind.COUNTER: MetricKind.COUNTER}


def key(kind: MetricKind, name: str, **tags: str) -> SeriesKey:
    return SeriesKey(kind, name, tuple(sorted(tags.items())))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": ""}, "its name '' is empty"),
        ({"name": "a\nb"}, "control character"),
        ({"expression": " "}, "is no expression"),
        ({"expression": "x" * 9_000}, "9,000 characters"),
        ({"for_s": -1}, "for: -1 is no number of seconds"),
        ({"for_s": float("nan")}, "for: nan is no number"),
        ({"keep_firing_for_s": True}, "keep_firing_for: True"),
        ({"on_missing": "never"}, "'never' is none of resolve, keep, ignore"),
        ({"labels": {"9": "a"}}, "'9' is no name of a label"),
        ({"labels": {"__name__": "a"}}, "'__name__' is no name of a label"),
        ({"labels": {"a": 1}}, "'a' is 1, which is no text"),
        ({"labels": 3}, "3 is no mapping"),
        ({"labels": {"a": "{{ $value }}"}}, "$value would make a new alert of each value"),
        ({"annotations": {"a": "{{ printf }}"}}, "'printf' is not known"),
        ({"annotations": []}, "[] is no mapping"),
    ],
)
def test_a_wrong_rule_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=re.escape(problem)):
        AlertRule(**{"name": "A", "expression": "x", **options})


def test_all_problems_of_a_rule_are_in_one_error() -> None:
    with pytest.raises(SpecError) as caught:
        AlertRule(name="", expression="", for_s=-1, labels={"alertname": "x"})
    assert [field for field, _ in caught.value.details["problems"]] == [
        "alert", "expr", "for", "labels",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": ""}, "is empty"),
        ({"interval_s": 0.5}, "interval: 0.5"),
        ({"offset_s": -1}, "query_offset: -1"),
        ({"limit": 0}, "limit: 0"),
        ({"rules": (rule(), replace(rule(), expression="y"))}, "two rules are named 'High'"),
    ],
)
def test_a_wrong_group_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=re.escape(problem)):
        RuleGroup(**{"name": "g", "rules": (rule(),), **options})


def test_groups_of_one_name_are_refused() -> None:
    with pytest.raises(SpecError, match="two groups are named 'g'"):
        check_groups([group(), group()])


# --- over windows ---------------------------------------------------------------------------------

LAG: Final = key(MetricKind.GAUGE, "lag_seconds", host="a")
DONE: Final = key(MetricKind.COUNTER, "done_total", host="a")
TIMES: Final = [key(MetricKind.OBSERVATION, "job_seconds", job=name) for name in "xy"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("lag_seconds > 5", {(("host", "a"),): 9.0}),
        ("lag_seconds > 50", {}),
        ("rate(done_total[5m]) < 1", {(("host", "a"),): 0.5}),
        ("increase(done_total[5m]) > 149", {(("host", "a"),): 150.0}),
        ("absent(no_such_metric)", {(): 1.0}),
        ("absent(lag_seconds)", {}),
        ("quantile_over_time(0.99, job_seconds[5m]) > 3", {(("job", "y"),): 5.0}),
        ("max(lag_seconds) > 1", {(): 9.0}),
    ],
)
async def test_thresholds_rates_absence_and_quantiles(
    expression: str, expected: dict[Any, float]
) -> None:
    series = {
        LAG: [1.0, 2.0, 9.0], DONE: [30.0] * 5, TIMES[0]: [1.0] * 5, TIMES[1]: [5.0] * 5,
    }  # fmt: skip
    rules = group(rule(expression=expression))
    evaluation = RuleEvaluation(WindowEvaluator(windows(series, T0)))
    (result,) = (await evaluation.group(rules, T0, frozenset())).values()
    assert isinstance(result, Found), result
    assert result.missing == ()
    assert {labels: pytest.approx(v, rel=0.01) for labels, v in expected.items()} == dict(
        result.samples
    )


async def test_a_metric_that_does_not_exist_is_named() -> None:
    evaluation = RuleEvaluation(WindowEvaluator(windows({LAG: [1.0]}, T0)))
    rules = group(
        rule("A", expression="lag_seconds > 9 and no_such > 1"),
        rule("B", expression="rate(gone[5m]) > 0 or lag_seconds > 9"),
        rule("C", expression='{__name__=~"no.*"} > 1'),
        rule("D", expression="rate(lag_seconds[5m]) > 1"),
    )
    results = list((await evaluation.group(rules, T0, frozenset())).values())
    core = AlertCore((rules,), NotificationPlan())
    core.evaluated(rules, dict(zip(map(rules.rule_id, rules.rules), results, strict=True)), T0)
    found = [(health.state, health.missing) for health in core.table.rules_now()]
    assert found == [
        ("no_data", ("no_such",)), ("no_data", ("gone",)), ("ok", ()), ("failed", ()),
    ]  # fmt: skip


async def test_a_group_may_look_some_time_back() -> None:
    evaluation = RuleEvaluation(WindowEvaluator(windows({LAG: [9.0, 1.0]}, T0)))
    late = group(rule(expression="lag_seconds > 5"), offset_s=60.0)
    (result,) = (await evaluation.group(late, T0, frozenset())).values()
    assert isinstance(result, Found)
    assert list(result.samples.values()) == [9.0]


# --- the rules for Callboard itself ---------------------------------------------------------------


def test_they_name_only_metrics_that_exist() -> None:
    known = {exposed_name(name) for name in METRICS}
    labels = {metric.label for metric in METRICS.values()}
    for of in default_groups():
        for each in of.rules:
            names = NAME.findall(f"{each.expression} {each.keep_firing_while}")
            assert names
            assert set(names) <= known, each.name
            for text in each.annotations.values():
                assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels, each.name
            assert each.severity in {"critical", "warning", "info"}


async def test_they_evaluate_over_every_kind_of_metric_and_stay_quiet_when_all_is_well() -> None:
    series = {}
    for name, metric in METRICS.items():
        tags = {"host": "host-1", **({metric.label: "x"} if metric.label else {})}
        series[key(KINDS[metric.kind], exposed_name(name), **tags)] = [0.0] * 15
    evaluation = RuleEvaluation(WindowEvaluator(windows(series, T0)))
    for of in default_groups():
        everything = frozenset(map(of.rule_id, of.rules))
        results = await evaluation.group(of, T0, everything)
        for each in of.rules:
            assert results[of.rule_id(each)] == Found({}), each.name


async def test_only_one_of_them_fires_when_there_are_no_metrics_and_all_are_well() -> None:
    (of,) = default_groups()
    evaluation = RuleEvaluation(WindowEvaluator(windows({LAG: [1.0]}, T0)))
    results = await evaluation.group(of, T0, frozenset())
    core = AlertCore((of,), NotificationPlan())
    for minute in range(7):
        core.evaluated(of, results, T0 + minute * 60 * S)
    assert [(a.name, a.state) for a in core.table.alerts.values()] == [(NO_METRICS, "firing")]
    assert {health.state for health in core.table.rules_now()} == {"ok"}


async def test_each_of_them_fires_when_something_is_wrong() -> None:
    series = {}
    for name, metric in METRICS.items():
        tags = {"host": "host-1", **({metric.label: "x"} if metric.label else {})}
        if metric.label == "outcome":
            tags["outcome"] = "late" if "window" in name else "given_up"
        series[key(KINDS[metric.kind], exposed_name(name), **tags)] = [
            20_000.0 + minute for minute in range(15)
        ]
    for state, room in (("available", 1.0), ("total", 1_000.0)):
        disk = key(MetricKind.GAUGE, "callboard_node_disk_bytes", host="host-1", state=state)
        series[disk] = [room] * 15
    evaluation = RuleEvaluation(WindowEvaluator(windows(series, T0)))
    for of in default_groups():
        results = await evaluation.group(of, T0, frozenset())
        for each in of.rules:
            result = results[of.rule_id(each)]
            assert isinstance(result, Found), (each.name, result)
            assert bool(result.samples) is (each.name != NO_METRICS)
        core = AlertCore((of,), NotificationPlan())
        for minute in range(7):
            core.evaluated(of, results, T0 + minute * 60 * S)
        states = {alert.name: alert.state for alert in core.table.alerts.values()}
        assert set(states) | {NO_METRICS} == {each.name for each in of.rules}
        assert set(states.values()) == {"firing"}
