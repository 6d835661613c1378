"""Watches and links between hosts that crash, against a model that only counts.

Each host has a table; between each two hosts, messages wait in order until they are
delivered, and a crash loses the waiting ones. The model knows for each watch whether it must,
may, or must not have got a notice.
"""

import collections
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callboard.actors.kernel.monitors.core import (
    DropEnd,
    Effect,
    End,
    Key,
    MonitorTable,
    Notify,
    ReportEnd,
    Role,
    release,
)
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.ref import Address
from tests.thoroughness import examples

SLOTS = (1, 2, 3)
CELLS = (1, 2)
NO_ACTOR = Exit(ExitReason.NO_ACTOR)
FAILED = Exit(ExitReason.FAILED)
LOST = Exit(ExitReason.HOST_LOST)
slots = st.sampled_from(SLOTS)
cells = st.sampled_from(CELLS)


class Watched:
    """One watch, as the model sees it."""

    def __init__(self) -> None:
        self.notices = 0
        self.is_over = False
        """Ended by the watcher, or with it: no notice may come any more."""


class Machine(RuleBasedStateMachine):
    """Three hosts with two actors each."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = dict.fromkeys(SLOTS, 1)
        self.tables = {slot: MonitorTable(slot) for slot in SLOTS}
        self.knows = {(a, b): True for a in SLOTS for b in SLOTS}
        """Whether one host is connected to the other's present incarnation."""
        self.living = {(slot, cell): True for slot in SLOTS for cell in CELLS}
        self.wires: dict[tuple[int, int], collections.deque[Any]] = collections.defaultdict(
            collections.deque
        )
        self.watches: dict[tuple[int, int, int], Watched] = {}
        """By the watcher's slot, its epoch, and the number of the tie."""

    # --- the shell, in short ------------------------------------------------------------

    def send(self, source: int, target: int, *message: Any) -> None:
        if source == target:
            self.take(source, target, *message)
        elif self.knows[source, target]:
            self.wires[source, target].append(message)

    def perform(self, slot: int, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Notify(end, _, _) if end.role is Role.WATCHER:
                    self.watches[slot, self.epochs[slot], end.key.number].notices += 1
                case Notify(end, reason, _):
                    if reason.is_abnormal and self.living[slot, end.here]:
                        self.finish(slot, end.here, reason)
                case ReportEnd(end, reason, comes_back):
                    self.send(slot, end.there.slot, "ended", end.key.other, reason, comes_back)
                case DropEnd(end):
                    if end.epoch or end.there.slot == slot:
                        self.send(slot, end.there.slot, "dropped", end.key.other)

    def finish(self, slot: int, cell: int, reason: Exit) -> None:
        self.living[slot, cell] = False
        ends = self.tables[slot].detach(cell)
        for end in ends:
            if end.role is Role.WATCHER:
                self.watches[slot, self.epochs[slot], end.key.number].is_over = True
        self.perform(slot, release(ends, reason, comes_back=None))

    def request(self, slot: int, end: End) -> None:
        target = end.there.slot
        if slot == target or self.knows[slot, target]:
            end.epoch = self.epochs[target]
            is_link = end.role is Role.PARTNER
            self.send(slot, target, "asked", self.epochs[slot], end, is_link)

    def take(self, source: int, target: int, kind: str, *rest: Any) -> None:
        table = self.tables[target]
        if kind == "asked":
            epoch, end, is_link = rest
            key: Key = end.key
            if self.living[target, end.there.cell]:
                there = Address(source, end.here)
                table.accept(key.slot, key.number, end.there.cell, there, epoch, is_link=is_link)
            else:
                self.send(target, source, "ended", key, NO_ACTOR, False)
        elif kind == "ended":
            self.perform(target, table.peer_ended(rest[0], rest[1], comes_back=rest[2]))
        else:
            table.take(*rest)

    # --- what happens ---------------------------------------------------------------------

    @rule(slot=slots, cell=cells, to_slot=slots, to_cell=cells, is_link=st.booleans())
    def monitor(self, slot: int, cell: int, to_slot: int, to_cell: int, *, is_link: bool) -> None:
        if not self.living[slot, cell] or (slot, cell) == (to_slot, to_cell):
            return
        table = self.tables[slot]
        there = Address(to_slot, to_cell)
        if is_link and table.between(cell, there, Role.PARTNER):
            return
        end = table.ask(cell, there, is_link=is_link)
        if not is_link:
            self.watches[slot, self.epochs[slot], end.key.number] = Watched()
        self.request(slot, end)

    @rule(slot=slots, cell=cells, number=st.integers(0, 5))
    def unmonitor(self, slot: int, cell: int, number: int) -> None:
        ends = [end for end in self.tables[slot].of(cell) if end.role is not Role.WATCHED]
        if ends:
            end = ends[number % len(ends)]
            self.tables[slot].take(end.key)
            if end.role is Role.WATCHER:
                self.watches[slot, self.epochs[slot], end.key.number].is_over = True
            self.perform(slot, [DropEnd(end)])

    @rule(slot=slots, cell=cells)
    def end(self, slot: int, cell: int) -> None:
        if self.living[slot, cell]:
            self.finish(slot, cell, FAILED)

    @rule(slot=slots, cell=cells)
    def begin(self, slot: int, cell: int) -> None:
        self.living[slot, cell] = True

    @precondition(lambda self: any(self.wires.values()))
    @rule(number=st.integers(0, 8))
    def deliver(self, number: int) -> None:
        wires = [pair for pair, wire in self.wires.items() if wire]
        source, target = wires[number % len(wires)]
        self.take(source, target, *self.wires[source, target].popleft())

    @rule(slot=slots)
    def crash(self, slot: int) -> None:
        for (watcher, epoch, _), watch in self.watches.items():
            if (watcher, epoch) == (slot, self.epochs[slot]):
                watch.is_over = True
        self.epochs[slot] += 1
        self.tables[slot] = MonitorTable(slot)
        for other in SLOTS:
            if other != slot:
                # Hosts that did not know the slot learn of its newest incarnation at once.
                self.wires[slot, other].clear()
                self.wires[other, slot].clear()
                self.knows[other, slot] = False
                self.knows[slot, other] = False
        for cell in CELLS:
            self.living[slot, cell] = True

    @rule(slot=slots, other=slots)
    def meet(self, slot: int, other: int) -> None:
        """One host learns of the other's loss and new incarnation, and the other of this host."""
        for here, there in ((slot, other), (other, slot)):
            if not self.knows[here, there]:
                table = self.tables[here]
                ends = table.take_lost(there, self.epochs[there] - 1)
                self.perform(
                    here, [Notify(end, LOST, None) for end in ends if end.role is not Role.WATCHED]
                )
        for here, there in ((slot, other), (other, slot)):
            if not self.knows[here, there]:
                self.knows[here, there] = True
                for end in self.tables[here].pending_requests(there):
                    self.request(here, end)

    # --- what must hold --------------------------------------------------------------------

    @invariant()
    def never_twice(self) -> None:
        assert all(watch.notices <= 1 for watch in self.watches.values())

    @invariant()
    def one_or_the_other(self) -> None:
        """A watch is in the table, or got its notice, or was ended; never two of these."""
        for (slot, epoch, number), watch in self.watches.items():
            if epoch == self.epochs[slot]:
                waits = self.tables[slot].find(Key(slot, number, is_asked=False)) is not None
                assert waits + watch.notices + watch.is_over == 1
            else:
                assert watch.is_over or watch.notices

    def teardown(self) -> None:
        """Once all messages are delivered and all actors have ended, nothing waits."""
        for slot in SLOTS:
            for other in SLOTS:
                self.meet(slot, other)
        for slot in SLOTS:
            for cell in CELLS:
                self.end(slot, cell)
        while any(self.wires.values()):
            self.deliver(0)
        self.one_or_the_other()
        assert [len(table) for table in self.tables.values()] == [0, 0, 0]


TestMonitorTable = Machine.TestCase
TestMonitorTable.settings = settings(max_examples=examples(150), stateful_step_count=40)
