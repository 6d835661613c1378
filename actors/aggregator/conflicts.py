"""Conflict resolution: it chooses a statement when agents disagree about the same place.

Agents make claims. Claims about one place that agree form one statement of several agents. A
resolver chooses among the statements by a named policy, and reports the deciding criterion, the
agents that agreed and those that lost. Policies are data (`ConflictPolicy`), so a request or a
configuration can name one.

The outcome depends on the set of claims only, never on the order of their arrival. The
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
    """The claim of one agent about one place.

    `place` identifies it (a path, a tuple of path and line, ...): any hashable value, and a reader
    knows of which type. A higher `severity` is worse; `None` means unknown and ranks below all
    others.

    Raises:
        SpecError: the confidence is not within 0 and 1, or the place cannot be hashed.
    """

    place: Any
    """What the claim is about, a hashable value: equal places are the same thing. Of any type, so
    that a program reads its own tuples and texts back without a cast."""
    value: V
    """What the agent claims there."""
    by: str
    """The name of the agent."""
    confidence: float = 1.0
    """How sure the agent is, from 0 to 1."""
    severity: int | None = None
    """How bad it is, in any scale; None when the agent does not say."""

    def __post_init__(self) -> None:
        low, high = CONFIDENCE_RANGE
        if not low <= self.confidence <= high:
            raise SpecError(
                f"a claim of {self.by} has the confidence {self.confidence}.",
                advice="Give a confidence between 0 and 1.",
            )
        try:
            hash(self.place)
        except TypeError as error:
            raise SpecError(
                f"a claim of {self.by} is about a place of type {type(self.place).__qualname__}: "
                f"{error}.",
                advice="Give a hashable place, such as a tuple in place of a list.",
            ) from error


class ConflictPolicy(StrEnum):
    """The rule that chooses the winning statement."""

    HIGHEST_CONFIDENCE = auto()
    MAJORITY = auto()
    """The statement of the most agents; repeated claims of an agent count once."""
    MOST_SEVERE = auto()
    PREFER = auto()
    """The statement of the agent that comes first in a given order; unlisted agents come last."""
    KEEP_ALL = auto()
    """All statements stay, the most confident first."""


@dataclass(frozen=True)
class Resolution(Generic[V]):
    """The winning claim at one place, and the reason.

    `decided_by` is `unanimous` when there was one statement, otherwise the criterion that
    set the winner apart: `votes`, `confidence`, `severity`, `preference` or `text`; for
    `keep_all` it is what put the winner first.
    """

    place: Any
    """The place of the claims."""
    winner: Claim[V]
    """The claim that counts."""
    kept: tuple[Claim[V], ...]
    """The claims that remain: the winner, or all with `keep_all`."""
    policy: ConflictPolicy
    """The policy that decided."""
    decided_by: str
    """The criterion that set the winner apart."""
    agreed: tuple[str, ...]
    """The agents behind the winner, by name."""
    lost: tuple[str, ...]
    """The agents of the other statements, by name; an agent may be in both."""


class Resolver(Protocol[V]):
    """Settles the claims about one place, in any order."""

    def resolve(self, claims: Sequence[Claim[V]]) -> Resolution[V]:
        """Choose the winner; `claims` is not empty, and all are about the same place."""


@dataclass(frozen=True)
class _Statement(Generic[V]):
    """The claims about one place that agree."""

    claims: tuple[Claim[V], ...]
    agents: tuple[str, ...]
    confidence: float
    severity: int | None
    text: str

    @property
    def representative(self) -> Claim[V]:
        """The claim that represents all: the most confident, then by name."""
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
                f"The conflict policy {policy} got the order of agents {list(order)!r}.",
                advice="Give an order with `prefer`, and with no other policy.",
            )
        self.policy: Final = policy
        self.order: Final = tuple(order)
        self._criteria: Final = _criteria(policy, self.order)

    def resolve(self, claims: Sequence[Claim[V]]) -> Resolution[V]:
        """Choose by the policy; the next criterion breaks a tie, the text comes last."""
        assert claims, "there is nothing to resolve"
        ranked = sorted(_statements(claims), key=self._rank)
        winner = ranked[0]
        keep_all = self.policy is ConflictPolicy.KEEP_ALL
        losers = () if keep_all else ranked[1:]
        return Resolution(
            place=winner.representative.place,
            winner=winner.representative,
            kept=tuple(s.representative for s in (ranked if keep_all else ranked[:1])),
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
    """Make a resolver from the name of its policy, for instance from a configuration.

    Raises:
        SpecError: there is no such policy, or it does not match `order`.
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
    except TypeError:  # lists, dicts, a tuple of them: their text identifies them
        return (type(value), repr(value))
    return value


def _order(claim: Claim[V]) -> tuple[str, float, int, str]:
    """A total order of claims, independent of their arrival."""
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
