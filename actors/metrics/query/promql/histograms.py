"""Quantiles of histograms with buckets, as others count them, and of observations, which have none.

A histogram is a set of counters with the tag `le`, each for the values up to a bound. Its quantile
is a guess: it lies somewhere in a bucket. Windows of observations have sketches, so that a question
in the words of histograms has a better answer there: see `bucket_rates`.
"""

from typing import Final, NamedTuple

import numpy as np

from ...series import Matcher, MatcherKind
from .syntax import Aggregation, Call, Expression, Matching, Selector
from .vectors import NAME, Floats, Tags, Vector, named_without

__all__ = ["BucketRates", "bucket_quantiles", "bucket_rates"]

BOUND: Final = "le"
SUFFIX: Final = "_bucket"
EACH: Final = Matching((), is_on=False)


class BucketRates(NamedTuple):
    """The rates of a histogram's buckets, added up by some tags, as an expression asks for them."""

    selector: Selector
    """Of the observations themselves, without `_bucket`."""
    grouping: Matching
    """How series are put together, apart from their bounds."""


def bucket_rates(node: Expression) -> BucketRates | None:
    """Read `sum by (le, …) (rate(NAME_bucket[…]))`, or without `sum`; None for all else."""
    grouping = EACH
    if isinstance(node, Aggregation) and node.operator == "sum":
        tags = tuple(tag for tag in node.grouping.tags if tag != BOUND)
        if node.grouping.is_on != (BOUND in node.grouping.tags):
            return None
        grouping = Matching(tags, node.grouping.is_on)
        node = node.operand
    if not isinstance(node, Call) or node.function not in {"rate", "increase"}:
        return None
    selector = node.arguments[0]
    assert isinstance(selector, Selector), "only a selector gives a range"
    matchers = []
    named = False
    for matcher in selector.matchers:
        if matcher.tag == BOUND:
            return None
        if matcher.tag == NAME:
            if matcher.kind is not MatcherKind.IS or not matcher.value.endswith(SUFFIX):
                return None
            named = True
            base = matcher.value.removesuffix(SUFFIX)
            matchers.append(Matcher(NAME, MatcherKind.IS, base))
        else:
            matchers.append(matcher)
    if not named:
        return None
    found = Selector(tuple(matchers), selector.range_ns, selector.offset_ns, selector.place)
    return BucketRates(found, grouping)


def bucket_quantiles(vector: Vector, quantile: Floats) -> Vector:
    """The quantile of each histogram; series without a readable bound are left out."""
    groups: dict[Tags, list[tuple[float, int]]] = {}
    for row, tags in enumerate(vector.tags):
        bound = _bound(dict(tags).get(BOUND, ""))
        if bound is not None:
            rest = tuple(tag for tag in named_without(tags) if tag[0] != BOUND)
            groups.setdefault(rest, []).append((bound, row))
    values = np.full((len(groups), vector.moments), np.nan)
    present = np.zeros(values.shape, bool)
    for number, members in enumerate(groups.values()):
        members.sort()
        rows = [row for _, row in members]
        present[number] = vector.present[rows].any(axis=0)
        counts = np.where(vector.present[rows], vector.values[rows], 0.0)
        bounds = np.array([bound for bound, _ in members])
        values[number] = _quantiles(bounds, counts, quantile)
    return Vector(tuple(groups), values, present)


def _bound(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return None if np.isnan(found) else found


def _quantiles(bounds: Floats, counts: Floats, quantile: Floats) -> Floats:
    """The quantile of one histogram at each moment, on a straight line within its bucket."""
    bounds, starts = np.unique(bounds, return_index=True)
    counts = np.maximum.accumulate(np.add.reduceat(counts, starts, axis=0), axis=0)
    if len(bounds) < 2 or not np.isposinf(bounds[-1]):
        return np.full(len(quantile), np.nan)
    moments = np.arange(counts.shape[1])
    rank = quantile * counts[-1]
    reached = counts[:-1] >= rank
    bucket = np.where(reached.any(axis=0), reached.argmax(axis=0), len(bounds) - 1)
    is_first, is_last = bucket == 0, bucket == len(bounds) - 1
    below = np.where(is_first, 0.0, counts[bucket - 1, moments])
    begin = np.where(is_first, 0.0, bounds[bucket - 1])
    with np.errstate(all="ignore"):
        share = (rank - below) / (counts[bucket, moments] - below)
        found = begin + (bounds[bucket] - begin) * share
    found = np.where(is_first & (bounds[0] <= 0.0), bounds[0], found)
    found = np.where(is_last, bounds[-2], found)
    found = np.where(counts[-1] > 0.0, found, np.nan)
    found = np.where(quantile < 0.0, -np.inf, np.where(quantile > 1.0, np.inf, found))
    return np.where(np.isnan(quantile), np.nan, found)
