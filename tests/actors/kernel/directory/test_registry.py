"""The directory: a host's copy of all names and offers."""

from collections import Counter
from typing import Any, cast

from callboard.actors.kernel.directory.registry import Directory
from callboard.messages.core.contract import Contract
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
