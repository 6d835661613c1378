"""What Prometheus' own test data say, as facts: series, an expression, and its value.

The facts come from the files under `promql/promqltest/testdata` of prometheus/prometheus: which
series there are, what is asked at which time, and what is the answer. Names, form and words are
ours. `facts.txt` has, for each setting, its series with their values at each interval, and its
facts: `@ time in seconds | expression | values`. `0+10x3` is 0 10 20 30, `_` is no sample, and
`stale` is a series' end. A range is asked with `from to end by step`.

Of these files the following is outside the subset, and each is refused by its name: native
histograms (`native_histograms`, most of `info`), the modifiers `@`, `fill`, `anchored` and
`smoothed` (`at_modifier`, `fill-modifier`, `extended_vectors`), subqueries (`subquery`,
`aligned_subquery`), arithmetic of durations (`duration_expression`), texts as results (part of
`literals`), group_left and group_right (part of `operators`), trigonometry and bits
(`trig_functions`, `bitwise`), `limitk` and `limit_ratio` (`limit`), count_values, label_replace,
label_join, sort, changes, resets, delta, deriv, irate, predict_linear and dates (part of
`functions` and `aggregators`). A group in a pattern that sets a flag on its way, `((?i)PRO).*`, is
refused as well.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SETTING: Final = re.compile(r"== (.*), every ([\d.]+) s")
FACT: Final = re.compile(r"@ ([\d.]+)(?: to ([\d.]+) by ([\d.]+))? \| (.*) \| (.*)")
SERIES: Final = re.compile(r"(.*?[}\w]) (?:= )?([^=}]+)")


@dataclass
class Setting:
    """Some series, by selector."""

    name: str
    every_s: float
    series: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fact:
    """An expression and its value at one time, or at several."""

    setting: Setting
    expression: str
    at_s: float
    to_s: float
    step_s: float
    expected: dict[str, str]
    """By series the values at each step; a number is of the series `{}`."""
    refusal: str = ""
    """What the error says, where Prometheus fails as well."""

    @property
    def is_range(self) -> bool:
        return self.step_s > 0.0


def facts() -> Iterator[Fact]:
    """All facts."""
    setting = Setting("", 0.0)
    for line in Path(__file__).with_name("facts.txt").read_text(encoding="utf-8").splitlines():
        if begins := SETTING.fullmatch(line):
            setting = Setting(begins[1], float(begins[2]))
        elif found := FACT.fullmatch(line):
            at_s, to_s, step_s, expression, values = found.groups()
            refusal = values.removeprefix("refused: ") if values.startswith("refused: ") else ""
            is_empty = refusal or values == "nothing"
            expected = {} if is_empty else dict(map(_series, values.split("; ")))
            times = (float(at_s), float(to_s or 0), float(step_s or 0))
            yield Fact(setting, expression, *times, expected, refusal)
        elif line:
            selector, values = _series(line)
            setting.series[selector] = values


def _series(text: str) -> tuple[str, str]:
    found = SERIES.fullmatch(text)
    return (found[1], found[2]) if found is not None else ("{}", text)
