"""Questions and answers as messages: any of them is answered or refused, and travels as JSON."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.query.question import (
    ListMetrics,
    MetricsAnswered,
    QueryMetrics,
    answer_question,
    list_metrics,
)
from callboard.actors.metrics.query.readers import MemoryWindows
from callboard.actors.metrics.series import MetricKind
from callboard.messages.core.errors import UsageError
from tests.actors.metrics.query.points import HOUR_NS, MINUTE_NS, START_NS, Point, key, store
from tests.thoroughness import examples

CALLS = key("calls_total", MetricKind.COUNTER, job="a")
HEAT = key("heat", job="a")


def filled() -> MemoryWindows:
    times = [START_NS + minute * MINUTE_NS for minute in range(10)]
    return store([Point(series, time, 2.0) for series in (CALLS, HEAT) for time in times])


def asked(**changes: object) -> QueryMetrics:
    given: dict[str, object] = {"from_ns": START_NS, "to_ns": START_NS + 10 * MINUTE_NS}
    return QueryMetrics.model_validate(given | changes)


async def test_an_expression_over_a_time_begins_at_a_whole_step() -> None:
    question = asked(
        expression="increase(calls_total[1m])", from_ns=START_NS + 90_000_000_000, step_ns=MINUTE_NS
    )
    found = await answer_question(filled(), question)
    assert found.times_ns[0] == START_NS + 2 * MINUTE_NS
    assert found.series[0].values == (2.0,) * 9
    assert found.series[0].label == '{job="a"}'


@pytest.mark.parametrize("is_range", [False, True])
async def test_a_window_that_is_open_answers_for_now_if_none_has_ended(is_range: bool) -> None:
    now_ns = START_NS + 20_000_000_000
    young = store([Point(CALLS, START_NS, 2.0), Point(HEAT, START_NS, 7.0)])
    question = asked(
        expression="increase(calls_total[5m])", is_range=is_range,
        from_ns=now_ns - HOUR_NS, to_ns=now_ns, is_of_now=True,
    )  # fmt: skip
    found = await answer_question(young, question)
    assert found.series[0].floats()[-1] == 2.0
    assert found.times_ns[-1] == found.open_until_ns == START_NS + MINUTE_NS
    # A question about the past gets the same answer for ever.
    past = question.model_copy(update={"is_of_now": False})
    assert (await answer_question(young, past)).series == ()


async def test_a_window_that_is_open_waits_while_others_answer() -> None:
    now_ns = START_NS + 9 * MINUTE_NS + 1
    question = asked(
        expression="increase(calls_total[5m])", is_range=False, to_ns=now_ns, is_of_now=True
    )
    found = await answer_question(filled(), question)
    assert (found.open_until_ns, found.times_ns) == (0, (now_ns,))
    assert found.series[0].values == (10.0,)


@pytest.mark.parametrize("is_range", [False, True])
async def test_long_steps_end_with_the_window_that_is_open(is_range: bool) -> None:
    now_ns = START_NS + 20_000_000_000
    question = asked(
        expression="heat", is_range=is_range, from_ns=now_ns - 6 * HOUR_NS, to_ns=now_ns,
        step_ns=HOUR_NS, is_of_now=True,
    )  # fmt: skip
    found = await answer_question(store([Point(HEAT, START_NS, 7.0)]), question)
    assert found.series[0].floats()[-1] == 7.0
    assert found.open_until_ns == START_NS + MINUTE_NS


async def test_a_question_by_matchers() -> None:
    question = asked(matchers=(("__name__", "=~", "calls.*"),), step_ns=5 * MINUTE_NS)
    found = await answer_question(filled(), question)
    assert found.series[0].label == 'calls_total{job="a"}'
    assert found.series[0].floats() == [10.0, 10.0]
    assert found.widths_ns == (5 * MINUTE_NS,) * 2


async def test_answers_travel_as_json() -> None:
    question = asked(expression="vector(1) / (heat - heat) or heat", is_range=False)
    found = await answer_question(filled(), question)
    again = MetricsAnswered.model_validate_json(json.dumps(found.model_dump(mode="json")))
    assert again == found
    values = (await answer_question(filled(), asked(expression="1 / 0"))).series[0]
    assert values.values[0] == "+Inf"
    assert values.floats()[0] == math.inf


async def test_metrics_are_listed() -> None:
    found = await list_metrics(filled(), ListMetrics())
    assert found.metrics == (("calls_total", "counter", 1), ("heat", "gauge", 1))
    later = ListMetrics(from_ns=START_NS + 30 * HOUR_NS)
    assert (await list_metrics(filled(), later)).metrics == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"expression": "heat", "to_ns": 2**70},
        {"expression": "heat", "from_ns": -(2**70)},
        {"expression": "heat", "step_ns": 2**70},
        {"expression": "heat", "step_ns": -1},
        {"expression": "heat", "is_range": False, "to_ns": 2**64},
        {"matchers": (("a", "=", "b"),), "to_ns": 2**70},
        {"matchers": (("a", "=", "b"),), "step_ns": MINUTE_NS * 2**40},
        {"matchers": (("a", "~", "b"),)},
        {"matchers": (("a", "=", "b"),), "function": "median"},
        {},
    ],
)
async def test_wrong_questions_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        await answer_question(filled(), asked(**changes))


async def test_an_answer_that_is_too_large_is_refused() -> None:
    points = [Point(key("heat", job=f"{n}"), START_NS, 1.0) for n in range(120)]
    question = asked(matchers=(("__name__", "=", "heat"),), step_ns=MINUTE_NS)
    far = [*points, Point(HEAT, START_NS + 10_000 * MINUTE_NS, 1.0)]
    changed = question.model_copy(update={"to_ns": START_NS + 10_001 * MINUTE_NS})
    with pytest.raises(UsageError, match="values"):
        await answer_question(store(far), changed)


TIMES = st.one_of(st.integers(), st.integers(START_NS - HOUR_NS, START_NS + HOUR_NS))


@settings(max_examples=examples(600))
@given(
    begin=TIMES,
    end=TIMES,
    step=st.one_of(st.integers(), st.integers(0, 100).map(lambda n: n * MINUTE_NS)),
    expression=st.sampled_from(
        ["", "heat", "heat offset 100y", "increase(calls_total[100y])", "max_over_time(heat[1w])",
         "quantile_over_time(0.5, heat[7m] offset -100y)", "topk(1, heat)", "1"]
    ),
    form=st.tuples(st.booleans(), st.booleans()),
    function=st.sampled_from(["auto", "p99", "rate", "last"]),
    by=st.sampled_from([None, (), ("job",), ("none",)]),
    top=st.integers(-1, 3),
)  # fmt: skip
async def test_any_question_is_answered_or_refused(
    begin: int,
    end: int,
    step: int,
    expression: str,
    form: tuple[bool, bool],
    function: str,
    by: tuple[str, ...] | None,
    top: int,
) -> None:
    question = QueryMetrics(
        from_ns=begin, to_ns=end, step_ns=step, expression=expression, is_range=form[0],
        is_of_now=form[1], matchers=(("job", "=", "a"),), function=function, by=by, top=top,
    )  # fmt: skip
    try:
        found = await answer_question(filled(), question)
    except UsageError:
        return
    assert all(len(series.values) == len(found.times_ns) for series in found.series)
