"""The directory: a host's copy of all names and offers."""

from collections import Counter
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.kernel.directory.registry import Directory
from callboard.messages.control.control_plane import DirectoryPatched
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, describe_contract
from callboard.messages.core.errors import NoAgentOffers
from callboard.messages.core.ref import Address


class Job(Contract, name="tests.registry.job"):
    pass


A, B, C = Address(1, 1), Address(2, 1), Address(2, 2)


def directory() -> Directory:
    made = Directory(cast("Any", None), lambda: None)
    made.replace(3, {"one": A}, {Job.contract_name: [A, B, C]}, {A: 4})
    return made


def test_names_and_offers_are_found() -> None:
    assert directory().find("one") == A
    assert directory().find("two") is None
    assert list(directory().offers(Job.contract_name)) == [A, B, C]
    assert list(directory().offers("other")) == []


def test_size_of_an_offer_is_one_unless_it_is_given() -> None:
    assert (directory().size_of(A), directory().size_of(B)) == (4, 1)


def test_older_or_equal_copy_never_replaces_a_newer_one() -> None:
    made = directory()
    for version in (1, 3):
        made.replace(version, {}, {}, {})
        assert (made.version, made.find("one")) == (3, A)


def test_newer_copy_replaces_all_of_the_older_one() -> None:
    made = directory()
    made.replace(4, {"two": B}, {}, {})
    assert (made.find("one"), made.find("two"), list(made.offers(Job.contract_name))) == (
        None,
        B,
        [],
    )


def test_copy_does_not_change_with_its_source() -> None:
    names = {"one": A}
    made = Directory(cast("Any", None), lambda: None)
    made.replace(1, names, {}, {})
    names.clear()
    assert made.find("one") == A


def test_route_takes_every_offer_in_turn() -> None:
    made = directory()
    taken = Counter(made.route(Job()) for _ in range(9))
    assert taken == {A: 3, B: 3, C: 3}


def test_route_without_an_offer_is_an_error_that_never_ran() -> None:
    for made in (Directory(cast("Any", None), lambda: None), directory()):
        made.replace(4, {}, {Job.contract_name: []}, {})
        error = made.route(Job())
        assert isinstance(error, NoAgentOffers)
        assert error.may_have_run is False
        assert "tests.registry.job" in str(error)


# --- changes ------------------------------------------------------------------------------------

ADDRESSES = [Address(slot, cell) for slot in (1, 2) for cell in (1, 2, 3)]
Content = tuple[
    dict[str, Address], dict[str, tuple[Address, ...]], dict[Address, int], dict[str, str],
    tuple[int, ...],
]  # fmt: skip
NAMES = st.sampled_from(["a", "b", "c"])
CONTENTS: st.SearchStrategy[Content] = st.tuples(
    st.dictionaries(NAMES, st.sampled_from(ADDRESSES)),
    st.dictionaries(
        NAMES,
        # Also an address that is there twice, and other orders.
        st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=5).map(tuple),
    ),
    st.dictionaries(st.sampled_from(ADDRESSES), st.integers(1, 9)),
    st.dictionaries(NAMES, st.sampled_from(["round_robin", "least_loaded"])),
    st.lists(st.integers(1, 5), unique=True).map(tuple),
)


def holding(content: Content) -> Directory:
    made = Directory(cast("Any", None), lambda: None)
    names, offers, sizes, routings, hosts = content
    made.replace(1, names, offers, sizes, hosts, routings)
    return made


def content_of(made: Directory) -> Content:
    offers = {name: tuple(places) for name, places in made._offers.items()}
    return dict(made._names), offers, dict(made._sizes), dict(made._routings), tuple(made.hosts)


def change_to(made: Directory, version: int, after: Content) -> DirectoryPatched:
    """The change, with all entries named as perhaps changed, as it travels."""
    names, offers, sizes, routings, hosts = after
    change = made.changes_to(
        version,
        {name: names.get(name) for name in "abc"},
        {name: offers.get(name, ()) for name in "abc"},
        {where: sizes.get(where, 0) for where in ADDRESSES},
        {name: routings.get(name) for name in "abc"},
        hosts,
        places={},
        places_gone=(),
        newest_slot=9,
    )
    codec = Codec(ContractRegistry())
    body, buffers = codec.encode(change)
    found = codec.decode(body, describe_contract(DirectoryPatched).build, buffers)
    assert isinstance(found, DirectoryPatched)
    return found


@given(CONTENTS, CONTENTS)
def test_a_change_makes_one_directory_the_other(before: Content, after: Content) -> None:
    root, host = holding(before), holding(before)
    change = change_to(root, 2, after)
    host.patch(change)
    assert content_of(host) == after
    assert host.version == 2


@given(CONTENTS, CONTENTS)
def test_routes_after_a_change_are_those_of_a_new_copy(before: Content, after: Content) -> None:
    name = Job.contract_name

    def offering(content: Content) -> Content:
        names, offers, sizes, routings, hosts = content
        return names, {name: offers["a"]} if "a" in offers else {}, sizes, routings, hosts

    changed, fresh = holding(offering(before)), holding(offering(after))
    changed.route(Job())  # Its router is of the old offers.
    _, offers, *_ = offering(after)
    change = changed.changes_to(
        2, {}, {name: offers.get(name, ())}, {}, {}, (), places={}, places_gone=(), newest_slot=9
    )
    changed.patch(change)
    routes = [[made.route(Job()) for _ in range(100)] for made in (changed, fresh)]
    if offers:
        # Not how often: the two may be at another place of their rounds.
        assert set(routes[0]) == set(routes[1]) == set(offers[name])
    else:
        assert all(isinstance(each, NoAgentOffers) for row in routes for each in row)


def test_a_change_names_only_what_has_changed() -> None:
    made = directory()
    change = made.changes_to(
        4, {}, {Job.contract_name: [A, C, Address(3, 1)]}, {A: 4, B: 0}, {}, (),
        places={}, places_gone=(), newest_slot=3,
    )  # fmt: skip
    assert change.withdrawn == {Job.contract_name: ((2, 1),)}
    assert change.offered == {Job.contract_name: ((3, 1),)}
    assert (change.sizes, change.sizes_gone) == ({"1/1": 4}, ("2/1",))
    assert (change.names, change.hosts, change.hosts_gone) == ({}, (), ())


def test_a_change_of_a_size_reaches_the_loads_that_routing_compares() -> None:
    made = Directory(cast("Any", None), lambda: None)
    made.replace(
        1, {}, {Job.contract_name: [A, B]}, {A: 1, B: 1}, (), {Job.contract_name: "least_loaded"}
    )
    load = next(one for one in (made.route(Job()) for _ in range(2)) if one.address == A)
    change = made.changes_to(2, {}, {}, {A: 4}, {}, (), places={}, places_gone=(), newest_slot=2)
    made.patch(change)
    assert load.share == 0.25
