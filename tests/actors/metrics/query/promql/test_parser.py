"""The parser: what it reads, what it refuses, and that nothing else ever happens."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.errors import QueryRefused
from callboard.actors.metrics.query.promql.functions import AGGREGATIONS, FUNCTIONS, OUTSIDE
from callboard.actors.metrics.query.promql.parser import parse
from callboard.actors.metrics.query.promql.syntax import Call, Number, Selector
from callboard.actors.metrics.series import (
    Matcher,
    MatcherKind,
    MetricKind,
    SeriesKey,
    series_key,
)
from tests.thoroughness import examples

MINUTE_NS = 60_000_000_000


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", 1, "missing"),
        ("   ", 4, "missing"),
        ("up +", 5, "missing"),
        ("up)", 3, "')'"),
        ("(up", 4, "')'"),
        ("up{", 4, "name of a tag"),
        ("up{job}", 7, "!="),
        ("up{job=1}", 8, "quotes"),
        ('up{job="x" instance="y"}', 12, "','"),
        ('up{job="x', 8, "no end"),
        ('up{job="\\q"}', 9, "escape"),
        ('up{job=~"("}', 9, "cannot be read"),
        ('up{job=~"(a+)+"}', 9, "repeats a group"),
        ('up{job=~"(?=a)"}', 9, "special group"),
        ('up{job=~"(a)\\\\1"}', 9, "refers back"),
        ('up{job=~".*a.*b.*c.*"}', 9, "too many repeats"),
        ("{}", 1, "everything"),
        ('{job=""}', 1, "everything"),
        ('{job=~".*"}', 1, "everything"),
        ('up{__name__="x"}', 1, "twice"),
        ("up[5m]", 1, "range vector"),
        ("'text'", 1, "string"),
        ("up[0s]", 3, "longer than 0"),
        ("up[5x]", 4, "neither a number nor a duration"),
        ("up[5m:1m]", 3, "subquery"),
        ("rate(up[5m])[5m:1m]", 13, "subquery"),
        ("up @ 1234", 4, "@"),
        ("sum(up) offset 5m", 9, "offset"),
        ("up offset 5m offset 5m", 14, "once"),
        ("rate(up)", 1, "range vector"),
        ("rate(up[5m], 1)", 1, "takes 1 arguments"),
        ("sum(up[5m])", 1, "instant vector"),
        ("abs(up,)", 8, "missing"),
        ("topk(up)", 1, "takes 2 arguments"),
        ("topk(up, up)", 1, "scalar"),
        ("histogram_avg(up)", 1, "histogram_avg"),
        ("label_replace(up, 'a', 'b', 'c', 'd')", 1, "label_replace"),
        ("nonsense(up)", 1, "nonsense"),
        ("up * on(a) group_left up", 12, "group_left"),
        ("up atan2 up", 4, "atan2"),
        ("1 == 1", 3, "bool"),
        ("1 and up", 3, "both sides"),
        ("up + bool up", 4, "bool"),
        ("1 + on(a) up", 3, "both sides"),
        ("up + 'x'", 4, "string"),
        ("by", 1, "unexpected"),
        ("up # comment\n )", 15, "')'"),
        ("up £", 4, "no meaning"),
        ("1.2.3", 1, "neither"),
        ("0xZZ", 1, "neither"),
        ("up[99999999999y]", 4, "100 years"),
        ("'\\ud800'", 2, "no character"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_place(text: str, place: int, words: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"character {place} of the expression: "), message
    assert words in message, message


@pytest.mark.parametrize("name", OUTSIDE)
def test_functions_outside_have_advice(name: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        parse(f"{name}(up)")
    assert caught.value.advice == OUTSIDE[name]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("up @ 1234", "--to TIME"),
        ("up @ start()", "offset 1h"),
        ("max_over_time(up[1h:1m])", "--step 1m"),
        ("max_over_time(rate(up[5m])[1h:1m])", "max_over_time(NAME[1h])"),
        ("up * on(a) group_left up", "sum by (TAG)"),
        ("up atan2 up", "+ - * / % and ^"),
        ("rate(up)", "NAME[5m]"),
    ],
)
def test_what_is_outside_says_what_to_write_instead(text: str, words: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        parse(text)
    assert words in caught.value.advice


@pytest.mark.parametrize("advice", OUTSIDE.values())
def test_what_functions_outside_advise_is_in_the_subset(advice: str) -> None:
    for found in re.findall(r"[a-z_]+(?=\()", advice):
        assert found in FUNCTIONS or found in AGGREGATIONS


def test_a_selector_has_all_its_parts() -> None:
    assert parse("sum_over_time(cpu:x{a=\"b\", c!~'d|e',}[1h30m] offset -5m)") == Call(
        "sum_over_time",
        (
            Selector(
                (
                    Matcher("__name__", MatcherKind.IS, "cpu:x"),
                    Matcher("a", MatcherKind.IS, "b"),
                    Matcher("c", MatcherKind.MATCHES_NOT, "d|e"),
                ),
                90 * MINUTE_NS,
                -5 * MINUTE_NS,
                14,
            ),
        ),
        FUNCTIONS["sum_over_time"].gives,
        0,
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [("0x1F", 31.0), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("1h", 3600.0), ("100ms", 0.1)],
)
def test_numbers_and_durations_are_numbers(text: str, value: float) -> None:
    found = parse(text)
    assert isinstance(found, Number)
    assert found.value == value


@pytest.mark.parametrize("name", ["sum", "rate", "topk", "inf", "count"])
def test_names_of_functions_may_be_metrics(name: str) -> None:
    found = parse(f"{name}{{}}")
    assert isinstance(found, Selector)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 500 + "1" + ")" * 500,
        "-" * 5_000 + "1",
        "1" + "+1" * 3_000,
        "abs(" * 300 + "up" + ")" * 300,
        "2" + "^2" * 3_000,
        "up" + "{" * 5_000,
        "1 " * 20_000,
    ],
)
def test_deep_and_long_expressions_are_refused(text: str) -> None:
    with pytest.raises(QueryRefused):
        parse(text)


PIECES = st.sampled_from(
    [
        *FUNCTIONS, *AGGREGATIONS, "up", "x:y", "{", "}", "(", ")", "[", "]", ",", "=", "=~", "!~",
        "==", "!=", "<", ">=", "+", "-", "*", "/", "%", "^", "by", "without", "on", "ignoring",
        "bool", "and", "or", "unless", "offset", "@", ":", "5m", "1", ".5", "1e9", "inf", "NaN",
        '"a"', "'b'", "`c`", '"(a+)+"', '"["', "#", "\n", "group_left", "\\", '"', "0x", "1h1h",
    ]
)  # fmt: skip


@settings(max_examples=examples(2_000))
@given(st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=25).map(" ".join)))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse(text)
    except QueryRefused:
        return


@settings(max_examples=examples(1_000))
@given(st.text(alphabet="ab.*+?|()[]{}0,1\\^$-i:", max_size=25), st.text("ab-", max_size=30))
def test_any_pattern_is_matched_or_refused(pattern: str, value: str) -> None:
    quoted = pattern.replace("\\", "\\\\").replace('"', '\\"')
    try:
        found = parse(f'up{{a=~"{quoted}"}}')
    except QueryRefused:
        return
    assert isinstance(found, Selector)
    assert isinstance(found.matchers[1].accepts(_key_with(value)), bool)


def _key_with(value: str) -> SeriesKey:
    return series_key(MetricKind.GAUGE, "up", {"a": value})


@settings(max_examples=examples(400))
@given(st.text("a", max_size=1_000))
def test_the_worst_patterns_take_no_time_worth_naming(value: str) -> None:
    for pattern in (".*a.*a.*", "a*a*b", "(a|a)(a|a)(a|a)b", "a?a?a?a?a?a?a?a?a?aaaaaaaaa"):
        found = parse(f'up{{a=~"{pattern}"}}')
        assert isinstance(found, Selector)
        found.matchers[1].accepts(_key_with(value))
