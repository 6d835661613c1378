"""Reducers: they merge the results of many sub-tasks into one.

A reducer folds values into an accumulator, and finishes it into the result.

The order of arrival has no effect. Every value comes with its `key`, the place of its sub-task in
the plan; where order matters, the key decides. So each reducer gives the same result for any
permutation of its values, and tests check this.

Accumulators are plain data (numbers, tuples, lists, dicts), so a codec can carry them.
`add` may change and return its accumulator.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Final, Generic, Literal, TypeVar, assert_never

from callboard.messages.core.errors import ResultRejected

__all__ = [
    "Collect",
    "ConcatLists",
    "Count",
    "First",
    "MergeDicts",
    "OnConflict",
    "Quorum",
    "Reducer",
    "Sum",
    "Verdict",
    "Vote",
    "reduce_all",
]

V = TypeVar("V")
A = TypeVar("A")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
H = TypeVar("H", bound=Hashable)

Keyed = tuple[int, V]
"""The place of a sub-task in the plan, and its value."""

EXACT_SCALE: Final = 1 << 1_074
"""Every finite float is a whole multiple of 1 / EXACT_SCALE, the smallest float above zero."""


class Reducer(ABC, Generic[V, A, R]):
    """Folds values of type V into an accumulator A and finishes it into a result R."""

    commutative: ClassVar[bool] = True
    """Values may be added in any order."""

    @abstractmethod
    def initial(self) -> A:
        """A new, empty accumulator."""

    @abstractmethod
    def add(self, accumulator: A, value: V, key: int) -> A:
        """Fold one value in; `key` is the place of its sub-task in the plan, and unique."""

    @abstractmethod
    def finish(self, accumulator: A) -> R:
        """The result. Raises `ResultRejected` when the values do not reduce to one."""


def reduce_all(reducer: Reducer[V, A, R], values: Iterable[Keyed[V]]) -> R:
    """Reduce all values with one accumulator."""
    accumulator = reducer.initial()
    for key, value in values:
        accumulator = reducer.add(accumulator, value, key)
    return reducer.finish(accumulator)


def _key_of(keyed: Keyed[V]) -> int:
    return keyed[0]


class Collect(Reducer[V, list[Keyed[V]], list[V]]):
    """All values, in the order of the plan."""

    def initial(self) -> list[Keyed[V]]:
        """An empty list."""
        return []

    def add(self, accumulator: list[Keyed[V]], value: V, key: int) -> list[Keyed[V]]:
        """Keep the value with its key."""
        accumulator.append((key, value))
        return accumulator

    def finish(self, accumulator: list[Keyed[V]]) -> list[V]:
        """Sort by plan."""
        return [value for _, value in sorted(accumulator, key=_key_of)]


class ConcatLists(Reducer[Iterable[V], list[Keyed[list[V]]], list[V]]):
    """One list of all the lists' items: lists in the order of the plan, items in their own."""

    def initial(self) -> list[Keyed[list[V]]]:
        """An empty list."""
        return []

    def add(
        self, accumulator: list[Keyed[list[V]]], value: Iterable[V], key: int
    ) -> list[Keyed[list[V]]]:
        """Keep the items with their key."""
        accumulator.append((key, list(value)))
        return accumulator

    def finish(self, accumulator: list[Keyed[list[V]]]) -> list[V]:
        """Sort by plan and join."""
        return [item for _, items in sorted(accumulator, key=_key_of) for item in items]


class Count(Reducer[object, int, int]):
    """The number of values."""

    def initial(self) -> int:
        """Zero."""
        return 0

    def add(self, accumulator: int, value: object, key: int) -> int:
        """One more."""
        return accumulator + 1

    def finish(self, accumulator: int) -> int:
        """The count."""
        return accumulator


SumParts = tuple[int, float, bool]
"""The exact sum in units of 1/EXACT_SCALE, infinities and NaN, and whether floats occurred."""


