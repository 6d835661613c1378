"""A cell's turns: who may wait, what comes first, what is shared, and what follows a turn."""

from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from callboard.actors.kernel.actor import Actor, Overflow, behaviour_of
from callboard.actors.kernel.asks import Ask
from callboard.actors.kernel.cell import Cell, Lifecycle, Recipe
from callboard.actors.kernel.dead_letters import DeadLetters
from callboard.actors.kernel.flow_key import WHOLE_CELL
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import AutoShutdown, SupervisorSpec
from callboard.messages.core.contract import Contract


class Job(Contract, name="tests.cell_turns.job"):
    number: int = 0


class Waits(Actor):
    mailbox_messages: ClassVar[int] = 2


class Rejects(Waits):
    overflow: ClassVar[Overflow] = Overflow.REJECT


class Twice(Actor):
    concurrency: ClassVar[int] = 2


class Ends(Actor):
    supervision: ClassVar[SupervisorSpec] = SupervisorSpec(
        auto_shutdown=AutoShutdown.ANY_SIGNIFICANT
    )


class Dispatcher:
    """Keeps what a cell tells it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.host = SimpleNamespace(slot=3, termination=self)
        self.dead_letters = DeadLetters("host-3")

    def enqueue(self, cell: Cell) -> None:
        self.events.append("queued")

    def worker_left(self, cell: Cell) -> None:
        self.events.append("worker left")


class Shared:
    """A mailbox of several cells."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.ready: list[Cell] = []

    def take(self) -> Any:
        return self.items.pop(0) if self.items else None

    def member_ready(self, member: Cell) -> None:
        self.ready.append(member)


class Sink:
    def reply(self, correlation: int, message: Contract | None) -> None:
        raise AssertionError

    def partial(self, correlation: int, message: Contract) -> None:
        raise AssertionError

    def fail(self, correlation: int, error: Any) -> None:
        raise AssertionError


def cell_of(actor: type[Actor], lifecycle: Lifecycle = Lifecycle.RUNNING) -> Cell:
    cell = Cell(7, Recipe(actor), behaviour_of(actor), cast("Any", Dispatcher()))
    cell.lifecycle = lifecycle
    return cell


def events(cell: Cell) -> list[str]:
    return cast("Dispatcher", cell.dispatcher).events


def fill(cell: Cell, *numbers: int) -> None:
    for number in numbers:
        cell.put(Job(number=number))


def numbers(items: Any) -> list[int]:
    return [item.number for item in items or ()]


# --- room ---------------------------------------------------------------------------------------


def test_there_is_room_below_the_limit_or_when_nobody_has_to_wait() -> None:
    cell, rejecting = cell_of(Waits), cell_of(Rejects)
    seen: list[tuple[bool, bool]] = [(cell.has_room(), cell.is_full)]
    for number in range(2):
        fill(cell, number)
        fill(rejecting, number)
        seen.append((cell.has_room_for(Job()), cell.is_full))
    assert seen == [(True, False), (True, False), (False, True)]
    assert (rejecting.has_room(), rejecting.is_full) == (True, True)
    assert cell.flow_key_of(Job()) == WHOLE_CELL


def test_who_waits_for_room_is_called_once_when_half_of_it_is_free() -> None:
    cell, called = cell_of(Waits), list[str]()
    fill(cell, 1, 2)
    assert cell.arrive(Job(number=3))
    cell.when_room(Job(), lambda: called.append("first"))
    cell.when_room(Job(), lambda: called.append("second"))
    cell.take()
    assert called == []
    cell.take()
    assert called == ["first", "second"]
    cell.take()
    assert called == ["first", "second"]
    cell.notify_room_waiters()
    assert called == ["first", "second"]


def test_a_message_over_a_link_that_has_room_is_put_as_any_other() -> None:
    cell = cell_of(Waits)
    assert not cell.arrive(Job(number=1))
    assert not cell.arrive(Job(number=2))
    assert cell.arrive(Job(number=3))
    assert numbers(cell.mailbox) == [1, 2, 3]
    assert events(cell) == ["queued"]


# --- what comes first ---------------------------------------------------------------------------


