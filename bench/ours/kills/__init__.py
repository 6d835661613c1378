"""`kills`: kill -9 of random hosts, again and again, under a steady load of asks.

The driver asks at a fixed rate, whoever's turn it is, whether or not what was asked before
has been answered; which host is killed is drawn from a seed. Every ask must have exactly
one outcome: its reply, or `HostLost` when it was on its way. `recovery.py` says how long
the rate of answers takes to be back.
"""

import asyncio
import os
import random
import signal
import time
from typing import Any

import callboard
from bench.linux import descendants, open_descriptors
from bench.memory import own_bytes
from bench.ours.standing import KILLED_OFTEN, wait_until_standing
from bench.outcome import Outcome, Params, check_of
from bench.timing import median_and_worst
from callboard import Agent, Contract, Ref, Request, System, handler

from .load import Load
from .recovery import BUCKET_S, recoveries_s, steady_rate

__all__ = ["run"]

WARM_UP_S = 1.0
MS_PER_S = 1_000


class Echo(Contract):
    """The number of the ask, from which process, and whether the actor had seen it before."""

    number: int
    process_id: int
    is_repeated: bool


class Say(Request[Echo]):
    """Ask to have a number said again; an actor is asked rising ones."""

    number: int


class Worker(Agent):
    """Says numbers again."""

    def __init__(self) -> None:
        self._last = -1

    @handler
    async def say(self, request: Say) -> Echo:
        """Once each."""
        is_repeated = request.number <= self._last
        self._last = request.number
        return Echo(number=request.number, process_id=os.getpid(), is_repeated=is_repeated)


class Killer:
    """Kills hosts, as chance will have it."""

    def __init__(self, load: Load, params: Params) -> None:
        self.times_s: list[float] = []
        self._load = load
        self._chance = random.Random(params["seed"])
        self._every_s = params["interval_ms"] / MS_PER_S
        self._killed: set[int] = set()

    async def kill(self, until: int) -> None:
        """Kill one after another, until there have been so many."""
        slots = sorted(self._load.processes)
        next_s = time.monotonic()
        while len(self.times_s) < until:
            chosen = self._chance.choice(slots)
            # One that has not answered since it was killed cannot be killed: the next one is.
            turn = slots[slots.index(chosen) :] + slots[: slots.index(chosen)]
            alive = (self._load.processes[slot] for slot in turn)
            process_id = next((pid for pid in alive if pid not in self._killed), None)
            if process_id is not None:
                self._killed.add(process_id)
                self.times_s.append(time.monotonic())
                os.kill(process_id, signal.SIGKILL)
            next_s += self._every_s
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))


def _memory(when: str) -> dict[str, float]:
    found = own_bytes()
    return {} if found is None else {f"driver_{when}_bytes": float(found)}


def _footprint(when: str) -> dict[str, float]:
    """What must not grow."""
    found = {f"processes_{when}": descendants(), f"descriptors_{when}": open_descriptors()}
    counts = {name: float(value) for name, value in found.items() if value is not None}
    return _memory(when) | counts


def _results(load: Load, kills_s: list[float], until_s: float) -> dict[str, float]:
    # The last bucket is not full, and before the first kill the load was warming up.
    rates = load.rates(from_s=kills_s[0], until_s=until_s)
    back_ms = [value * MS_PER_S for value in recoveries_s(rates, kills_s)]
    results = {
        "answers_per_s": steady_rate(rates),
        "asks": float(load.asked),
        "bucket_ms": BUCKET_S * MS_PER_S,
        **median_and_worst("back_at_90_percent_ms", back_ms),
    }
    return results | {f"outcome_{kind}": float(count) for kind, count in load.kinds.items()}


def run(params: Params) -> Outcome:
    """All hosts get the same load; understudies stand by."""

    async def main(system: System) -> Outcome:
        understudies = params["understudies"]
        workers: list[Ref[Any]] = list(
            await system.spawn_many(Worker, (() for _ in range(params["actors"])))
        )
        await wait_until_standing(system, understudies=understudies)
        lasts_s = WARM_UP_S + params["kills"] * params["interval_ms"] / MS_PER_S
        load = Load(workers, params["asks_per_s"], Say, round(lasts_s * params["asks_per_s"]))
        loading = asyncio.create_task(load.run())
        await asyncio.sleep(WARM_UP_S)
        begin = _footprint("begin")
        killer = Killer(load, params)
        await killer.kill(params["kills"] // 2)
        middle = _memory("middle")  # What is needed once only is there by now.
        await killer.kill(params["kills"])
        until_s = time.monotonic()
        await load.stop(loading)
        await wait_until_standing(system, understudies=understudies)
        results = _results(load, killer.times_s, until_s) | begin | middle | _footprint("end")
        return Outcome(results, check_of({"kills": len(killer.times_s), **load.faults()}))

    return callboard.run(
        main,
        hosts=params["hosts"],
        understudies=params["understudies"],
        host_supervision=KILLED_OFTEN,
    )
