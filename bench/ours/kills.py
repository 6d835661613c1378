"""`kills`: repeated kill -9 of random hosts, under a steady load of asks.

The driver asks actors in turn at a fixed rate, even while earlier asks are open. A seed draws the
host to kill. Every ask must have exactly one outcome: its reply, or `HostLost` if it was in flight.
"""

import os
from functools import partial
from typing import Any

import callboard
from bench.kills.load import Asked
from bench.kills.measure import measure_kills
from bench.ours.standing import KILLED_OFTEN, wait_until_standing
from bench.outcome import Outcome, Params
from callboard import Agent, Contract, Ref, Request, System, handler
from callboard.messages.core.errors import HostLost

__all__ = ["run"]


class Echo(Contract):
    """The number of the ask, the process, and whether the actor had seen the number before."""

    number: int
    process_id: int
    is_repeated: bool


class Say(Request[Echo]):
    """Ask for an echo of a number. An actor gets rising numbers."""

    number: int


class Worker(Agent):
    """Echoes numbers."""

    def __init__(self) -> None:
        self._last = -1

    @handler
    async def say(self, request: Say) -> Echo:
        """Echo a number, and check that it is new."""
        is_repeated = request.number <= self._last
        self._last = request.number
        return Echo(number=request.number, process_id=os.getpid(), is_repeated=is_repeated)


def _asked(ref: Ref[Any]) -> Asked:
    return Asked(ref.address.slot, lambda number: ref.ask(Say(number=number)))


def run(params: Params) -> Outcome:
    """Give all hosts the same load, with standbys."""

    async def main(system: System) -> Outcome:
        refs: list[Ref[Any]] = list(
            await system.spawn_many(Worker for _ in range(params["actors"]))
        )
        asked = [_asked(ref) for ref in refs]
        stand = partial(wait_until_standing, system, standbys=params["standbys"])
        return await measure_kills(asked, HostLost, params, stand)

    return callboard.run(
        main,
        hosts=params["hosts"],
        standbys=params["standbys"],
        host_supervision=KILLED_OFTEN,
    )
