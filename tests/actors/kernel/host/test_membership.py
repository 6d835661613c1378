"""The membership of a host: introductions, the links that they become, and what ends them."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from callboard.actors.kernel.host.membership import Membership
from callboard.actors.kernel.link.link import Link
from callboard.messages.control.control_plane import FIRST_DRIVER_SLOT
from callboard.messages.core.errors import HostLost

LOST = HostLost("lost")
DRIVER = FIRST_DRIVER_SLOT + 7


class FakeLink:
    """Records what a membership does with a link."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.epoch = 0
        self.dead_epoch = 0
        self.carrier: object = None
        self.is_closed = False
        self.connections: list[tuple[int, bool]] = []

    @property
    def is_connected(self) -> bool:
        return self.carrier is not None

    def begin(self, epoch: int, carrier: object, *, is_open: bool) -> None:
        self.epoch, self.carrier = epoch, carrier
        self.connections.append((epoch, is_open))

    connect = begin

    def declare_dead(self, epoch: int, _error: object) -> None:
        self.dead_epoch, self.carrier = epoch, None

    def close(self, _error: object) -> None:
        self.is_closed, self.carrier = True, None


@pytest.fixture
def links() -> dict[int, Any]:
    return {}


@pytest.fixture
def membership(links: dict[int, Any]) -> Membership:
    def make(slot: int) -> Link:
        return cast("Link", FakeLink(slot))

    def later(_delay_s: float, _callback: Callable[[], None]) -> None:
        """Never."""

    made = Membership(1, links, make, later)
    made.update({1: 0, 2: 0, 3: 0}, 3)
    return made


def introduce(membership: Membership, slot: int, epoch: int, *, is_open: bool = True) -> None:
    membership.introduce(slot, epoch, lambda: cast("Any", f"to {slot}, {epoch}"), is_open=is_open)


def test_an_introduction_makes_no_link(membership: Membership, links: dict[int, Any]) -> None:
    introduce(membership, 2, 1)
    assert links == {}
    assert membership.reached() == [2]


def test_the_first_message_makes_the_link(membership: Membership, links: dict[int, Any]) -> None:
    introduce(membership, 2, 1, is_open=False)
    link = cast("Any", membership.make_link(2))
    assert links == {2: link}
    assert (link.carrier, link.connections) == ("to 2, 1", [(1, False)])
    assert membership.epoch_of(2) is None


def test_the_first_frame_of_a_peer_makes_the_link(membership: Membership) -> None:
    introduce(membership, 2, 4)
    assert membership.link_to_sender(2, 3) is None, "an incarnation that is not known"
    assert membership.link_to_sender(3, 1) is None, "a host that was not introduced"
    assert cast("Any", membership.link_to_sender(2, 4)).epoch == 4


def test_an_introduction_opens_and_never_closes_again(membership: Membership) -> None:
    for is_open in (False, True, False):
        introduce(membership, 2, 1, is_open=is_open)
    assert membership.epoch_of(2) == (1, True)


def test_an_older_incarnation_never_replaces_a_newer_one(membership: Membership) -> None:
    introduce(membership, 2, 3, is_open=False)
    introduce(membership, 2, 2)
    assert membership.epoch_of(2) == (3, False)


def test_an_introduction_reaches_a_link_that_exists(membership: Membership) -> None:
    link = cast("Any", membership.make_link(2))
    introduce(membership, 2, 1)
    assert link.connections == [(1, True)]


def test_a_dead_incarnation_is_forgotten_also_when_its_introduction_comes_late(
    membership: Membership,
) -> None:
    introduce(membership, 2, 1)
    membership.declare_dead(2, 1, LOST)
    assert membership.epoch_of(2) is None
    introduce(membership, 2, 1)
    assert membership.epoch_of(2) is None
    introduce(membership, 2, 2)
    assert membership.epoch_of(2) == (2, True)


def test_a_new_link_knows_which_incarnation_is_dead(membership: Membership) -> None:
    membership.declare_dead(2, 5, LOST)
    assert membership.make_link(2).dead_epoch == 5


def test_a_death_reaches_a_link_that_exists(membership: Membership) -> None:
    link = membership.make_link(2)
    membership.declare_dead(2, 1, LOST)
    assert link.dead_epoch == 1


def test_a_slot_that_is_gone_for_good_is_not_reached(membership: Membership) -> None:
    introduce(membership, 2, 1)
    membership.patch({}, (2,), 3)
    assert membership.reached() == []
    introduce(membership, 2, 1)
    assert membership.reached() == []
    assert membership.make_link(2).is_closed


def test_a_stopped_slot_is_reached_again_by_its_next_incarnation(membership: Membership) -> None:
    introduce(membership, 2, 1)
    membership.patch({2: 1}, (), 3)
    assert membership.reached() == []
    assert membership.make_link(2).is_closed
    introduce(membership, 2, 2)
    assert membership.reached() == [2]


def test_a_stopped_slot_whose_next_incarnation_is_known_is_not_refused(
    membership: Membership,
) -> None:
    membership.patch({2: 1}, (), 3)
    introduce(membership, 2, 2)
    link = membership.make_link(2)
    assert not link.is_closed
    assert link.epoch == 2


def test_a_change_closes_the_links_that_it_ends_and_no_others(membership: Membership) -> None:
    first, second = membership.make_link(2), membership.make_link(3)
    membership.patch({}, (2,), 3)
    assert (first.is_closed, second.is_closed) == (True, False)


def test_a_slot_that_ended_before_it_was_reported_is_closed(membership: Membership) -> None:
    early = cast("Any", membership.make_link(5))
    introduce(membership, 6, 1)
    assert not early.is_closed, "it may start"
    membership.patch({7: 0}, (), 7)
    assert early.is_closed
    assert membership.reached() == []


def test_a_driver_is_linked_at_once(membership: Membership, links: dict[int, Any]) -> None:
    introduce(membership, DRIVER, 1)
    assert links[DRIVER].epoch == 1
