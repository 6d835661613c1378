"""The matrix, for hosts: strategy x restart kind x how a host ends, on real hosts and a real root.

Hosts a, b and c start in this order; b is of the restart kind in the name, the others are
permanent, and b ends. What follows says the table that actors are held to as well. In logs
`-c` means that c is stopped, `+c` that it is brought up again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest

from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.lifecycle import ENDED_NORMALLY, Exit, ExitReason
from callboard.messages.control.spec import (
    AutoShutdown,
    Backoff,
    Intensity,
    Restart,
    Strategy,
    SupervisorSpec,
)
from callboard.messages.core.errors import ClusterError, HostLost, UsageError
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.api.system import System
from callboard.runtime.control_plane.slots import Slot
from callboard.runtime.engines.inline import InlineEngine
from callboard.runtime.hosting.settings import Settings

from ...supervisors.matrix import CELLS, EXITS, EXTRAS, SUBJECT, Cell, Outcome, names
from ..engines import fixture_actors as actors

AT_ONCE = Backoff(max_s=0.0)


class Three:
    """Hosts a, b and c, and a log of what is done to them."""

    def __init__(self, b: HostSpec, **supervision: Any) -> None:
        spec = SupervisorSpec(**{"backoff": AT_ONCE, **supervision})
        hosts = (HostSpec("a"), b, HostSpec("c"))
        settings = Settings(
            engine="inline", hosts=hosts, standbys=0, host_supervision=spec, name="matrix"
        )
        self.system = System(settings)
        self.log: list[str] = []
        self.refuses_start: list[str] = []

    async def __aenter__(self) -> Self:
        await self.system.open()
        hosting = root_of(self.system).hosting
        bring_up, bring_down = hosting.bring_up, hosting.bring_down

        async def up(slot: Slot, ended: Any) -> None:
            self.log.append(f"+{slot.name}")
            if slot.name in self.refuses_start:
                self.refuses_start.remove(slot.name)
                raise ClusterError(f"{slot.name} does not start.", advice="")
            await bring_up(slot, ended)

        async def down(slot: Slot, *how: Any, **options: Any) -> Exit:
            self.log.append(f"-{slot.name}")
            return await bring_down(slot, *how, **options)

        hosting.bring_up = up  # type: ignore[method-assign]
        hosting.bring_down = down  # type: ignore[method-assign]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.system.close(5.0)

    def slot(self, name: str) -> Slot | None:
        slots = root_of(self.system).table.slots.values()
        return next((slot for slot in slots if slot.name == name), None)

    async def end(self, name: str, reason: Exit = EXITS["killed"]) -> None:
        slot = self.slot(name)
        assert slot is not None
        await slot.process.end(reason)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5.0):
            while not condition():  # noqa: ASYNC110 - it may be any condition
                await asyncio.sleep(0)

    def all_up(self) -> bool:
        return all(slot.is_up for slot in root_of(self.system).table.slots.values())


HOST_OF = {"first": "a", SUBJECT: "b", "next": "c"}
"""The hosts in the places of the table's children; its last one is left out here."""


def log_of(outcome: Outcome) -> list[str]:
    """The expected steps for the hosts, by the table."""
    stops = [f"-{HOST_OF[child]}" for child in outcome.stops if child in HOST_OF]
    return stops + [f"+{HOST_OF[child]}" for child in outcome.starts]


async def follow(cell: Cell) -> None:
    """End b and check that exactly the steps of the table follow."""
    b, expected = HostSpec("b", restart=cell.restart), log_of(cell.outcome)
    async with Three(b, strategy=cell.strategy) as three:
        refs = [await three.system.spawn(actors.Counter, host=host) for host in "abc"]
        before = {name: slot.process for name in "abc" if (slot := three.slot(name))}
        await three.end("b", EXITS[cell.reason])
        if cell.outcome.subject == "running":
            await three.until(lambda: three.log == expected and three.all_up())
            living = refs
        else:
            await three.until(lambda: (slot := three.slot("b")) is None or bool(slot.final_epoch))
            assert (three.slot("b") is not None) is (cell.outcome.subject == "down")
            assert three.log == []
            with pytest.raises(HostLost):
                await refs[1].ask(actors.Ping(n=1))
            with pytest.raises(UsageError):
                await three.system.spawn(actors.Counter, host="b")
            living = [refs[0], refs[2]]
        assert [(await ref.ask(actors.Ping(n=n))).n for n, ref in enumerate(living)] == list(
            range(len(living))
        )
        assert three.log == expected
        untouched = [name for name in "ac" if f"+{name}" not in three.log]
        now = {name: slot.process for name in untouched if (slot := three.slot(name))}
        assert now == {name: before[name] for name in untouched}


def test_of(cell: Cell) -> Callable[[], Awaitable[None]]:
    """The test of one cell."""

    async def test() -> None:
        await follow(cell)

    test.__name__ = test.__qualname__ = cell.name
    return test


async def escalation(strategy: Strategy) -> None:
    three = Three(HostSpec("b"), strategy=strategy, intensity=Intensity(restarts=1, period_s=60.0))
    async with three:
        failed: list[Any] = []
        root_of(three.system)._on_failed = failed.append
        await three.end("b")
        await three.until(lambda: "+b" in three.log and three.all_up())
        await three.until(lambda: root_of(three.system).supervisor.statistics().running == 3)
        three.log.clear()
        await three.end("b")
        await three.until(lambda: bool(failed))
        assert three.log == ["-c", "-a"], "the shutdown is in reverse, and nothing comes back"
        assert isinstance(failed[0], HostLost)
        assert "gives up" in failed[0].message
        assert failed[0].details["reason"]["detail"]["cause"] == "restart_intensity_exceeded"


