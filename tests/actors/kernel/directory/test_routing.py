"""Routing: in turn, to the least loaded offer, and by key."""

from collections import Counter
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.kernel.directory.routing import ConsistentHash, LeastLoaded, Load, RoundRobin
from callboard.messages.control.routing import Routing, RoutingKind, consistent_hash
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import InvalidMessage, SpecError
from callboard.messages.core.ref import Address


class Job(Contract, name="tests.routing.job"):
    user: Any = None


def places(count: int) -> list[Address]:
    return [Address(number, 7) for number in range(1, count + 1)]


def loads(count: int, size: int = 1) -> list[Load]:
    return [Load(address, size, cast("Any", None)) for address in places(count)]


@pytest.mark.parametrize("text", ["", "random", "consistent_hash", "round_robin:x"])
def test_wrong_routing_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        Routing.from_text(text)


@pytest.mark.parametrize("field", ["", "a b", "1"])
def test_wrong_field_is_refused(field: str) -> None:
    with pytest.raises(SpecError):
        consistent_hash(field)


@pytest.mark.parametrize("key", [None, 1.5, (1, 2)])
def test_a_wrong_key_is_an_error_of_the_message(key: Any) -> None:
    with pytest.raises(InvalidMessage, match="user"):
        ConsistentHash(places(2), "user").choose(Job(user=key))


@pytest.mark.parametrize(
    "routing", [Routing.ROUND_ROBIN, Routing.LEAST_LOADED, consistent_hash("user")]
)
def test_routing_travels_as_text(routing: Routing) -> None:
    assert Routing.from_text(routing.to_text()) == routing
    assert routing.kind in RoutingKind


def test_round_robin_takes_each_in_turn() -> None:
    router = RoundRobin(places(3))
    assert Counter(router.choose(Job()) for _ in range(9)) == dict.fromkeys(places(3), 3)


def test_least_loaded_takes_idle_ones_in_turn() -> None:
    router = LeastLoaded(loads(3))
    assert Counter(router.choose(Job()).address for _ in range(9)) == dict.fromkeys(places(3), 3)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_least_loaded_takes_the_offer_with_the_most_room(count: int) -> None:
    rows = loads(count)
    for row in rows:
        row.outstanding = 5
    rows[1].outstanding = 4
    router = LeastLoaded(rows)
    assert {router.choose(Job()) for _ in range(2 * count)} == {rows[1]}


def test_load_is_measured_by_size() -> None:
    small, large = loads(1)[0], Load(Address(9, 1), 10, cast("Any", None))
    small.outstanding, large.outstanding = 1, 9
    router = LeastLoaded([small, large])
    assert {router.choose(Job()) for _ in range(4)} == {large}


def test_two_draws_of_many_stay_even() -> None:
    rows = loads(50)
    router = LeastLoaded(rows)
    for _ in range(5_000):
        router.choose(Job()).outstanding += 1
    assert max(row.outstanding for row in rows) <= 110


def test_consistent_hash_is_the_same_in_every_process() -> None:
    router = ConsistentHash(places(4), "user")
    assert [router.owner(f"user-{n}").slot for n in range(12)] == PINNED


PINNED = [4, 2, 2, 3, 3, 3, 1, 4, 2, 2, 2, 2]


@given(count=st.integers(2, 12), gone=st.integers(0, 11))
def test_one_address_less_moves_its_own_keys_only_and_its_share(count: int, gone: int) -> None:
    addresses = places(count)
    left = addresses.pop(gone % count)
    before, after = ConsistentHash(places(count), "user"), ConsistentHash(addresses, "user")
    keys = [f"user-{number}" for number in range(600)]
    owners = {key: before.owner(key) for key in keys}
    moved = [key for key in keys if after.owner(key) != owners[key]]
    assert all(owners[key] == left for key in moved)
    assert len(moved) <= 2.0 * len(keys) / count
