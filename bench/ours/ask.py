"""`ask`: the driver's process asks one actor in a host's process, with contracts checked.

Pipelined: several askers send a window of asks and then take all its replies, so that the requests
of the others are in flight while one takes its replies. Then one ask at a time.
"""

import asyncio
import itertools
import time
from typing import Any

import callboard
from bench.outcome import Outcome, Params, check_of_each
from bench.timing import round_trip_results, timed
from bench.workload import ask_reply, ask_request
from callboard import Agent, Contract, Ref, Request, System, handler

__all__ = ["Answer", "Answerer", "Question", "measure_asks", "run"]

IN_FLIGHT_MAX = 4_000
"""Asks in flight at once. More were not faster."""
ASKERS = 4


class Answer(Contract):
    """One number, one text."""

    number: int
    text: str


class Question(Request[Answer]):
    """One number, one text."""

    number: int
    text: str


class Answerer(Agent):
    """Answers questions."""

    @handler
    async def answer(self, question: Question) -> Answer:
        """Give the answer that the workload defines."""
        return Answer(**ask_reply(question.number, question.text))


async def _ask_each(answerer: Ref[Any], numbers: range) -> list[Answer]:
    answers: list[Answer] = []
    window = IN_FLIGHT_MAX // ASKERS
    for start in range(0, len(numbers), window):
        asks = [
            answerer.ask(Question(**ask_request(number)))
            for number in numbers[start : start + window]
        ]
        answers += [await ask for ask in asks]
    return answers


async def _ask_all(answerer: Ref[Any], count: int) -> list[Answer]:
    """The answers to `count` questions, in order."""
    bounds = [count * turn // ASKERS for turn in range(ASKERS + 1)]
    parts = [range(start, end) for start, end in itertools.pairwise(bounds)]
    answers = await asyncio.gather(*(_ask_each(answerer, part) for part in parts))
    return [answer for part in answers for answer in part]


async def _ask_one_by_one(answerer: Ref[Any], count: int) -> list[int]:
    round_trips_ns = []
    for number in range(count):
        question = Question(**ask_request(number))
        start_ns = time.perf_counter_ns()
        await answerer.ask(question)
        round_trips_ns.append(time.perf_counter_ns() - start_ns)
    return round_trips_ns


async def measure_asks(answerer: Ref[Any], params: Params) -> Outcome:
    """Asks from this process to an actor that answers a `Question`."""
    await _ask_all(answerer, params["warm_up"])
    with timed() as pipelined:
        answers = await _ask_all(answerer, params["messages"])
    round_trips_ns = await _ask_one_by_one(answerer, params["round_trips"])
    results = {"pipelined_per_s": pipelined.per_s(len(answers))}
    return Outcome(
        results | round_trip_results(round_trips_ns),
        check_of_each(answer.model_dump() for answer in answers),
    )


def run(params: Params) -> Outcome:
    """Asks from the driver to one actor on one host."""

    async def main(system: System) -> Outcome:
        return await measure_asks(await system.spawn(Answerer), params)

    return callboard.run(main, hosts=1, standbys=0)
