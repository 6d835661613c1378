"""`failover`: kill -9 of the process of a host, until all its actors have answered again.

Every actor is asked at once after the kill, and an ask is repeated only when it fails
with `HostLost`: what has not left for the lost host simply waits for its understudy.
"""

import asyncio
import contextlib
import os
import signal

import callboard
from bench.ours.standing import KILLED_OFTEN, wait_until_standing
from bench.outcome import Outcome, Params, check_of_each
from bench.timing import median_and_worst, timed
from callboard import Agent, Contract, Ref, Request, System, handler
from callboard.messages.errors import HostLost

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


async def _ask_all(workers: list[Ref[Worker]]) -> list[Number]:
    """What each answers, in order; who was asked on a host that died is asked again."""
    answers: dict[int, Number] = {}
    while len(answers) < len(workers):
        missing = [place for place in range(len(workers)) if place not in answers]
        asks = []
        for start in range(0, len(missing), ASKED_AT_ONCE):
            places = missing[start : start + ASKED_AT_ONCE]
            asks += [(place, workers[place].ask(ReadNumber())) for place in places]
            await asyncio.sleep(0)
        for place, ask in asks:
            with contextlib.suppress(HostLost):
                answers[place] = await ask
    return [answers[place] for place in range(len(workers))]


def run(params: Params) -> Outcome:
    """One host with all actors, one understudy; killed so many times, each time once both stand."""

    async def main(system: System) -> Outcome:
        workers = await system.spawn_many(
            Worker, ((number,) for number in range(params["actors"])), host=HOST
        )
        process_id = (await _ask_all(workers))[0].process_id
        answered: list[int] = []
        took_ms: list[float] = []
        for _ in range(params["rounds"]):
            await wait_until_standing(system, understudies=1)
            with timed() as stopwatch:
                os.kill(process_id, signal.SIGKILL)
                async with asyncio.timeout(ALL_ANSWERING_TIMEOUT_S):
                    answers = await _ask_all(workers)
            took_ms.append(stopwatch.elapsed_ms)
            # An answer that the dying process still gave would prove nothing.
            answered += [answer.number for answer in answers if answer.process_id != process_id]
            process_id = answers[0].process_id
        return Outcome(median_and_worst("all_answering_ms", took_ms), check_of_each(answered))

    return callboard.run(main, hosts=1, understudies=1, host_supervision=KILLED_OFTEN)
