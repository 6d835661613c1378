"""The slot table: names, offers, and the slot of the next actor."""

import pytest

from callboard.messages.control.spawning import SpawnPart
from callboard.messages.core.errors import ActorNotFound, NameTaken
from callboard.messages.core.ref import Address
from callboard.runtime.control_plane.slots import Batch, SlotTable


@pytest.fixture
def table() -> SlotTable:
    table = SlotTable()
    for name in ("one", "two"):
        table.add_slot(name).is_up = True
    return table


def test_slots_are_numbered_from_one(table: SlotTable) -> None:
    assert [(slot.number, slot.name) for slot in table.slots.values()] == [(1, "one"), (2, "two")]


def test_next_actor_goes_to_the_emptiest_slot_that_is_up(table: SlotTable) -> None:
    assert table.least_loaded().number == 1
    table.slots[1].add(Batch(SpawnPart(entries=b"", count=1), 1))
    assert table.least_loaded().number == 2
    table.slots[2].is_up = False
    assert table.least_loaded().number == 1
    table.slots[1].is_up = False
    assert table.least_loaded().number == 2, "all are down: it will come up"


def test_cells_are_never_given_twice(table: SlotTable) -> None:
    taken = [range(first, first + 3) for first in (table.take_cells(3) for _ in range(100))]
    assert len({cell for cells in taken for cell in cells}) == 300


def test_name_is_taken_once_and_free_again(table: SlotTable) -> None:
    table.take_name("a", Address(1, 1))
    with pytest.raises(NameTaken, match="1/1"):
        table.take_name("a", Address(2, 2))
    assert table.forget(Address(1, 1)) is True
    table.take_name("a", Address(2, 2))


def test_forgotten_actor_takes_its_offers_along(table: SlotTable) -> None:
    table.offer(("x", "y"), Address(1, 1), 4)
    table.offer(("x",), Address(2, 2), 2)
    assert table.forget(Address(1, 1)) is True
    assert table.offers == {"x": [Address(2, 2)]}
    assert table.sizes == {Address(2, 2): 2}
    assert table.forget(Address(1, 1)) is False


def test_unknown_actor_has_no_slot(table: SlotTable) -> None:
    for address in (Address(1, 5), Address(9, 1)):
        with pytest.raises(ActorNotFound):
            table.slot_of(address)


def test_an_actor_that_ended_is_not_started_again_with_its_batch(table: SlotTable) -> None:
    slot = table.slots[1]
    batch = Batch(SpawnPart(entries=b"", count=3, numbers_each=2), 10)
    slot.add(batch)
    table.take_name("child", Address(1, 13))
    assert table.forget(Address(1, 12)) is True, "the names of its whole tree are free"
    assert batch.cells == [10, 0, 14]
    assert slot.batches() == [batch]
    table.forget(Address(1, 10))
    table.forget(Address(1, 14))
    assert slot.batches() == []