class Sum(Reducer[int | float, SumParts, int | float]):
    """The exact sum, rounded once at the end; whole numbers give a whole number.

    Adding floats one by one rounds each time, so the result would depend on the order of
    arrival. Every finite float is a multiple of the smallest one, so the accumulator is a
    whole number of these.
    """

    def initial(self) -> SumParts:
        """Zero."""
        return (0, 0.0, False)

    def add(self, accumulator: SumParts, value: float, key: int) -> SumParts:
        """Add exactly."""
        exact, special, has_float = accumulator
        if isinstance(value, int):
            return (exact + value * EXACT_SCALE, special, has_float)
        if not math.isfinite(value):
            return (exact, special + value, True)
        numerator, denominator = value.as_integer_ratio()
        return (exact + numerator * (EXACT_SCALE // denominator), special, True)

    def finish(self, accumulator: SumParts) -> int | float:
        """Round once; a sum beyond the floats is an infinity."""
        exact, special, has_float = accumulator
        if not has_float:
            return exact // EXACT_SCALE
        if special or math.isnan(special):
            return special
        try:
            return float(Fraction(exact, EXACT_SCALE))
        except OverflowError:
            return math.inf if exact > 0 else -math.inf


class First(Reducer[V, "Keyed[V] | None", "V | None"]):
    """The value that comes first in the plan; `None` if there is none."""

    def initial(self) -> Keyed[V] | None:
        """Nothing."""
        return None

    def add(self, accumulator: Keyed[V] | None, value: V, key: int) -> Keyed[V] | None:
        """Keep the earlier value."""
        return (key, value) if accumulator is None or key < accumulator[0] else accumulator

    def finish(self, accumulator: Keyed[V] | None) -> V | None:
        """The value."""
        return accumulator[1] if accumulator else None


OnConflict = Literal["reject", "first", "last", "keep_all"]
"""The rule for unequal values of one dictionary key: reject the result, take the first or the
last in the plan, or keep all as a list in the order of the plan."""

Entries = dict[K, list[tuple[int, int, V]]]
"""By dictionary key: the sub-task's place in the plan, the key's place in its dictionary,
and the value."""


class MergeDicts(Reducer[Mapping[K, V], Entries[K, V], "dict[K, V | list[V]]"]):
    """One dictionary of all entries; its keys have the order of their first place in the plan.

    `on_conflict` is a name, or a function that merges two unequal values, in the order of the
    plan. Equal values are no conflict, except for `keep_all`: it always makes lists, so the
    type of the result does not depend on the values.
    """

    def __init__(self, on_conflict: OnConflict | Callable[[V, V], V] = "reject") -> None:
        self.on_conflict: Final = on_conflict

    def initial(self) -> Entries[K, V]:
        """No entries."""
        return {}

    def add(self, accumulator: Entries[K, V], value: Mapping[K, V], key: int) -> Entries[K, V]:
        """Keep every entry with its key."""
        for place, (name, item) in enumerate(value.items()):
            accumulator.setdefault(name, []).append((key, place, item))
        return accumulator

    def finish(self, accumulator: Entries[K, V]) -> dict[K, V | list[V]]:
        """Settle every key; raises `ResultRejected` for unequal values under `reject`."""
        ordered = [
            (sorted(entries, key=lambda entry: entry[:2]), name)
            for name, entries in accumulator.items()
        ]
        ordered.sort(key=lambda pair: pair[0][0][:2])
        return {name: self._settle(name, entries) for entries, name in ordered}

    def _settle(self, name: K, entries: list[tuple[int, int, V]]) -> V | list[V]:
        values = [value for _, _, value in entries]
        match self.on_conflict:
            case "keep_all":
                return values
            case "first":
                return values[0]
            case "last":
                return values[-1]
            case "reject":
                if any(value != values[0] for value in values):
                    raise ResultRejected(
                        f"Sub-tasks disagree about {name!r}: {len(values)} values, not all equal.",
                        advice="Choose another rule for conflicts: MergeDicts(on_conflict=...).",
                        places=[key for key, _, _ in entries],
                    )
                return values[0]
            case fold if callable(fold):
                settled = values[0]
                for value in values[1:]:
                    settled = settled if value == settled else fold(settled, value)
                return settled
            case unknown:
                assert_never(unknown)


@dataclass(frozen=True)  # no slots: Python 3.11 cannot make `Verdict[str](...)` with both
class Verdict(Generic[V]):
    """The outcome of a vote: `value` is `None` unless the quorum was `reached`."""

    value: V | None
    """The value that won."""
    reached: bool
    """Whether enough agents voted for it."""
    votes: int
    """The votes for the strongest value, even below the quorum."""
    voters: int
    """The number of all votes."""


class Quorum(Reducer[H, "dict[H, list[Keyed[H]]]", "Verdict[H]"]):
    """The value with the most votes, if it has at least `votes_min`; one sub-task, one vote.

    Between equally strong values, the one that comes first in the plan wins.
    """

    def __init__(self, votes_min: int) -> None:
        assert votes_min >= 1, "a quorum of nobody elects nothing"
        self.votes_min: Final = votes_min

    def initial(self) -> dict[H, list[Keyed[H]]]:
        """No votes."""
        return {}

    def add(
        self, accumulator: dict[H, list[Keyed[H]]], value: H, key: int
    ) -> dict[H, list[Keyed[H]]]:
        """Count one vote."""
        accumulator.setdefault(value, []).append((key, value))
        return accumulator

    def finish(self, accumulator: dict[H, list[Keyed[H]]]) -> Verdict[H]:
        """Choose the strongest value."""
        voters = sum(map(len, accumulator.values()))
        if not accumulator:
            return Verdict(None, reached=False, votes=0, voters=0)
        best = min(accumulator.values(), key=lambda votes: (-len(votes), min(map(_key_of, votes))))
        reached = len(best) >= self.votes_min
        # Equal values may differ in form (1, 1.0, True): the first of the plan represents all.
        value = min(best, key=_key_of)[1] if reached else None
        return Verdict(value, reached=reached, votes=len(best), voters=voters)


class Vote(Quorum[H]):
    """The value with the most votes, however few they are."""

    def __init__(self) -> None:
        super().__init__(votes_min=1)
