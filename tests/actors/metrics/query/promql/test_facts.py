"""The evaluator gives what Prometheus' own test data say."""

import math
from typing import Final

import pytest

from callboard.actors.metrics.errors import QueryRefused
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from tests.actors.metrics.query.promql.facts import Fact, facts
from tests.actors.metrics.query.promql.raw_samples import RawSamples, tags_of, values_of

ALL: Final = list(facts())
FACTS: Final = [fact for fact in ALL if not fact.refusal]
REFUSALS: Final = [fact for fact in ALL if fact.refusal]


def as_ns(seconds: float) -> int:
    return round(seconds * 1e9)


def test_there_are_many_facts() -> None:
    assert len(FACTS) > 150
    assert sum(fact.is_range for fact in FACTS) >= 5


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.expression} at {fact.at_s:g}")
async def test_an_expression_has_the_value_that_it_has_in_prometheus(fact: Fact) -> None:
    evaluator = ExpressionEvaluator(RawSamples(fact.setting.every_s, fact.setting.series))
    begin = as_ns(fact.at_s)
    end = as_ns(fact.to_s) if fact.is_range else begin
    found = await evaluator.range(fact.expression, begin, end, as_ns(fact.step_s or 1.0))
    vector = found.vector
    values = {
        tags: [
            value if there else None
            for value, there in zip(vector.values[row], vector.present[row], strict=True)
        ]
        for row, tags in enumerate(vector.tags)
        if vector.present[row].any()
    }
    expected = {
        tags_of(series): [None if value == "_" else float(value) for value in values_of(text)]
        for series, text in fact.expected.items()
    }
    assert values.keys() == expected.keys()
    for tags, row in expected.items():
        for value, wanted in zip(values[tags], row, strict=True):
            if wanted is None or math.isnan(wanted):
                assert (value is None) == (wanted is None)
            else:
                assert value == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    if fact.expression.startswith(("topk(", "bottomk(")):
        assert list(values) == list(expected)


@pytest.mark.parametrize("fact", REFUSALS, ids=lambda fact: fact.expression)
async def test_what_fails_in_prometheus_is_refused(fact: Fact) -> None:
    evaluator = ExpressionEvaluator(RawSamples(fact.setting.every_s, fact.setting.series))
    with pytest.raises(QueryRefused, match=fact.refusal):
        await evaluator.instant(fact.expression, as_ns(fact.at_s))