async def start_fails_half_way(strategy: Strategy) -> None:
    supervision = SupervisorSpec(strategy)
    settings = Settings(engine="inline", hosts=3, standbys=0, host_supervision=supervision)
    engine = InlineEngine(settings)
    system = System(settings, engine)
    start_process = engine.start_process
    made: list[Any] = []

    async def refuse(*_: Any) -> None:
        raise ClusterError("no place.", advice="")

    async def third_is_broken(*args: Any, **options: Any) -> Any:
        process: Any = await start_process(*args, **options)
        made.append(process)
        if len(made) == 3:
            process.become = refuse
        return process

    engine.start_process = third_is_broken  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="no place"):
        await system.open()
    assert all(not slot.is_up for slot in root_of(system).table.slots.values())
    assert not any(process.host for process in made)
    await system.close(5.0)


TRIED_AGAIN = {
    Strategy.ONE_FOR_ONE: ["+b", "+b"],
    Strategy.ONE_FOR_ALL: ["-c", "-a", "+a", "+b", "-a", "+a", "+b", "+c"],
    Strategy.REST_FOR_ONE: ["-c", "+b", "+b", "+c"],
}
"""A failed start stops the same hosts as an end does, of those that are up again."""


async def restart_that_fails(strategy: Strategy) -> None:
    async with Three(HostSpec("b"), strategy=strategy) as three:
        three.refuses_start.append("b")
        await three.end("b")
        wanted = TRIED_AGAIN[strategy]
        await three.until(lambda: len(three.log) >= len(wanted) and three.all_up())
        assert three.log == wanted


async def ordered_stop(strategy: Strategy) -> None:
    async with Three(HostSpec("b"), strategy=strategy) as three:
        assert [slot.name for slot in root_of(three.system).table.slots.values()] == ["a", "b", "c"]
    assert three.log == ["-c", "-b", "-a"]


def test_with(strategy: Strategy, extra: str) -> Callable[[], Awaitable[None]]:
    """The test of one more property of a strategy."""
    shown: Callable[[Strategy], Awaitable[None]] = globals()[extra]

    async def test() -> None:
        await shown(strategy)

    test.__name__ = test.__qualname__ = f"test_{strategy}_{extra}"
    return test


test_of.__test__ = False  # type: ignore[attr-defined]
test_with.__test__ = False  # type: ignore[attr-defined]
globals().update({cell.name: test_of(cell) for cell in CELLS})
for _strategy in Strategy:
    for _extra in EXTRAS:
        globals()[f"test_{_strategy}_{_extra}"] = test_with(_strategy, _extra)


def test_matrix_is_complete() -> None:
    assert [name for name in names() if name not in globals()] == []
    assert {exit_.kind for exit_ in EXITS.values()} == set(ExitReason) - {
        ExitReason.START_FAILED,  # an end that never ran: see the half-way start above
        ExitReason.NO_ACTOR,  # nobody's end; watchers see it
    }


# --- a supervisor of hosts as a whole -------------------------------------------------------


async def test_rest_for_one_failed_restart_of_a_later_one_is_tried_again_alone() -> None:
    async with Three(HostSpec("b"), strategy=Strategy.REST_FOR_ONE) as three:
        three.refuses_start.append("c")
        await three.end("b")
        await three.until(lambda: three.log.count("+c") == 2 and three.all_up())
        assert three.log == ["-c", "+b", "+c", "+c"]


async def test_back_off_waits_before_the_next_start() -> None:
    patient = Backoff(min_s=0.2, max_s=0.2, jitter=0.0)
    async with Three(HostSpec("b"), backoff=patient) as three:
        began_s = host_of(three.system).now()
        await three.end("b")
        await three.until(lambda: three.log == ["+b"])
        assert host_of(three.system).now() - began_s >= 0.2


async def test_resting_host_comes_back_empty_with_its_group() -> None:
    b = HostSpec("b", restart=Restart.TRANSIENT)
    async with Three(b, strategy=Strategy.ONE_FOR_ALL) as three:
        old = await three.system.spawn(actors.Counter, host="b", name="old")
        await three.end("b", ENDED_NORMALLY)
        await three.until(lambda: (slot := three.slot("b")) is not None and bool(slot.final_epoch))
        await three.end("a")
        await three.until(lambda: three.log == ["-c", "+a", "+b", "+c"] and three.all_up())
        new = await three.system.spawn(actors.Counter, host="b", name="old")
        assert (await new.ask(actors.Ping(n=1))).n == 1
        assert new.address != old.address


@pytest.mark.parametrize(
    "auto_shutdown", [AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT]
)
async def test_auto_shutdown_ends_the_system(auto_shutdown: AutoShutdown) -> None:
    b = HostSpec("b", restart=Restart.TRANSIENT, significant=True)
    async with Three(b, auto_shutdown=auto_shutdown) as three:
        failed: list[Any] = []
        root_of(three.system)._on_failed = failed.append
        await three.end("b", ENDED_NORMALLY)
        await three.until(lambda: bool(failed))
        assert "significant" in failed[0].message
        assert three.log == ["-c", "-a"]
