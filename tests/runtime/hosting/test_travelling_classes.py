"""Classes that travel by value, as those of a driver's `__main__`: they leave nothing behind."""

import gc
import os
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import callboard
from callboard import Actor, Contract, Request, System, handler, props
from callboard.actors.kernel.actor import Behaviour, Handler, behaviour_of
from callboard.messages.core.contract import ContractInfo
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.hosting.wiring import CloudPickler

WATCHED = (Behaviour, Handler, ContractInfo, types.FunctionType, type)
SPAWNS = 200


def made_classes() -> tuple[Any, Any, Any]:
    """Two actor classes and a contract that no other process can import."""

    class Pong(Contract, name="tests.travelling.pong"):
        n: int

    class Ping(Request[Pong], name="tests.travelling.ping"):
        n: int

    class Echo(Actor):
        def __init__(self, step: int = 0, contract: type[Contract] | None = None) -> None:
            self.step = step

        @handler
        async def ping(self, request: Ping) -> Pong:
            return Pong(n=request.n + self.step)

    class Twice(Echo):
        @handler
        async def ping(self, request: Ping) -> Pong:
            return Pong(n=2 * request.n)

    for cls in (Echo, Twice):
        cls.ping.__annotations__ |= {"request": Ping, "return": Pong}
    return Echo, Twice, Ping


def counted() -> dict[type, int]:
    """The living objects of the watched types."""
    gc.collect()
    counts = Counter(map(type, gc.get_objects()))
    return {kind: counts[kind] for kind in WATCHED}


async def use(system: System, classes: Any, times: int) -> None:
    echo, twice, ping = classes
    for n in range(times):
        one = await system.spawn(props(echo, 1, ping))
        both = await system.spawn_many([twice, echo])
        answers = [await ref.ask(ping(n=n)) for ref in (one, *both)]
        assert [answer.n for answer in answers] == [n + 1, 2 * n, n]
        for ref in (one, *both):
            await system.stop(ref)


async def test_each_start_of_a_travelling_class_leaves_nothing_on_its_host() -> None:
    classes = made_classes()
    async with callboard.start(engine="inline", hosts=1) as system:
        await use(system, classes, 10)
        before = counted()
        await use(system, classes, SPAWNS // 3)
        after = counted()
    grown = {kind.__name__: after[kind] - before[kind] for kind in WATCHED}
    assert all(number < SPAWNS // 20 for number in grown.values()), grown


async def test_nothing_of_the_kernel_lies_on_a_users_actor_class() -> None:
    echo = made_classes()[0]
    async with callboard.start(engine="inline", hosts=1) as system:
        await system.spawn(echo)
    assert not [name for name in vars(echo) if "callboard" in name]


def _bound(address: Address) -> Ref[Any]:
    raise AssertionError(address)


def test_equal_code_is_loaded_once_and_gives_the_same_class() -> None:
    echo, _, _ = made_classes()
    sender, receiver = CloudPickler(_bound), CloudPickler(_bound)
    # Both before the first is read: in one process, reading gives the sender's class new methods.
    packed = [sender.dumps([(echo, number)]) for number in (1, 2)]
    first = receiver.loads(packed[0])
    method, behaviour = first[0][0].ping, behaviour_of(first[0][0])
    second = receiver.loads(packed[1])
    assert second[0][0] is first[0][0]
    assert second[0][0].ping is method
    assert behaviour_of(second[0][0]) is behaviour
    assert second[0][1] == 2


def test_changed_code_of_a_class_replaces_its_dispatch_table() -> None:
    """A notebook redefines what a class uses: the next start has the new code."""
    echo, _, ping = made_classes()
    sender, receiver = CloudPickler(_bound), CloudPickler(_bound)
    (loaded,) = receiver.loads(sender.dumps([echo]))
    behaviour = behaviour_of(loaded)
    other = made_classes()[0].ping
    other.__annotations__ = dict(echo.ping.__annotations__)
    echo.ping = other  # As a notebook would.
    echo.note = "changed"
    (again,) = receiver.loads(sender.dumps([echo]))
    assert again.note == "changed"
    assert behaviour_of(again) is not behaviour
    assert behaviour_of(again).handlers[ping].function is again.ping


def test_pickles_without_a_part_for_classes_are_read() -> None:
    """Those of a detached system that an earlier release has started."""
    data = cloudpickle.dumps([1, "two", {"three": 3}])
    assert CloudPickler(_bound).loads(data) == [1, "two", {"three": 3}]


DRIVER = """
import asyncio, sys
import callboard
from callboard import Actor, Contract, Request, System, handler

class Weighed(Contract):
    kilobytes: int

class Weigh(Request[Weighed]):
    pass

class Scale(Actor):
    @handler
    async def weigh(self, request: Weigh) -> Weighed:
        import gc
        gc.collect()
        with open("/proc/self/smaps_rollup") as rollup:
            private = [line.split()[1] for line in rollup if line.startswith("Private_Dirty")]
        return Weighed(kilobytes=int(private[0]))

async def weigh(system: System) -> int:
    ref = await system.spawn(Scale)
    found = await ref.ask(Weigh())
    await system.stop(ref)
    return found.kilobytes

async def spawns(system: System, count: int) -> None:
    async def some(each: int) -> None:
        for _ in range(each):
            await system.stop(await system.spawn(Scale))
    await asyncio.gather(*(some(count // 20) for _ in range(20)))

async def main(system: System) -> None:
    await spawns(system, int(sys.argv[1]) // 10)
    before = await weigh(system)
    await spawns(system, int(sys.argv[1]))
    print("grown", await weigh(system) - before)

callboard.run(main, hosts=1, standbys=0, journal="off")
"""


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hundred_thousand_starts_of_a_drivers_class_leave_its_host_as_it_was(
    tmp_path: Path,
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, str(driver), os.environ.get("CALLBOARD_TEST_SPAWNS", "100000")],
        capture_output=True,
        text=True,
        timeout=1_700,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout.split("grown ")[1].split()[0])
    assert grown < 8_000, f"{grown} KB more than before"
