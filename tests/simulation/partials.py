"""The scenario of streamed results: agents yield partial results while hosts die.

Readers of `ref.stream` get the items in order, and each of their waits ends within its timeout.

Whoever reads an execution's updates gets those of each attempt in their order, from the first one
on, and knows how many it missed. A result comes whatever became of its partial results, and no
agent waits for room for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from callboard.actors.kernel.actor import Agent, handler
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, HandlerFailed
from callboard.messages.core.ref import Ref
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import SubTask
from callboard.messages.jobs.retry import RetryPolicy
from callboard.messages.jobs.updates import SubTaskPartial

from .message_log import current_message_log
from .run import Run
from .scenario_fixture import BUSY_S, HOSTS, ScenarioFixture, open_fixture, run_under_faults

__all__ = ["PoetAgent", "partials"]

LATE_S = 0.3
"""How late a host sees a deadline: a process may be slow."""
WORDS_MAX = 40
"""More than the window of an attempt."""


class Word(Contract, name="sim.word"):
    """A partial result: its place in the poem, from 0."""

    poem: int
    place: int


class Poem(Contract, name="sim.poem"):
    """The result: the number of its words."""

    words: int


class Write(Request[Poem], name="sim.write"):
    """Write a poem."""

    poem: int
    words: int


class PoetAgent(Agent):
    """Yields words; sometimes it fails midway, sometimes it is slow."""

    @handler
    async def write(self, request: Write) -> AsyncIterator[Word | Poem]:
        """Yield each word, and then the poem."""
        chance = current_message_log().random()
        for place in range(request.words):
            if chance < 0.1 and place > request.words * chance * 10:
                raise OSError("a transient failure")
            if chance > 0.7:
                await asyncio.sleep(0.05 * (chance - 0.7))
            yield Word(poem=request.poem, place=place)
        yield Poem(words=request.words)


async def partials(run: Run) -> None:
    """Jobs of streaming agents on a pool with dying hosts, each with a reader; and streams."""
    async with open_fixture(run) as fixture:
        await fixture.system.pool(PoetAgent, size=4)
        poets: list[Ref[Any]] = [
            await fixture.system.spawn(PoetAgent, host=1 + place % HOSTS) for place in range(2)
        ]
        await run_under_faults(
            fixture,
            _execute(fixture, 12),
            _execute(fixture, 6),
            *(_read(fixture, poets) for _ in range(6)),
            count=3,
        )
        await _execute(fixture, 3, is_healed=True)
        await _read(fixture, poets, is_healed=True)


async def _read(
    fixture: ScenarioFixture, poets: Sequence[Ref[Any]], *, is_healed: bool = False
) -> None:
    """Read a stream; the reader may be slow, stall or leave."""
    draw, run = fixture.draw, fixture.run
    if not is_healed:
        await fixture.later(BUSY_S)
    words, leaves_at = (int(draw() * WORDS_MAX) for _ in range(2))
    timeout_s = 5.0 if is_healed else 0.2 + draw()
    pause_s = 0.0 if is_healed or draw() < 0.6 else 1.3 * timeout_s * draw() ** 3
    leaves = not is_healed and draw() < 0.3
    now = asyncio.get_running_loop().time
    place, since_s, poem = 0, now(), None
    request = Write(poem=0, words=words)
    try:
        async with aclosing(
            fixture.some(poets).stream(request, Word, timeout_s=timeout_s)
        ) as items:
            async for item in items:
                if isinstance(item, Poem):
                    poem = item
                elif item.place != place:
                    run.complain("partials_in_order", f"item {item.place} comes at {place}")
                place += isinstance(item, Word)
                if leaves and place >= leaves_at:
                    return
                if pause_s:
                    await asyncio.sleep(pause_s)
                since_s = now()
    except CallboardError as error:
        run.world.trace.add(error.code)
        if is_healed and not isinstance(error, HandlerFailed):
            run.complain("execution_is_right", f"without faults: {error}")
    else:
        if poem is None or poem.words != place or place != words:
            run.complain("partials_in_order", f"a stream of {words} ends after {place}: {poem}")
    if now() - since_s > timeout_s + pause_s + LATE_S:
        run.complain("within_deadline", f"a reader waited {now() - since_s} s, not {timeout_s} s")


async def _execute(fixture: ScenarioFixture, tasks: int, *, is_healed: bool = False) -> None:
    if not is_healed:
        await fixture.later(BUSY_S / 2)
    draw, run = fixture.draw, fixture.run
    lengths = [int(draw() * WORDS_MAX) for _ in range(tasks)]
    parts = [SubTask(f"t{n}", Write(poem=n, words=words)) for n, words in enumerate(lengths)]
    job: Job[Any, Any] = Job(
        name="poems",
        decompose=lambda _: parts,
        task_retry=RetryPolicy(
            attempts_max=20 if is_healed else 4, backoff_min_s=0.02, backoff_max_s=0.5
        ),
        task_timeout_s=10.0 if is_healed else 0.5 + 2.0 * draw(),
        timeout_s=40.0 if is_healed else 3.0 + 10.0 * draw(),
        threads=frozenset(),
    )
    handle = fixture.system.submit(job, Write(poem=0, words=0))
    newest: dict[tuple[str, int], int] = {}
    missed = 0
    async for update in handle.updates():
        if not isinstance(update, SubTaskPartial):
            continue
        missed += update.skipped
        attempt = (update.task_id, update.attempt)
        number, place = update.number, update.value.place
        expected = newest.get(attempt, 0) + 1
        if place != number - 1 or number < expected or (number > expected and not missed):
            run.complain("partials_in_order", f"{attempt} has {number} ({place}) at {expected}")
        newest[attempt] = number
    try:
        result = await handle.result(timeout_s=60.0)
    except CallboardError as error:
        run.world.trace.add(error.code)
        if is_healed:
            run.complain("execution_is_right", f"without faults: {error}")
        return
    if [poem.words for poem in result] != lengths:
        run.complain("execution_is_right", f"the result is {result}")
    last = {task: number for (task, _), number in sorted(newest.items())}
    for task, words in enumerate(lengths):
        if not missed and last.get(f"t{task}", 0) != words:
            run.complain("partials_in_order", f"t{task} has {words}, and its reader {last}")
