"""A cell's mailbox: the policies of a full one, and when the cell is queued."""

import functools
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from callboard.actors.kernel.actor import Actor, Overflow, behaviour_of
from callboard.actors.kernel.asks import Ask
from callboard.actors.kernel.cell import Cell, Lifecycle, Recipe, message_of
from callboard.actors.kernel.dead_letters import DeadLetters
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ActorStopped, CallboardError, MailboxFull


class Job(Contract, name="tests.cell.job"):
    number: int = 0


class Waits(Actor):
    mailbox_messages: ClassVar[int] = 4


class Rejects(Waits):
    overflow: ClassVar[Overflow] = Overflow.REJECT


class Drops(Waits):
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST


class Queue:
    """In place of a dispatcher: keeps the queued cells, and never serves them."""

    def __init__(self) -> None:
        self.host = SimpleNamespace(slot=1)
        self.dead_letters = DeadLetters("host-1")
        self.queued: list[Cell] = []

    def enqueue(self, cell: Cell) -> None:
        self.queued.append(cell)


class Asker:
    def __init__(self) -> None:
        self.errors: list[CallboardError] = []

    def reply(self, correlation: int, message: Contract | None) -> None:
        raise AssertionError

    def partial(self, correlation: int, message: Contract) -> None:
        raise AssertionError

    def fail(self, correlation: int, error: CallboardError) -> None:
        self.errors.append(error)


def cell_of(
    actor: type[Actor], lifecycle: Lifecycle = Lifecycle.RUNNING, full: bool = False
) -> Cell:
    cell = Cell(7, Recipe(actor), behaviour_of(actor), cast("Any", Queue()))
    cell.lifecycle = lifecycle
    for number in range(4 if full else 0):
        cell.put(Job(number=number))
    return cell


def waiting(cell: Cell) -> list[int]:
    return [cast("Job", message_of(item)).number for item in cell.mailbox or ()]


def queue(cell: Cell) -> list[Cell]:
    return cast("Queue", cell.dispatcher).queued


# --- queued to be served -------------------------------------------------------------------------


def test_idle_cell_has_no_mailbox() -> None:
    cell = cell_of(Waits)
    assert cell.mailbox is None
    assert cell.take() is None
    assert cell.has_room()


def test_cell_is_queued_once_for_many_messages() -> None:
    cell = cell_of(Waits, full=True)
    assert queue(cell) == [cell]
    assert waiting(cell) == [0, 1, 2, 3]


@pytest.mark.parametrize("lifecycle", [Lifecycle.STARTING, Lifecycle.RUNNING])
def test_cell_that_starts_keeps_messages_and_is_queued_when_it_runs(lifecycle: Lifecycle) -> None:
    cell = cell_of(Waits, lifecycle, full=True)
    assert (len(queue(cell)) == 1) is (lifecycle is Lifecycle.RUNNING)
    cell.lifecycle = Lifecycle.RUNNING
    cell.wake()
    assert queue(cell) == [cell]


def test_cell_at_its_concurrency_is_not_queued() -> None:
    cell = cell_of(Waits)
    cell.free = 0
    cell.put(Job())
    assert queue(cell) == []
    cell.free = 1
    cell.schedule()
    assert queue(cell) == [cell]


def test_served_cell_is_queued_again_for_the_rest_or_becomes_idle() -> None:
    cell = cell_of(Waits)
    cell.put(Job(number=1))
    cell.put(Job(number=2))
    for left in (1, 0):
        queue(cell).clear()
        cell.queued = False
        cell.take()
        cell.end_turn()
        assert len(queue(cell)) == left
    assert cell.mailbox is None


def test_messages_are_taken_in_order() -> None:
    cell = cell_of(Waits, full=True)
    assert [cell.take().number for _ in range(4)] == [0, 1, 2, 3]
    assert cell.take() is None


