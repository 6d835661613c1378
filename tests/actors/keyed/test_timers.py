"""Timers of keyed actors: they are no use, and never meet a passivation half-way."""

import asyncio
from typing import ClassVar

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import KeyedActor
from callboard.messages.core.contract import Contract, Request
from callboard.testing import Simulation, simulated

IDLE_S = 2.0


class Ticked(Contract, name="keyed_timers.ticked"):
    user: str


class State(Contract, name="keyed_timers.state"):
    ticks: int
    activations: int


class AskState(Request[State], name="keyed_timers.query"):
    user: str


class Stop(Contract, name="keyed_timers.stop"):
    user: str
    number: int


class Ticks(KeyedActor):
    """It counts its ticks, each of which takes a while."""

    key: ClassVar[str] = "user"
    is_in_tick: ClassVar[bool] = False
    takes_s: ClassVar[float] = 0.05

    def __init__(self) -> None:
        self.state = State(ticks=0, activations=0)

    def snapshot(self) -> State:
        assert not Ticks.is_in_tick, "a state that is half done"
        return self.state

    def restore(self, state: State | None) -> None:
        if state is not None:
            self.state = state

    async def started(self, ctx: Context) -> None:
        self.state = self.state.model_copy(update={"activations": self.state.activations + 1})
        ctx.send_every(0.25, Ticked(user="u"))

    @handler
    async def tick(self, message: Ticked) -> None:
        Ticks.is_in_tick = True
        await asyncio.sleep(self.takes_s)
        self.state = self.state.model_copy(update={"ticks": self.state.ticks + 1})
        Ticks.is_in_tick = False

    @handler
    async def query(self, request: AskState) -> State:
        return self.state


class Slow(Ticks):
    """Its ticks take longer than it may be idle."""

    takes_s: ClassVar[float] = 3.0


@simulated(hosts=1)
async def test_an_actor_with_a_timer_is_passivated_after_its_last_message(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Ticks, idle_s=IDLE_S)
    first = await sim.system.ask(AskState(user="u"))
    await sim.advance(20.0)
    later = await sim.system.ask(AskState(user="u"))
    assert (first.activations, later.activations) == (1, 2)
    assert 1 <= later.ticks <= (IDLE_S + 2.0) / 0.25, "its timer ended with it"


@simulated(hosts=1)
async def test_messages_of_others_keep_an_actor_with_a_timer_active(sim: Simulation) -> None:
    await sim.system.keyed(Ticks, idle_s=IDLE_S)
    for _ in range(20):
        assert (await sim.system.ask(AskState(user="u"))).activations == 1
        await sim.advance(1.0)


@simulated(hosts=1)
async def test_a_message_of_a_timer_is_handled_to_its_end_before_the_state_is_saved(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Slow, idle_s=IDLE_S)
    await sim.system.ask(AskState(user="u"))
    await sim.advance(20.0)
    assert (await sim.system.ask(AskState(user="u"), timeout_s=20.0)).ticks >= 1


class Quits(KeyedActor):
    """It stops after each message, so that the rest go to its next activation."""

    key: ClassVar[str] = "user"
    seen: ClassVar[list[int]] = []

    @handler
    async def stop(self, message: Stop, ctx: Context) -> None:
        Quits.seen.append(message.number)
        await asyncio.sleep(0.01)
        ctx.stop()


@simulated(hosts=1)
async def test_messages_that_an_ending_actor_gives_back_keep_their_order(sim: Simulation) -> None:
    Quits.seen.clear()
    await sim.system.keyed(Quits)
    for number in range(12):
        sim.system.tell(Stop(user="u", number=number))
    await sim.advance(30.0)
    assert Quits.seen == list(range(12))
