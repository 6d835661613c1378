"""Keyed actors when hosts die: one activation of a key, and no saved state is lost."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.props import props
from callboard.actors.keyed.actor import KeyedActor, StoreActor
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import AskError
from callboard.messages.storage.keyed_stores import EncodedState, MemoryStore
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System
from callboard.testing import Crash as CrashAt
from callboard.testing import Cut, FaultPlan, Hang, Simulation, simulate, simulated

from .disk import Add, AddSoon, Counter, Disk

HEARTBEATS: dict[str, Any] = {"heartbeat_s": 1.0, "heartbeats_missed_max": 3}


@pytest.fixture(autouse=True)
def disk() -> Iterator[None]:
    Disk.wipe()
    yield
    Disk.wipe()


async def add(system: System, user: str) -> tuple[int, str]:
    """Add one; repeat when the answer is lost."""
    async with asyncio.timeout(60.0):
        while True:
            try:
                reply = await system.ask(Add(user=user), timeout_s=20.0)
            except AskError:
                continue
            return reply.number, reply.host


async def kill(system: System, slot: int) -> None:
    await root_of(system).table.slots[slot].process.kill()


async def test_killed_hosts_keys_have_the_state_of_their_last_save() -> None:
    users = [f"u{n}" for n in range(20)]
    async with start(engine="inline", hosts=2) as system:
        store = await system.spawn(StoreActor, host=1)
        await system.keyed(Counter, store=store, save_every=1)
        before: dict[str, tuple[int, str]] = {}
        for turn in (1, 2, 3):
            before = {user: await add(system, user) for user in users}
            assert {number for number, _ in before.values()} == {turn}
        lost = [user for user, (_, host) in before.items() if host == "host-2"]
        assert 0 < len(lost) < 20
        await kill(system, 2)
        after = {user: await add(system, user) for user in users}
        assert {user: host for user, (_, host) in after.items()} == {
            user: host for user, (_, host) in before.items()
        }
        for user, (number, _) in after.items():
            # A running save may be lost when the host dies.
            assert number == 4 or (user in lost and number == 3)


async def test_tells_of_a_key_that_wait_for_its_next_host_keep_their_order() -> None:
    async with start(engine="inline", hosts=2, standbys=0) as system:
        await system.keyed(Lister)
        for user in "abcdefgh":
            for number in range(5):
                system.tell(Append(user=user, number=number))
        await kill(system, 1)
        for user in "abcdefgh":
            for number in range(5, 10):
                system.tell(Append(user=user, number=number))
        for user in "abcdefgh":
            numbers = (await system.ask(Numbers(user=user))).numbers
            assert list(numbers) in ([*range(10)], [*range(5, 10)])


class NumbersOf(Contract, name="keyed.numbers_of"):
    numbers: tuple[int, ...]


class Numbers(Request[NumbersOf], name="keyed.numbers"):
    user: str


class Append(Contract, name="keyed.append"):
    user: str
    number: int


class Lister(KeyedActor):
    key: ClassVar[str] = "user"

    def __init__(self) -> None:
        self.numbers: list[int] = []

    @handler
    async def append(self, message: Append) -> None:
        self.numbers.append(message.number)

    @handler
    async def read(self, request: Numbers) -> NumbersOf:
        return NumbersOf(numbers=tuple(self.numbers))


@simulated(hosts=2, standbys=1)
async def test_store_lost_with_its_memory_gets_the_states_of_living_activations_again(
    sim: Simulation,
) -> None:
    store = await sim.system.spawn(StoreActor, host=1)
    await sim.system.keyed(Counter, store=store, save_every=1, idle_s=5.0)
    users = [f"u{n}" for n in range(20)]
    before: dict[str, tuple[int, str]] = {}
    for _ in range(3):
        before = {user: await add(sim.system, user) for user in users}
    sim.crash(1)
    await sim.advance(1.0)
    alive = [user for user, (_, host) in before.items() if host == "host-2"]
    assert [(await add(sim.system, user))[0] for user in alive] == [4] * len(alive)
    await sim.advance(30.0)  # All keys have passivated by then.
    assert [(await add(sim.system, user))[0] for user in alive] == [5] * len(alive)


@simulated(hosts=2, standbys=2)
@pytest.mark.parametrize("is_durable", [False, True])
async def test_store_and_key_regions_lost_together_have_the_states_of_the_store(
    sim: Simulation, is_durable: bool
) -> None:
    store = await (
        sim.system.spawn(props(StoreActor, Disk()), host=1)
        if is_durable
        else sim.system.spawn(StoreActor, host=1)
    )
    await sim.system.keyed(Counter, store=store, save_every=1)
    users = [f"u{n}" for n in range(20)]
    for _ in range(3):
        for user in users:
            await add(sim.system, user)
    await sim.advance(1.0)
    sim.crash(1)
    sim.crash(2)
    numbers = {(await add(sim.system, user))[0] for user in users}
    assert numbers == ({4} if is_durable else {1})


class Watched(MemoryStore):
    """Records the saves that it has acknowledged; its host stays."""

    acknowledged: ClassVar[dict[str, list[int]]] = {}

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        saved = await super().save(kind, key, state, version)
        assert state is not None
        Watched.acknowledged.setdefault(key, []).append(_number_in(state.body))
        return saved


def _number_in(body: bytes) -> int:
    import msgpack

    data = msgpack.unpackb(body, strict_map_key=False)
    found = data["number"] if isinstance(data, dict) else data[0]
    assert isinstance(found, int)
    return found


FAULTS = FaultPlan(
    (
        Hang(at_s=2.0, host=2, for_s=12.0),
        CrashAt(at_s=4.0, host=3),
        Cut(at_s=8.0, host=1, other=3, for_s=6.0),
        Hang(at_s=20.0, host=3, for_s=15.0),
        Cut(at_s=22.0, host=0, other=2, for_s=5.0, both=False),
    )
)


async def steady(sim: Simulation, user: str, got: list[int]) -> None:
    while sim.now_s < 32.0:
        try:
            got.append((await sim.system.ask(Add(user=user), timeout_s=5.0)).number)
        except AskError:
            await sim.advance(0.2)
        await sim.advance(0.1 + 0.4 * sim.random.random())


async def one_run(sim: Simulation, faults: FaultPlan) -> None:
    store = await sim.system.spawn(props(StoreActor, Watched()), host=1)
    await sim.system.keyed(Counter, store=store, save_every=3, idle_s=3.0)
    sim.apply(faults)
    got: dict[str, list[int]] = {f"u{n}": [] for n in range(3)}
    await asyncio.gather(*(steady(sim, user, numbers) for user, numbers in got.items()))
    await sim.all_up()
    for user, numbers in got.items():
        assert len(numbers) > 15
        saved = Watched.acknowledged[user]
        assert saved == sorted(saved), "a save went back"
        # An answer shows a handled message: after a loss, the key continues from a save.
        for early, late in itertools.pairwise(numbers):
            assert late > early or late - 1 in saved or late - 1 == 0, (user, early, late)
        floor = saved[-1]
        assert (await add(sim.system, user))[0] > floor


@pytest.mark.parametrize("seed", range(20))
def test_old_incarnation_never_takes_a_key_below_an_acknowledged_save(seed: int) -> None:
    Watched.acknowledged = {}
    simulate(
        functools.partial(one_run, faults=FAULTS), seed=seed, hosts=3, standbys=1, **HEARTBEATS
    )


@simulated(hosts=2, standbys=1, seeds=3, **HEARTBEATS)
async def test_old_incarnation_that_wakes_up_cannot_save_to_a_store_it_still_reaches(
    sim: Simulation,
) -> None:
    """The versions protect a store that is outside the links."""
    Disk.wipe()
    await sim.system.keyed(Counter, store=Disk(), save_after_s=8.0, idle_s=1_000.0)
    users = [f"u{n}" for n in range(12)]
    for user in users:
        await add(sim.system, user)
    await sim.advance(12.0)
    for user in users:
        sim.system.tell(AddSoon(user=user, number=1_000))
    await sim.advance(0.5)
    with undead(sim, 2):
        sim.hang(2, 40.0)
        await sim.advance(8.0)
        numbers = {}
        for _ in range(3):
            for user in users:
                numbers[user], _ = await add(sim.system, user)
            await sim.advance(9.0)
        assert Disk.conflicts == 0
        await sim.advance(30.0)
    assert Disk.conflicts > 0, "the old incarnation has tried to save"
    for user in users:
        number, _ = await add(sim.system, user)
        assert number == numbers[user] + 1
    assert {numbers[user] for user in users} == {4, 1_004}


@contextlib.contextmanager
def undead(sim: Simulation, slot: int) -> Iterator[None]:
    """Let the process of a slot survive its kill, with a false proof that it has ended."""
    process = sim._simulated.process(slot)

    async def at_once() -> None:
        """As if the kernel had said so."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "die", lambda _: process._engine.network.fail_calls_to(process))
        patch.setattr(process, "until_ended", at_once)
        yield
    process.die("dies")
