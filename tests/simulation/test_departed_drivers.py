"""A thousand drivers come and go: nothing of them stays, at the root or at a host."""

import asyncio
from collections import Counter as Counts
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.host.membership import DEPARTED_MAX, UNKNOWN_DRIVER_S
from callboard.messages.control.control_plane import FIRST_DRIVER_SLOT, is_driver_slot
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import HostLost
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.api.inside import host_of

from .detached.system import DetachedSystem, Driver
from .test_found_detached import Count, Counted, Counter, do, simulate, until

DRIVERS: Final = 1_000
WARM_UP: Final = 200
AT_ONCE: Final = 20
OBJECTS_MORE_MAX: Final = 20
"""Counters and rings that fill up; one object for each of 800 drivers would be far more."""


class Listener(Actor):
    """An actor of a driver, to which an actor of a host speaks after the driver has left."""

    @handler
    async def hear(self, counted: Counted) -> None:
        pass


class Remember(Request[Counted], name="departed.remember"):
    listener: Ref[Any]


class Speak(Contract, name="departed.speak"):
    pass


class Speaker(Actor):
    """Tells the newest driver that it knows, whether that has left or not."""

    def __init__(self) -> None:
        self.listener: Ref[Any] | None = None

    @handler
    async def remember(self, request: Remember) -> Counted:
        self.listener = request.listener
        return Counted(n=1)

    @handler
    async def speak(self, _: Speak) -> None:
        assert self.listener is not None
        self.listener.tell(Counted(n=0))


def parts_of(root: object) -> Iterator[object]:
    """Everything that `root` holds on to, through containers and objects of Callboard."""
    seen: set[int] = set()
    waiting: deque[object] = deque([root])
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            waiting.extend((*part.keys(), *part.values()))
        elif isinstance(part, (list, tuple, set, frozenset, deque)):
            waiting.extend(part)
        elif callable(part) and hasattr(part, "__closure__"):
            waiting.extend(cell.cell_contents for cell in part.__closure__ or ())
        elif is_ours(part):
            waiting.extend(vars(part).values() if hasattr(part, "__dict__") else ())
            for kind in type(part).__mro__:
                names = getattr(kind, "__slots__", ())
                for name in (names,) if isinstance(names, str) else names:
                    waiting.append(getattr(part, name, None))
        yield part


def is_ours(part: object) -> bool:
    module = type(part).__module__
    return module.startswith("callboard.") and not module.startswith("callboard.runtime.testing")


def sizes(system: DetachedSystem) -> Counts[str]:
    """The number of objects that the hosts and the root hold, by type."""
    roots: list[object] = [system.root, system.root_process.incarnation]
    roots += hosts(system)[1:]
    return Counts(type(part).__name__ for part in parts_of(roots))


def hosts(system: DetachedSystem) -> list[Host]:
    control = system.root_process.incarnation
    assert control is not None
    assert control.control is not None
    found = [system.process(slot.number).host for slot in system.root.table.slots.values()]
    return [control.control.host, *(host for host in found if host is not None)]


def test_a_thousand_drivers_leave_nothing_behind() -> None:
    async def main(system: DetachedSystem, first: Driver) -> tuple[Counts[str], Counts[str]]:
        ref = await do(first, lambda api: api.spawn(Counter, host=1))
        speaker = await do(first, lambda api: api.spawn(Speaker, host=2))

        async def visit(driver: Driver) -> None:
            api, host = driver.system, host_of(driver.system)
            cell = await host.spawn(Recipe(Listener), None)
            listener = host.ref(Address(host.slot, cell.id))
            _ = api.watch(host.ref(ref.address))  # The driver leaves before it is over.
            await api.on_dead_letter(lambda letter: None)
            await api.ask(Count(), to=host.ref(ref.address))
            await api.ask(Remember(listener=listener), to=host.ref(speaker.address))
            if driver.number % 3 == 0:
                await asyncio.sleep(3_600.0)  # It is killed instead of leaving.

        async def come_and_go(count: int) -> None:
            for _ in range(count // AT_ONCE):
                drivers = [system.begin(visit) for _ in range(AT_ONCE)]
                await until(lambda: all(is_over(driver) for driver in drivers))  # noqa: B023 - within the loop
                first.system.tell(Speak(), to=speaker)

        def is_over(driver: Driver) -> bool:
            if driver.number % 3 == 0 and driver.is_attached:
                system.crash(driver.number)
            return driver.has_left or driver.process.loop.is_dead

        async def settled() -> Counts[str]:
            await until(lambda: len(system.root.table.attached_drivers) == 1)
            await asyncio.sleep(120.0)
            return sizes(system)

        await come_and_go(WARM_UP)
        before = await settled()
        await come_and_go(DRIVERS - WARM_UP)
        after = await settled()
        for host in hosts(system):
            assert [slot for slot in host.links if is_driver_slot(slot)] == [first.slot]
        view = await do(first, lambda api: api.view())
        for shown in view.hosts:
            gone = [link.slot for link in shown.links if is_driver_slot(link.slot)]
            assert gone in ([], [first.slot])
        return before, after

    before, after = simulate(2, main, heartbeat_s=1.0)
    del before["int"], after["int"]  # The ring of numbers; see the next test.
    more = after - before
    assert sum(more.values()) <= OBJECTS_MORE_MAX, more.most_common(12)


def test_the_numbers_of_departed_drivers_are_bounded_and_a_link_to_an_unknown_one_ends() -> None:
    async def main(system: DetachedSystem, first: Driver) -> None:
        host = hosts(system)[1]
        for number in range(DEPARTED_MAX + 1):
            host.forget(FIRST_DRIVER_SLOT + 1_000 + number, HostLost("it has left."))
        oldest, next_oldest = FIRST_DRIVER_SLOT + 1_000, FIRST_DRIVER_SLOT + 1_001
        assert not host.has_forgotten(oldest)
        assert host.has_forgotten(next_oldest)
        before = host.dead_letters.counts["not_sent"]
        host.tell(Address(next_oldest, 1), Counted(n=1))
        assert host.dead_letters.counts["not_sent"] == before + 1
        assert next_oldest not in host.links
        host.tell(Address(oldest, 1), Counted(n=1))  # It may be a driver that is still coming.
        assert oldest in host.links
        await asyncio.sleep(UNKNOWN_DRIVER_S + 1.0)
        assert oldest not in host.links
        assert host.dead_letters.counts["not_sent"] == before + 2
        assert first.slot in host.links

    simulate(2, main)
