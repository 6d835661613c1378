"""`failover`: kill -9 of the process of a host, until all its actors have answered again.

Every actor is asked at once after the kill, and an ask is repeated, as soon as it fails, only
when that is with `HostLost`: what has not left for the lost host simply waits for its standby.
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
"""Asks before the event loop's next turn: the root that replaces the host lives on it too."""
HOST = 1


class Number(Contract):
    """The number an actor was given, and the process that says it."""

    number: int
    process_id: int


class ReadNumber(Request[Number]):
    """Ask for it."""


class Worker(Agent):
    """Knows the number it was given."""

    def __init__(self, number: int) -> None:
        self._number = number

    @handler
    async def number(self, request: ReadNumber) -> Number:
        """Tell it."""
        return Number(number=self._number, process_id=os.getpid())


class Asking:
    """One ask of each worker, repeated as soon as it fails with `HostLost`."""

    def __init__(self, workers: list[Ref[Worker]]) -> None:
        self._workers = workers
        self._answers: dict[int, Number] = {}
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._to_ask = deque(range(len(workers)))

    async def all_answers(self) -> list[Number]:
        """What each answers, in order."""
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
    """One host with all actors, one standby; killed so many times, each time once both stand."""

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
            # An answer that the dying process still gave would prove nothing.
            answered += [answer.number for answer in answers if answer.process_id != process_id]
            process_id = answers[0].process_id
        return Outcome(median_and_worst("all_answering_ms", took_ms), check_of_each(answered))

    return callboard.run(main, hosts=1, standbys=1, host_supervision=KILLED_OFTEN)
