"""Shares of keys: dealt out evenly, with as few moves as possible, and written as text."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.control.routing import Routing, RoutingKind, deal, keyed_by
from tests.thoroughness import examples


@settings(max_examples=examples(400))
@given(st.data())
def test_places_differ_by_one_share_at_most_and_as_few_as_possible_move(
    data: st.DataObject,
) -> None:
    places = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=8, unique=True))
    owners = data.draw(st.lists(st.none() | st.integers(0, 9), max_size=40))
    dealt = deal(owners, places)
    counts = Counter(dict.fromkeys(places, 0))
    counts.update(dealt)
    assert set(counts) == set(places)
    assert max(counts.values()) - min(counts.values()) <= 1
    least, more = divmod(len(owners), len(places))
    had = sorted((owners.count(place) for place in places), reverse=True)
    stay = sum(min(count, least + (number < more)) for number, count in enumerate(had))
    assert sum(owner == new for owner, new in zip(owners, dealt, strict=True)) == stay
    assert deal(dealt, places) == dealt


@settings(max_examples=examples(200))
@given(st.integers(1, 6), st.lists(st.integers(0, 5), max_size=12), st.booleans())
def test_a_routing_is_read_as_it_was_written(
    places: int, owners: list[int], has_before: bool
) -> None:
    owners = [owner % places for owner in owners]
    routing = Routing(
        RoutingKind.KEYED,
        "shard",
        tuple((1 + place, 7 * place) for place in range(places)),
        tuple(owners),
        tuple(reversed(owners)) if has_before else (),
    )
    assert Routing.from_text(routing.to_text()) == routing


def test_shares_without_places_wait_for_the_root() -> None:
    assert Routing.from_text(keyed_by("shard", 4).to_text()).owners == (0, 0, 0, 0)
    assert keyed_by("shard").to_text() == "keyed:shard"