# --- full ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [Waits, Rejects])
def test_tell_to_a_full_mailbox_is_refused_unless_the_policy_is_to_drop(actor: type[Actor]) -> None:
    cell = cell_of(actor, full=True)
    with pytest.raises(MailboxFull, match=r"/\$7 holds 4 messages") as caught:
        cell.put(Job(number=9))
    assert caught.value.may_have_run is False
    assert waiting(cell) == [0, 1, 2, 3]


def test_ask_to_a_full_mailbox_waits_in_it_because_its_asker_waits_already() -> None:
    cell, asker = cell_of(Waits, full=True), Asker()
    cell.put(Ask(Job(number=9), asker, 1, 0.0))
    assert waiting(cell) == [0, 1, 2, 3, 9]
    assert asker.errors == []


def test_ask_to_a_full_mailbox_that_rejects_fails_at_once() -> None:
    cell, asker = cell_of(Rejects, full=True), Asker()
    cell.put(Ask(Job(number=9), asker, 1, 0.0))
    assert [type(error) for error in asker.errors] == [MailboxFull]
    assert waiting(cell) == [0, 1, 2, 3]


def test_full_mailbox_that_drops_makes_the_oldest_a_dead_letter() -> None:
    cell, asker = cell_of(Drops), Asker()
    cell.put(Ask(Job(number=0), asker, 1, 0.0))
    for number in range(1, 6):
        cell.put(Job(number=number))
    assert waiting(cell) == [2, 3, 4, 5]
    assert [type(error) for error in asker.errors] == [MailboxFull]
    assert cell.dispatcher.dead_letters.counts == {"mailbox_full": 2}


def test_message_over_a_link_is_taken_beyond_the_limit_and_its_sender_paused() -> None:
    cell = cell_of(Waits)
    assert [cell.arrive(Job()) for _ in range(6)] == [False] * 4 + [True] * 2
    assert len(cell.mailbox or ()) == 6


def test_message_over_a_link_is_refused_or_makes_room_as_the_policy_says() -> None:
    with pytest.raises(MailboxFull):
        cell_of(Rejects, full=True).arrive(Job())
    drops = cell_of(Drops, full=True)
    assert drops.arrive(Job(number=9)) is False
    assert waiting(drops) == [1, 2, 3, 9]


def test_room_waiters_are_notified_once_when_half_is_free() -> None:
    cell = cell_of(Waits, full=True)
    called: list[int] = []
    assert not cell.has_room()
    for number in range(2):
        cell.when_room(Job(), functools.partial(called.append, number))
    cell.take()
    assert called == []
    cell.take()
    assert called == [0, 1]
    cell.take()
    assert called == [0, 1]


# --- ended ---------------------------------------------------------------------------------------


def test_stopped_cell_makes_a_dead_letter_of_a_tell_and_fails_an_ask() -> None:
    cell, asker = cell_of(Waits, Lifecycle.STOPPED), Asker()
    cell.put(Job())
    cell.put(Ask(Job(), asker, 1, 0.0))
    assert cell.dispatcher.dead_letters.counts == {"actor_stopped": 2}
    (error,) = asker.errors
    assert isinstance(error, ActorStopped)
    assert error.may_have_run is False


def test_drain_takes_all_messages_in_order() -> None:
    cell = cell_of(Waits, full=True)
    assert [item.number for item in cell.drain()] == [0, 1, 2, 3]
    assert cell.mailbox is None
    assert cell.drain() == []


# --- names and recipes ---------------------------------------------------------------------------


def test_path_leads_from_the_root_by_names_or_numbers() -> None:
    parent = Cell(1, Recipe(Waits, name="parent"), behaviour_of(Waits), cast("Any", Queue()))
    child = cell_of(Waits)
    child.parent = parent
    assert child.path == "/parent/$7"


def test_recipe_makes_a_new_actor_each_time_from_the_same_arguments() -> None:
    class Made(Actor):
        def __init__(self, *args: int, **keywords: int) -> None:
            self.given = (args, keywords)

    recipe = Recipe(Made, (1, 2), {"three": 3})
    first, second = recipe.make(), recipe.make()
    assert first is not second
    assert isinstance(second, Made)
    assert second.given == ((1, 2), {"three": 3})
