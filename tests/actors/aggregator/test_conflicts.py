"""Conflict resolution: each policy decides by its own criterion, in any order of claims."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.aggregator.conflicts import (
    Claim,
    ConflictPolicy,
    PolicyResolver,
    ResolveClaims,
    make_resolver,
)
from callboard.actors.aggregator.reducers import reduce_all
from callboard.messages.core.errors import SpecError

# Each policy picks a different claim.
CLAIMS = [
    Claim("f:1", "sure", by="anna", confidence=0.9, severity=1),
    Claim("f:1", "popular", by="bert", confidence=0.5, severity=2),
    Claim("f:1", "popular", by="carl", confidence=0.6, severity=1),
    Claim("f:1", "grave", by="dora", confidence=0.1, severity=9),
    Claim("f:1", "liked", by="emil", confidence=0.2),
]


def orders(policy: ConflictPolicy) -> tuple[str, ...]:
    return ("emil", "anna") if policy is ConflictPolicy.PREFER else ()


@pytest.mark.parametrize(
    ("policy", "value", "decided_by"),
    [
        ("highest_confidence", "sure", "confidence"),
        ("majority", "popular", "votes"),
        ("most_severe", "grave", "severity"),
        ("prefer", "liked", "preference"),
        ("keep_all", "sure", "confidence"),
    ],
)
def test_policy_decides_by_its_criterion(policy: str, value: str, decided_by: str) -> None:
    resolution = make_resolver(policy, order=orders(ConflictPolicy(policy))).resolve(CLAIMS)
    assert (resolution.winner.value, resolution.decided_by) == (value, decided_by)
    assert resolution.policy == policy


def test_winners_and_losers_are_named() -> None:
    resolution = make_resolver("majority").resolve(CLAIMS)
    assert resolution.agreed == ("bert", "carl")
    assert resolution.lost == ("anna", "dora", "emil")
    assert resolution.winner.by == "carl"


def test_keep_all_keeps_all_and_nobody_loses() -> None:
    resolution = make_resolver("keep_all").resolve(CLAIMS)
    assert [claim.value for claim in resolution.kept] == ["sure", "popular", "liked", "grave"]
    assert resolution.lost == ()


def test_unanimous_when_all_agree() -> None:
    resolution = make_resolver("majority").resolve([CLAIMS[1], CLAIMS[2]])
    assert (resolution.decided_by, resolution.lost) == ("unanimous", ())


def test_agent_that_repeats_itself_votes_once() -> None:
    loud = [Claim("p", "loud", by="anna", confidence=0.1) for _ in range(3)]
    two = [Claim("p", "two", by=name, confidence=0.1) for name in ("bert", "carl")]
    assert make_resolver("majority").resolve([*loud, *two]).winner.value == "two"


def test_equal_in_everything_is_decided_by_text() -> None:
    resolution = make_resolver("majority").resolve([Claim("p", "b", by="x"), Claim("p", "a", "y")])
    assert (resolution.winner.value, resolution.decided_by) == ("a", "text")


def test_unhashable_values_agree_by_text() -> None:
    claims: list[Claim[Any]]
    claims = [Claim("p", [1], by="a"), Claim("p", [1], by="b"), Claim("p", ([2],), by="c")]
    assert make_resolver("majority").resolve(claims).agreed == ("a", "b")


def test_values_unequal_to_themselves_do_not_break_the_tie() -> None:
    claims = [Claim("p", float("nan"), by="a"), Claim("p", float("nan"), by="b")]
    assert make_resolver("majority").resolve(claims).winner.by == "a"


def test_unknown_policy_is_refused_with_the_choices() -> None:
    with pytest.raises(SpecError, match="highest_confidence"):
        make_resolver("loudest")


@pytest.mark.parametrize(("policy", "order"), [("prefer", ()), ("majority", ("anna",))])
def test_order_goes_with_prefer_only(policy: str, order: Sequence[str]) -> None:
    with pytest.raises(SpecError, match="order"):
        make_resolver(policy, order=order)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(SpecError, match="confidence"):
        Claim("p", 1, by="anna", confidence=confidence)


def test_a_place_is_read_back_without_a_cast() -> None:
    """Checked by mypy: a place of the type `Hashable` could not be taken apart."""
    path, line = Claim(("a.py", 3), 1, by="anna").place
    assert f"{path}:{line + 1}" == "a.py:4"


claims = st.builds(
    Claim[Any],
    place=st.sampled_from(["p", ("q", 2), ("q", 10), None]),
    value=st.sampled_from(["a", "b", 1, True, 1.0, [1], None]),
    by=st.sampled_from(["anna", "bert", "carl"]),
    confidence=st.sampled_from([0.1, 0.5, 0.9]),
    severity=st.sampled_from([None, 1, 2]),
)


@pytest.mark.parametrize("policy", ConflictPolicy)
@given(data=st.data())
def test_any_order_and_any_portions_give_the_same(
    policy: ConflictPolicy, data: st.DataObject
) -> None:
    made = data.draw(st.lists(claims, max_size=8))
    reducer = ResolveClaims(PolicyResolver[Any](policy, order=orders(policy)))
    expected = reduce_all(reducer, [(0, made)])
    shuffled = list(data.draw(st.permutations(made)))
    cut = data.draw(st.integers(0, len(made)))
    found = reduce_all(reducer, [(1, shuffled[cut:]), (0, shuffled[:cut])])
    assert repr(found) == repr(expected)


def test_places_are_sorted_by_number_not_by_text() -> None:
    made = [Claim(("f", line), "x", by="a") for line in (10, 9, 2)]
    resolved = reduce_all(ResolveClaims(make_resolver("majority")), [(0, made)])
    assert [resolution.place for resolution in resolved] == [("f", 2), ("f", 9), ("f", 10)]


def test_a_place_must_be_hashable() -> None:
    with pytest.raises(SpecError, match=r"anna is about a place of type list.*tuple"):
        Claim(["f", 1], "wrong", by="anna")