def test_messages_that_come_back_are_first_in_their_order_and_are_not_queued() -> None:
    cell = cell_of(Waits)
    cell.put_first([])
    assert cell.mailbox is None
    cell.put_first([Job(number=2), Job(number=3)])
    cell.put_first([Job(number=0), Job(number=1)])
    assert numbers(cell.mailbox) == [0, 1, 2, 3]
    assert events(cell) == []
    cell.wake()
    cell.wake()
    assert events(cell) == ["queued"]


def test_a_notice_is_put_into_a_full_mailbox_and_not_into_one_that_ends() -> None:
    cell = cell_of(Waits)
    assert cell.put_notice(Ask(Job(number=0), Sink(), 0, 0.0))
    fill(cell, 1)
    assert cell.put_notice(Ask(Job(number=2), Sink(), 0, 0.0))
    assert len(cell.mailbox or ()) == 3
    assert events(cell) == ["queued"]
    ending = cell_of(Waits, Lifecycle.STOPPING)
    assert not ending.put_notice(Ask(Job(), Sink(), 0, 0.0))
    assert ending.mailbox is None


def test_drained_messages_are_gone() -> None:
    cell = cell_of(Waits)
    assert cell.drain() == []
    fill(cell, 1, 2)
    assert numbers(cell.drain()) == [1, 2]
    assert cell.mailbox is None


# --- turns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifecycle", list(Lifecycle))
def test_only_a_running_cell_is_queued(lifecycle: Lifecycle) -> None:
    cell = cell_of(Waits, lifecycle)
    cell.put_first([Job()])
    cell.schedule()
    assert (events(cell) == ["queued"]) == (lifecycle is Lifecycle.RUNNING)
    assert cell.queued == (lifecycle is Lifecycle.RUNNING)


def test_after_a_turn_the_rest_is_queued_or_the_mailbox_given_up() -> None:
    cell = cell_of(Twice)
    fill(cell, 1)
    cell.queued = False
    cell.end_turn()
    assert events(cell) == ["queued", "queued"]
    cell.take()
    seen: list[tuple[bool, bool]] = []
    for cell.free in (1, 2):
        cell.end_turn()
        seen.append((cell.is_quiet, cell.mailbox is None))
    assert seen == [(False, False), (True, True)]


def test_after_a_turn_of_a_cell_that_ends_its_worker_leaves() -> None:
    cell = cell_of(Waits, Lifecycle.STOPPING)
    cell.end_turn()
    assert events(cell) == ["worker left"]


def test_a_member_of_a_shared_mailbox_takes_its_own_messages_first() -> None:
    cell, shared = cell_of(Twice), Shared()
    cell.shared = shared
    shared.items.append(Job(number=9))
    fill(cell, 1)
    assert cell.take().number == 1
    assert cell.take().number == 9
    assert cell.take() is None
    cell.end_turn()
    assert shared.ready == [cell]
    cell.wake()
    assert shared.ready == [cell, cell]
    cell.queued = False
    fill(cell, 2)
    cell.queued = False
    cell.wake()
    cell.queued = False
    cell.end_turn()
    assert shared.ready == [cell, cell]
    assert events(cell) == ["queued"] * 4


def test_a_cell_without_a_shared_mailbox_has_nothing_to_wake_for() -> None:
    cell = cell_of(Waits)
    cell.wake()
    assert cell.take() is None
    assert events(cell) == []


# --- its kind -----------------------------------------------------------------------------------


def test_children_that_give_up_fail_an_actor_that_does_not_shut_down_with_them() -> None:
    reason = Exit(ExitReason.SHUTDOWN, {"cause": "intensity"})
    failed = cell_of(Waits).exit_after_children(reason)
    assert (failed.kind, failed.detail) == (ExitReason.FAILED, reason.detail)
    assert cell_of(Ends).exit_after_children(reason) is reason


def test_a_plain_cell_has_no_children_and_keeps_none() -> None:
    cell = cell_of(Waits)
    assert cell.child_numbers() == ()
    assert cell.declared_children() == ()
    assert not cell.keeps_children_when_killed()
    assert not cell.has_actor
    assert (cell.view_fields(), cell.kind) == ({}, "Waits")
    assert cell.children_stop_first
    cell.actor = Waits()
    assert cell.has_actor
