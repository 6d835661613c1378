"""The series of a shard: their numbers, the limits of tenants, and tags that explode.

A tenant's series beyond its limit are counted in overflow series: one for each kind and name of a
metric as long as there are few names, then one for each kind. So the sums of a metric stay whole.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError

from ..series import Matcher, MatcherKind, MetricKind, SeriesKey, series_key
from .accounts import ShardWarning, Warned
from .settings import SERIES_MAX, WindowSettings

__all__ = ["OVERFLOW_NAME", "OVERFLOW_TAG", "WRONG_SERIES", "SeriesDirectory"]

OVERFLOW_NAME: Final = "callboard_overflow"
"""The metric of overflow series when a tenant has too many names of metrics as well."""
OVERFLOW_TAG: Final = "overflow"
OVERFLOW_NAMES_MAX: Final = 1_000
"""Names of metrics that have an overflow series of their own, of all tenants."""
WRONG_SERIES: Final = -1
"""The number of a series with a wrong name or wrong tags: its points are dropped."""
EXPLODING: Final = frozenset({1_000, 10_000, 100_000})
"""Numbers of a metric's series at which the shard checks its tags."""
EXPLODING_SHARE: Final = 0.5
"""A tag explodes if it has so many values for each series of its metric."""


class SeriesDirectory:
    """Numbers of series, from 0 on, in the order in which they were first seen."""

    def __init__(self, settings: WindowSettings) -> None:
        self._settings = settings
        self.keys: list[SeriesKey] = []
        self.is_gauge = np.zeros(64, np.bool_)
        """For each series whether it is a gauge."""
        self.has_gauges = False
        self.warnings: list[ShardWarning] = []
        self.overflowed = 0
        """Definitions that were counted in an overflow series."""
        self._numbers: dict[SeriesKey, int] = {}
        self._by_name: dict[str, list[int]] = {}
        self._of_tenant: Counter[str] = Counter()
        self._overflow_names = 0
        self._full: set[str] = set()

    def __len__(self) -> int:
        return len(self.keys)

    def number(self, given: SeriesKey) -> int:
        """The number of a series, of its overflow series, or `WRONG_SERIES`."""
        found = self._numbers.get(given)
        if found is not None:
            return found
        try:
            key = series_key(MetricKind(given[0]), given[1], dict(given[2]))
        except (UsageError, TypeError, ValueError):
            return WRONG_SERIES
        found = self._numbers.get(key)
        if found is not None:
            return found
        tenant = key.tag(self._settings.tenant_tag) if self._settings.tenant_tag else ""
        if self._of_tenant[tenant] < self._limit():
            self._of_tenant[tenant] += 1
            number = self.add(key)
            self._check_tags(key.name, tenant)
            return number
        if tenant not in self._full:
            self._full.add(tenant)
            self._warn_full(tenant)
        self.overflowed += 1
        return self._overflow(key, tenant)

    def _limit(self) -> int:
        # The last numbers of a shard are for overflow series.
        left = SERIES_MAX - len(self.keys) - 2 * OVERFLOW_NAMES_MAX
        return self._settings.series_per_tenant_max if left > 0 else 0

    def _overflow(self, key: SeriesKey, tenant: str) -> int:
        tags = {OVERFLOW_TAG: "true"}
        if tenant:
            tags[self._settings.tenant_tag] = tenant
        own = series_key(key.kind, key.name, tags)
        if own in self._numbers:
            return self._numbers[own]
        if self._overflow_names < OVERFLOW_NAMES_MAX:
            self._overflow_names += 1
            return self.add(own)
        # Without the tenant: the number of tenants has no limit of its own.
        rest = series_key(key.kind, OVERFLOW_NAME, {OVERFLOW_TAG: "true"})
        return self._numbers[rest] if rest in self._numbers else self.add(rest)

    def add(self, key: SeriesKey) -> int:
        """Give a series the next number; it has none yet."""
        number = len(self.keys)
        self.keys.append(key)
        self._numbers[key] = number
        self._by_name.setdefault(key.name, []).append(number)
        if number == len(self.is_gauge):
            self.is_gauge = np.concatenate((self.is_gauge, np.zeros(number, np.bool_)))
        if key.kind is MetricKind.GAUGE:
            self.is_gauge[number] = self.has_gauges = True
        return number

    def restore(self, keys: Iterable[SeriesKey]) -> None:
        """Give series of a stored state their numbers again."""
        tenant_tag = self._settings.tenant_tag
        for key in keys:
            self.add(key)
            if key.tag(OVERFLOW_TAG) == "true":
                self._overflow_names += 1
            else:
                self._of_tenant[key.tag(tenant_tag) if tenant_tag else ""] += 1

    def matching(
        self, matchers: Sequence[Matcher], numbers: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Those of these series, sorted, that fulfil all matchers."""
        if not matchers:
            return numbers
        for matcher in matchers:
            if matcher.tag == "__name__" and matcher.kind is MatcherKind.IS:
                numbers = np.intersect1d(numbers, self._by_name.get(matcher.value, []))
        keys = self.keys
        found = [
            number
            for number in numbers.tolist()
            if all(matcher.accepts(keys[number]) for matcher in matchers)
        ]
        return np.array(found, np.int64)

    def _check_tags(self, name: str, tenant: str) -> None:
        numbers = self._by_name[name]
        if len(numbers) in EXPLODING:
            tag, values = self._largest_tag(numbers)
            if values >= EXPLODING_SHARE * len(numbers):
                text = (
                    f"the tag {tag} of metric {name} has {values:,} values in this shard: leave it "
                    "out, or use a tag with few values."
                )
                self.warnings.append(ShardWarning(Warned.TAG_EXPLODES, tenant or name, text))

    def _warn_full(self, tenant: str) -> None:
        name = max(self._by_name, key=lambda each: len(self._by_name[each]))
        tag, values = self._largest_tag(self._by_name[name])
        limit = self._settings.series_per_tenant_max
        text = (
            f"tenant {tenant or '(the only one)'} has {limit:,} series in this shard: further ones "
            f"are counted in series with {OVERFLOW_TAG}=true. Most series have metric {name}"
        )
        text += f", whose tag {tag} has {values:,} values." if tag else "."
        self.warnings.append(ShardWarning(Warned.TENANT_FULL, tenant, text))

    def _largest_tag(self, numbers: list[int]) -> tuple[str, int]:
        values: dict[str, set[str]] = {}
        for number in numbers:
            for tag, value in self.keys[number].tags:
                values.setdefault(tag, set()).add(value)
        if not values:
            return "", 0
        return max(((tag, len(found)) for tag, found in values.items()), key=lambda each: each[1])
