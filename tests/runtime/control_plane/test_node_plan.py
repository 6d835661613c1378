"""The node plan: where the next process goes, and which hosts should be elsewhere."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import settings as thoroughness
from hypothesis import strategies as st

from callboard.messages.control.hosts import AutoHosts
from callboard.messages.control.nodes import NO_DEADLINE, Node
from callboard.messages.core.errors import SpecError
from callboard.runtime.control_plane.node_plan import (
    SETTLE_S,
    SHRINK_S,
    SUSPECT_S,
    Add,
    HostPlace,
    Move,
    NodeBook,
    Place,
    Remove,
    choose_node,
    choose_standby,
    steps,
)
from tests.thoroughness import examples


def spread(places: list[Place], count: int, *, is_standby: bool = False) -> Counter[str]:
    """The nodes of the next `count` processes."""
    found: Counter[str] = Counter()
    for _ in range(count):
        node = choose_node(places, is_standby=is_standby)
        assert node is not None
        found[node.id] += 1
        places = [
            replace(
                place,
                hosts=place.hosts + (place.node.id == node.id and not is_standby),
                standbys=place.standbys + (place.node.id == node.id and is_standby),
            )
            for place in places
        ]
    return found


def nodes(**cpus: float) -> list[Place]:
    return [Place(Node(name, cpus=amount)) for name, amount in cpus.items()]


# --- one process -------------------------------------------------------------------------------


def test_hosts_follow_the_cpus_of_nodes() -> None:
    assert spread(nodes(big=64, small=2), 66) == {"big": 64, "small": 2}
    assert spread(nodes(big=64, small=2), 33) == {"big": 32, "small": 1}


def test_a_node_without_cpus_gets_no_process() -> None:
    assert spread(nodes(head=0, a=1, b=1), 6) == {"a": 3, "b": 3}
    assert spread(nodes(head=0, a=1), 3, is_standby=True) == {"a": 3}
    assert choose_node(nodes(head=0)) is None
    assert choose_node([]) is None


def test_more_hosts_than_cpus_are_spread_as_well() -> None:
    assert spread(nodes(only=2), 5) == {"only": 5}
    assert spread(nodes(a=2, b=4), 12) == {"a": 4, "b": 8}


def test_a_node_that_just_lost_its_hosts_comes_last() -> None:
    lost, other = Place(Node("a", cpus=64), is_suspect=True), Place(Node("b", cpus=1), hosts=9)
    assert choose_node([lost, other]) == other.node
    assert choose_node([lost]) == lost.node


@pytest.mark.parametrize(
    "place",
    [
        Place(Node("a", is_alive=False)),
        Place(Node("a", drains_in_s=30.0)),
        Place(Node("a", drains_in_s=NO_DEADLINE)),
        Place(Node("a"), is_released=True),
    ],
)
def test_a_node_that_goes_takes_nothing(place: Place) -> None:
    assert choose_node([place]) is None
    assert choose_node([place], is_standby=True) is None


def test_standbys_are_spread_over_nodes_before_any_has_two() -> None:
    places = [Place(Node("a", cpus=64)), Place(Node("b", cpus=2), hosts=2), Place(Node("c"))]
    assert spread(places, 3, is_standby=True) == {"a": 1, "b": 1, "c": 1}


def test_a_standby_on_a_node_in_doubt_is_the_last_choice() -> None:
    places = [
        Place(Node("lost"), is_suspect=True),
        Place(Node("good")),
        Place(Node("going", drains_in_s=9.0)),
    ]
    spares = [("lost", True), ("going", True), ("gone", True), ("good", False)]
    assert choose_standby(places, spares) == (3, True)
    assert choose_standby(places, spares[:3]) == (0, False)
    assert choose_standby(places[:1], spares[:1]) == (0, True)
    assert choose_standby(places, []) is None
    assert choose_standby([], [("", True)]) == (0, True)
    assert choose_standby(places, [("", True)]) == (0, True)


def test_a_standby_that_is_warm_comes_first_then_the_one_with_the_least_load() -> None:
    places = [Place(Node("a", cpus=2), hosts=2), Place(Node("b", cpus=2), hosts=1)]
    assert choose_standby(places, [("b", False), ("a", True)]) == (1, True)
    assert choose_standby(places, [("a", True), ("b", True), ("b", True)]) == (1, True)


# --- all hosts -----------------------------------------------------------------------------------


def test_without_limits_hosts_only_leave_draining_nodes() -> None:
    places = [
        Place(Node("a", cpus=2), hosts=2),
        Place(Node("b", cpus=2, drains_in_s=20.0), hosts=1),
        *nodes(c=64),
    ]
    hosts = [HostPlace(1, "a"), HostPlace(2, "a"), HostPlace(3, "b", is_empty=True)]
    assert steps(places, hosts) == [Move(3, "c", 20.0)]


def test_hosts_stay_on_a_draining_node_while_there_is_no_other() -> None:
    places = [Place(Node("a", drains_in_s=20.0), hosts=2), *nodes(head=0)]
    assert steps(places, [HostPlace(1, "a")]) == []
    # Ray finds the place of hosts with resources of their own.
    assert steps(places, [HostPlace(1, "a", is_fixed=True)]) == [Move(1, "", 20.0)]


def test_a_new_node_gets_hosts_once_it_has_settled() -> None:
    old, new = Place(Node("a", cpus=2), hosts=2), Place(Node("b", cpus=2), is_new=True)
    hosts = [HostPlace(1, "a"), HostPlace(2, "a")]
    assert steps([old, new], hosts, AutoHosts()) == []
    assert steps([old, replace(new, is_new=False)], hosts, AutoHosts()) == [Add("b"), Add("b")]
    assert steps([old, replace(new, is_new=False)], hosts, AutoHosts(at_most=2)) == [Move(2, "b")]


def test_empty_hosts_of_a_draining_node_end_and_the_others_move() -> None:
    places = [Place(Node("a", cpus=2), hosts=2), Place(Node("b", cpus=2, drains_in_s=5.0), hosts=2)]
    hosts = [
        HostPlace(1, "a", is_empty=True),
        HostPlace(2, "a"),
        HostPlace(3, "b", is_empty=True),
        HostPlace(4, "b"),
    ]
    assert steps(places, hosts, AutoHosts()) == [Remove(3), Move(4, "a", 5.0)]
    assert steps(places, hosts, AutoHosts(at_least=4)) == [
        Move(3, "a", 5.0),
        Move(4, "a", 5.0),
    ]


def test_too_many_hosts_end_when_they_are_empty_and_it_has_lasted() -> None:
    places = [Place(Node("a", cpus=1), hosts=3)]
    hosts = [HostPlace(1, "a"), HostPlace(2, "a"), HostPlace(3, "a", is_empty=True)]
    assert steps(places, hosts, AutoHosts()) == []
    assert steps(places, hosts, AutoHosts(), may_shrink=True) == [Remove(3)]
    assert steps(places, hosts[:2], AutoHosts(), may_shrink=True) == []


@dataclass
class Cluster:
    """Carries steps out, one round after the other."""

    places: dict[str, Place]
    hosts: dict[int, HostPlace]
    limits: AutoHosts | None

    def current(self) -> list[Place]:
        there = Counter(host.node for host in self.hosts.values())
        return [replace(place, hosts=there[name]) for name, place in self.places.items()]

    def perform(self, step: Add | Move | Remove) -> None:
        current = self.current()
        if isinstance(step, Remove):
            assert self.hosts.pop(step.slot).is_empty
            return
        if isinstance(step, Add):
            slot, node = max(self.hosts, default=0) + 1, step.node
            self.hosts[slot] = HostPlace(slot, node, is_empty=True)
        else:
            slot = step.slot
            best = choose_node(current)
            if self.hosts[slot].is_fixed and best is None:
                return
            assert best is not None
            node = step.node or best.id
            self.hosts[slot] = replace(self.hosts[slot], node=node)
        assert self.places[node].takes_hosts

    def settle(self) -> None:
        rounds = 0
        while found := [
            step
            for step in steps(
                self.current(), list(self.hosts.values()), self.limits, may_shrink=True
            )
            if not (isinstance(step, Move) and self.hosts[step.slot].is_fixed)
        ]:
            for step in found:
                self.perform(step)
            rounds += 1
            assert rounds < 200, "the plan is never reached"


PLACES = st.builds(
    lambda cpus, drains, *doubts: (cpus, drains, doubts),
    st.sampled_from([0, 0.5, 1, 2, 3, 8]),
    st.sampled_from([None, None, None, 10.0]),
    st.booleans(),
    st.booleans(),
)


@given(
    drawn=st.lists(PLACES, min_size=1, max_size=5),
    empty=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=14),
    limits=st.none()
    | st.builds(
        lambda low, more: AutoHosts(at_least=low, at_most=low + more),
        st.integers(1, 6),
        st.integers(0, 12),
    ),
)
@thoroughness(max_examples=examples(1_000))
def test_steps_lead_to_a_plan_that_asks_for_nothing_more(
    drawn: list[tuple[float, float | None, tuple[bool, bool]]],
    empty: list[tuple[int, bool]],
    limits: AutoHosts | None,
) -> None:
    places = {
        f"n{i}": Place(
            Node(f"n{i}", cpus=cpus, drains_in_s=drains), is_suspect=doubts[0], is_new=doubts[1]
        )
        for i, (cpus, drains, doubts) in enumerate(drawn)
    }
    hosts = {
        slot: HostPlace(slot, f"n{number % len(drawn)}", is_empty=is_empty)
        for slot, (number, is_empty) in enumerate(empty, 1)
    }
    with_actors = {slot for slot, host in hosts.items() if not host.is_empty}
    cluster = Cluster(places, hosts, limits)
    cluster.settle()
    assert with_actors <= cluster.hosts.keys()
    if any(place.takes_hosts for place in places.values()):
        for host in cluster.hosts.values():
            assert not places[host.node].node.is_draining
    if limits is None:
        assert len(cluster.hosts) == len(empty)
    elif with_actors:
        assert len(cluster.hosts) <= max(limits.at_most, len(with_actors))


@given(
    cpus=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    start=st.lists(st.integers(0, 4), min_size=1, max_size=12),
)
@thoroughness(max_examples=examples(400))
def test_hosts_that_follow_end_as_many_as_the_cpus_of_each_node(
    cpus: list[int], start: list[int]
) -> None:
    places = {f"n{i}": Place(Node(f"n{i}", cpus=amount)) for i, amount in enumerate(cpus)}
    hosts = {
        slot: HostPlace(slot, f"n{number % len(cpus)}", is_empty=slot > sum(cpus))
        for slot, number in enumerate(start, 1)
    }
    cluster = Cluster(places, hosts, AutoHosts())
    cluster.settle()
    there = Counter(host.node for host in cluster.hosts.values())
    assert there == {f"n{i}": amount for i, amount in enumerate(cpus)}


# --- the memory ----------------------------------------------------------------------------------


def places_of(book: NodeBook, now: float) -> dict[str, Place]:
    return {place.node.id: place for place in book.places(Counter(), Counter(), now)}


def test_a_node_is_suspect_until_something_there_answers_or_the_time_is_over() -> None:
    book = NodeBook()
    book.seen([Node("a"), Node("b")], 0.0)
    book.suspect("a", 10.0)
    book.suspect("b", 10.0)
    book.suspect("unknown", 10.0)
    book.answered("b")
    assert places_of(book, 10.0)["a"].is_suspect
    assert not places_of(book, 10.0)["b"].is_suspect
    assert places_of(book, 9.9 + SUSPECT_S)["a"].is_suspect
    assert not places_of(book, 10.0 + SUSPECT_S)["a"].is_suspect


def test_a_node_of_a_later_report_is_new_and_one_that_is_gone_is_forgotten() -> None:
    book = NodeBook()
    book.seen([Node("a"), Node("dead", is_alive=False)], 0.0)
    assert not places_of(book, 0.0)["a"].is_new
    book.seen([Node("a"), Node("b")], 10.0)
    book.suspect("b", 10.0)
    assert places_of(book, 10.0)["b"].is_new
    assert not places_of(book, 10.0 + SETTLE_S)["b"].is_new
    book.seen([Node("a")], 20.0)
    assert set(places_of(book, 20.0)) == {"a"}
    book.seen([Node("a"), Node("b")], 21.0)
    assert places_of(book, 21.0)["b"].is_new
    assert not places_of(book, 21.0)["b"].is_suspect


def test_too_many_hosts_must_be_too_many_for_a_while() -> None:
    book = NodeBook()
    assert not book.may_shrink(3, 2, 0.0)
    assert not book.may_shrink(3, 2, SHRINK_S - 0.1)
    assert book.may_shrink(3, 2, SHRINK_S)
    assert not book.may_shrink(2, 2, SHRINK_S)
    assert not book.may_shrink(3, 2, 2 * SHRINK_S)


def released(book: NodeBook, now: float) -> set[str]:
    return {name for name, place in places_of(book, now).items() if place.is_released}


def test_idle_nodes_are_given_back_but_one() -> None:
    book, limits = NodeBook(), AutoHosts(idle_s=60.0)
    book.seen([Node("a"), Node("b"), Node("c")], 0.0)
    hosts = [HostPlace(1, "a"), HostPlace(2, "b", is_empty=True), HostPlace(3, "c", is_empty=True)]
    book.release(hosts, limits, 0.0)
    book.release(hosts, limits, 59.0)
    assert released(book, 59.0) == set()
    book.release(hosts, limits, 60.0)
    assert released(book, 60.0) == {"b"}
    for now in (120.0, 600.0):  # The last one with room stays, and nothing flaps.
        book.release([hosts[0], hosts[2]], limits, now)
        assert released(book, now) == {"b"}
    book.release([hosts[0], HostPlace(3, "c")], limits, 700.0)
    assert released(book, 700.0) == set()


def test_a_node_whose_host_gets_an_actor_is_not_given_back() -> None:
    book, limits = NodeBook(), AutoHosts(idle_s=60.0)
    book.seen([Node("a"), Node("b")], 0.0)
    empty = [HostPlace(1, "a", is_empty=True), HostPlace(2, "b", is_empty=True)]
    book.release(empty, limits, 0.0)
    book.release([HostPlace(1, "a"), empty[1]], limits, 30.0)
    book.release(empty, limits, 61.0)
    assert released(book, 61.0) == {"b"}
    book.release([empty[0], HostPlace(2, "b")], limits, 61.5)
    assert released(book, 61.5) == set()


def test_the_fewest_hosts_stay_and_without_a_time_all_nodes_do() -> None:
    empty = [HostPlace(1, "a", is_empty=True), HostPlace(2, "b", is_empty=True)]
    for limits in (AutoHosts(at_least=2, idle_s=1.0), AutoHosts()):
        book = NodeBook()
        book.seen([Node("a"), Node("b")], 0.0)
        book.release(empty, limits, 0.0)
        book.release(empty, limits, 1_000.0)
        assert released(book, 1_000.0) == set()


def test_hosts_of_a_released_node_end() -> None:
    places = [Place(Node("a"), hosts=1), Place(Node("b"), hosts=1, is_released=True)]
    hosts = [HostPlace(1, "a", is_empty=True), HostPlace(2, "b", is_empty=True)]
    assert steps(places, hosts, AutoHosts()) == [Remove(2)]


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("at_least", {"at_least": 0}),
        ("at_least", {"at_least": True}),
        ("at_most", {"at_most": 4_097}),
        ("at_least", {"at_least": 3, "at_most": 2}),
        ("idle_s", {"idle_s": 0}),
        ("idle_s", {"idle_s": float("nan")}),
        ("idle_s", {"idle_s": float("inf")}),
        ("idle_s", {"idle_s": True}),
        ("idle_s", {"idle_s": "soon"}),
    ],
)
def test_limits_out_of_range_are_refused_by_name(field: str, options: dict[str, object]) -> None:
    with pytest.raises(SpecError) as caught:
        AutoHosts(**options)  # type: ignore[arg-type]
    assert caught.value.details["field"] == f"AutoHosts.{field}"
