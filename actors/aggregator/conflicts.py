"""Conflict resolution: what stands when agents say different things about the same place.

Agents make claims. Claims about one place that agree are one statement with several
voices; a resolver chooses among the statements by a named policy and says how: which
criterion decided, who agreed and who lost. Policies are data (`ConflictPolicy`), so a
request or a configuration can name one.

The outcome depends on the set of claims only, never on the order in which they came. The
last criterion is the value's text, so values need a `repr` that is the same in every
process: plain values, tuples, enums, frozen dataclasses and contracts have it.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any, Final, Generic, Protocol, TypeVar, assert_never

from callboard.messages.core.errors import SpecError

from .reducers import Reducer

__all__ = [
    "Claim",
    "ConflictPolicy",
    "PolicyResolver",
    "Resolution",
    "ResolveClaims",
    "Resolver",
    "make_resolver",
]

V = TypeVar("V")

CONFIDENCE_RANGE: Final = (0.0, 1.0)


@dataclass(frozen=True)  # no slots: Python 3.11 cannot make `Claim[str](...)` with both
class Claim(Generic[V]):
    """What one agent says about one place.

    `place` is whatever identifies it (a path, a tuple of path and line, ...). A higher
    `severity` is worse; `None` says nothing about it and ranks below all.

    Raises:
        SpecError: the confidence is not within 0 and 1.
    """

    place: Hashable
    value: V
    by: str
    confidence: float = 1.0
    severity: int | None = None

    def __post_init__(self) -> None:
        low, high = CONFIDENCE_RANGE
        if not low <= self.confidence <= high:
            raise SpecError(
                f"{self.by} claims with the confidence {self.confidence}, not within 0 and 1."
            )


class ConflictPolicy(StrEnum):
    """How the statement that stands is chosen."""

    HIGHEST_CONFIDENCE = auto()
    MAJORITY = auto()
    """The most agents; an agent that repeats itself counts once."""
    MOST_SEVERE = auto()
    PREFER = auto()
    """The agent that comes first in a given order; all others after it."""
    KEEP_ALL = auto()
    """Nothing is thrown away: all statements stand, the most confident first."""


@dataclass(frozen=True)
class Resolution(Generic[V]):
    """What stands at one place, and how that was decided.

    `decided_by` is `unanimous` when there was one statement, otherwise the criterion that
    set the winner apart: `votes`, `confidence`, `severity`, `preference` or `text`; for
    `keep_all` it is what put the winner first.
    """

    place: Hashable
    winner: Claim[V]
    kept: tuple[Claim[V], ...]
    policy: ConflictPolicy
    decided_by: str
    agreed: tuple[str, ...]
    """The agents behind the winner, by name."""
    lost: tuple[str, ...]
    """The agents whose statements do not stand, by name; one may be in both."""


class Resolver(Protocol[V]):
    """Settles the claims about one place, whatever their order."""

    def resolve(self, claims: Sequence[Claim[V]]) -> Resolution[V]:
        """What stands; `claims` is not empty and all about the same place."""


@dataclass(frozen=True)
class _Statement(Generic[V]):
    """The claims about one place that agree."""

    claims: tuple[Claim[V], ...]
    agents: tuple[str, ...]
    confidence: float
    severity: int | None
    text: str

    @property
    def spokesman(self) -> Claim[V]:
        """The claim that stands for all: the surest, then by name."""
        return min(self.claims, key=lambda claim: (-claim.confidence, *_order(claim)))


Criterion = tuple[str, Callable[[_Statement[Any]], Any]]  # criteria differ in what they compare
"""A name for `decided_by`, and a sort key under which the better statement is smaller."""


class PolicyResolver(Generic[V]):
    """Resolves by one of the named policies.

    Raises:
        SpecError: `prefer` without an order of agents, or an order with another policy.
    """

    def __init__(self, policy: ConflictPolicy, *, order: Sequence[str] = ()) -> None:
        if bool(order) != (policy is ConflictPolicy.PREFER):
            raise SpecError(
                f"The conflict policy {policy} has the order of agents {list(order)!r}.",
                advice="`prefer` needs an order, no other policy has one.",
            )
        self.policy: Final = policy
        self.order: Final = tuple(order)
        self._criteria: Final = _criteria(policy, self.order)

    def resolve(self, claims: Sequence[Claim[V]]) -> Resolution[V]:
        """What stands, by the policy; ties go to the next criterion, at last to the text."""
        assert claims, "there is nothing to resolve"
        ranked = sorted(_statements(claims), key=self._rank)
        winner = ranked[0]
        keep_all = self.policy is ConflictPolicy.KEEP_ALL
        losers = () if keep_all else ranked[1:]
        return Resolution(
            place=winner.spokesman.place,
            winner=winner.spokesman,
            kept=tuple(s.spokesman for s in (ranked if keep_all else ranked[:1])),
            policy=self.policy,
            decided_by=self._difference(winner, ranked[1]) if len(ranked) > 1 else "unanimous",
            agreed=winner.agents,
            lost=tuple(sorted({agent for loser in losers for agent in loser.agents})),
        )

    def _rank(self, statement: _Statement[V]) -> tuple[Any, ...]:  # criteria differ in type
        return tuple(measure(statement) for _, measure in self._criteria)

    def _difference(self, winner: _Statement[V], second: _Statement[V]) -> str:
        return next(name for name, measure in self._criteria if measure(winner) != measure(second))


def make_resolver(policy: str, *, order: Sequence[str] = ()) -> PolicyResolver[Any]:
    """A resolver by the name of its policy, as a configuration or a request has it.

    Raises:
        SpecError: there is no such policy, or it does not go with `order`.
    """
    try:
        found = ConflictPolicy(policy)
    except ValueError:
        raise SpecError(
            f"There is no conflict policy {policy!r}.",
            advice="Choose one of " + ", ".join(ConflictPolicy) + ".",
        ) from None
    return PolicyResolver(found, order=order)


def _criteria(policy: ConflictPolicy, order: tuple[str, ...]) -> tuple[Criterion, ...]:
    votes: Criterion = ("votes", lambda statement: -len(statement.agents))
    confidence: Criterion = ("confidence", lambda statement: -statement.confidence)
    severity: Criterion = (
        "severity",
        lambda s: (s.severity is None, -s.severity if s.severity is not None else 0),
    )
    text: Criterion = ("text", lambda statement: (statement.text, statement.agents))
    places = {agent: place for place, agent in reversed(list(enumerate(order)))}
    preference: Criterion = (
        "preference",
        lambda statement: min(places.get(agent, len(order)) for agent in statement.agents),
    )
    match policy:
        case ConflictPolicy.HIGHEST_CONFIDENCE | ConflictPolicy.KEEP_ALL:
            return (confidence, votes, severity, text)
        case ConflictPolicy.MAJORITY:
            return (votes, confidence, severity, text)
        case ConflictPolicy.MOST_SEVERE:
            return (severity, confidence, votes, text)
        case ConflictPolicy.PREFER:
            return (preference, confidence, votes, severity, text)
        case unknown:
            assert_never(unknown)


def _statements(claims: Iterable[Claim[V]]) -> list[_Statement[V]]:
    agreeing: defaultdict[Hashable, list[Claim[V]]] = defaultdict(list)
    for claim in claims:
        agreeing[_identity(claim.value)].append(claim)
    return [
        _Statement(
            claims=tuple(same),
            agents=tuple(sorted({claim.by for claim in same})),
            confidence=max(claim.confidence for claim in same),
            severity=max((c.severity for c in same if c.severity is not None), default=None),
            text=min(repr(claim.value) for claim in same),
        )
        for same in agreeing.values()
    ]


def _identity(value: object) -> Hashable:
    try:
        hash(value)
    except TypeError:  # lists, dicts, a tuple that holds one: their text tells them apart
        return (type(value), repr(value))
    return value


def _order(claim: Claim[V]) -> tuple[str, float, int, str]:
    """A total order of claims that does not depend on how they arrived."""
    severity = -1 if claim.severity is None else claim.severity
    return (claim.by, -claim.confidence, -severity, repr(claim.value))


def _place_order(place: object) -> tuple[Any, ...]:  # numbers and texts, nested
    """A total order of places of mixed kinds: nothing, numbers, texts, tuples, others by text."""
    match place:
        case None:
            return (0,)
        case int() | float():
            return (1, place)
        case str():
            return (2, place)
        case tuple():
            return (3, tuple(_place_order(part) for part in place))
        case _:
            return (4, repr(place))


Claims = dict[Hashable, list[Claim[V]]]


class ResolveClaims(Reducer[Iterable[Claim[V]], Claims[V], "list[Resolution[V]]"]):
    """Collects claims and settles each place by a resolver; results are sorted by place."""

    def __init__(self, resolver: Resolver[V]) -> None:
        self.resolver: Final = resolver

    def initial(self) -> Claims[V]:
        """No claims."""
        return {}

    def add(self, accumulator: Claims[V], value: Iterable[Claim[V]], key: int) -> Claims[V]:
        """File every claim under its place."""
        for claim in value:
            accumulator.setdefault(claim.place, []).append(claim)
        return accumulator

    def finish(self, accumulator: Claims[V]) -> list[Resolution[V]]:
        """Settle every place."""
        places = sorted(accumulator, key=_place_order)
        return [self.resolver.resolve(accumulator[place]) for place in places]
