"""`failover`: from kill -9 of a host's process until all its actors have answered again.

The bench asks every actor right after the kill. It repeats an ask at once if it fails with
`HostLost`. An ask that was not yet sent to the lost host waits for the standby.
"""

import asyncio
import os
import signal
from collections import deque
from functools import partial

import callboard
from bench.ours.standing import KILLED_OFTEN, wait_until_standing
from bench.outcome import Outcome, Params, check_of_each
from bench.timing import median_and_worst, timed
from callboard import Agent, Contract, Ref, Request, System, handler
from callboard.actors.kernel.props import props
from callboard.messages.core.errors import HostLost

__all__ = ["run"]

ALL_ANSWERING_TIMEOUT_S = 60.0
ASKED_AT_ONCE = 500
"""Asks per turn of the event loop, which also runs the root that replaces the host."""
HOST = 1


class Number(Contract):
    """The number of an actor, and its process."""

    number: int
    process_id: int


class ReadNumber(Request[Number]):
    """Ask for the number."""


class Worker(Agent):
    """Has a number."""

    def __init__(self, number: int) -> None:
        self._number = number

    @handler
    async def number(self, request: ReadNumber) -> Number:
        """Give the number."""
        return Number(number=self._number, process_id=os.getpid())


class Asking:
    """One ask to each worker, repeated at once when it fails with `HostLost`."""

    def __init__(self, workers: list[Ref[Worker]]) -> None:
        self._workers = workers
        self._answers: dict[int, Number] = {}
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._to_ask = deque(range(len(workers)))

    async def all_answers(self) -> list[Number]:
        """The answers of all workers, in order."""
        self._ask_some()
        await self._done
        return [self._answers[place] for place in range(len(self._workers))]

    def _ask_some(self) -> None:
        for _ in range(min(ASKED_AT_ONCE, len(self._to_ask))):
            place = self._to_ask.popleft()
            ask = asyncio.ensure_future(self._workers[place].ask(ReadNumber()))
            ask.add_done_callback(partial(self._settled, place))
        if self._to_ask:
            self._loop.call_soon(self._ask_some)

    def _settled(self, place: int, ask: "asyncio.Future[Number]") -> None:
        error = ask.exception()
        if isinstance(error, HostLost):
            self._to_ask.append(place)
            if len(self._to_ask) == 1:
                self._loop.call_soon(self._ask_some)
        elif error is not None:
            if not self._done.done():
                self._done.set_exception(error)
        else:
            self._answers[place] = ask.result()
            if len(self._answers) == len(self._workers):
                self._done.set_result(None)


def run(params: Params) -> Outcome:
    """Kill the host of all actors repeatedly, each time when the host and a standby are up."""

    async def main(system: System) -> Outcome:
        workers = await system.spawn_many(
            (props(Worker, number) for number in range(params["actors"])), host=HOST
        )
        process_id = (await Asking(workers).all_answers())[0].process_id
        answered: list[int] = []
        took_ms: list[float] = []
        for _ in range(params["rounds"]):
            await wait_until_standing(system, standbys=1)
            with timed() as stopwatch:
                os.kill(process_id, signal.SIGKILL)
                async with asyncio.timeout(ALL_ANSWERING_TIMEOUT_S):
                    answers = await Asking(workers).all_answers()
            took_ms.append(stopwatch.elapsed_ms)
            # An answer of the dying process proves nothing.
            answered += [answer.number for answer in answers if answer.process_id != process_id]
            process_id = answers[0].process_id
        return Outcome(median_and_worst("all_answering_ms", took_ms), check_of_each(answered))

    return callboard.run(main, hosts=1, standbys=1, host_supervision=KILLED_OFTEN)
