"""Deadlines and cancellation reach what they started, wherever it runs."""

import asyncio
import time
from typing import Any

import pytest

from callboard.messages.core.errors import DeadlineExceeded
from callboard.messages.core.ref import Ref
from callboard.runtime.api.system import System

from . import fixture_actors as actors

pytestmark = pytest.mark.asyncio(loop_scope="session")

LATE_S = 2.0
"""How late an expiry may be seen on a loaded machine; the deadlines here are shorter."""


async def hangers(system: System, *hosts: int) -> list[Ref[Any]]:
    return [await system.spawn(actors.Hanger, host=host) for host in hosts]


async def expect(recorder: Ref[Any], prefix: str, count: int = 1) -> tuple[str, ...]:
    heard = await recorder.ask(actors.Expect(prefix=prefix, count=count), timeout_s=20.0)
    return heard.events


@pytest.mark.parametrize("host", [1, 2])
async def test_deadline_cancels_the_handler(system: System, recorder: Ref[Any], host: int) -> None:
    (hanger,) = await hangers(system, host)
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        await hanger.ask(actors.Hang(recorder=recorder, label="one"), timeout_s=0.3)
    assert 0.3 <= time.monotonic() - began_s < 0.3 + LATE_S
    assert caught.value.may_have_run is True
    await expect(recorder, "one ended")
    assert (await hanger.ask(actors.Ping(n=1))).n == 1


async def test_deadline_reaches_nested_asks_on_other_hosts(
    system: System, recorder: Ref[Any]
) -> None:
    first, second, third = await hangers(system, 1, 2, 1)
    with pytest.raises(DeadlineExceeded):
        await first.ask(
            actors.Hang(recorder=recorder, label="deep", to=(second, third)), timeout_s=0.5
        )
    ended = await expect(recorder, "deep ended", 3)
    assert "deep ended 0 cancelled" in ended
    assert sorted(text.split()[2] for text in ended) == ["0", "1", "2"]


async def test_deadline_shrinks_through_nested_asks(system: System) -> None:
    first, second, third = await hangers(system, 1, 2, 1)
    heard = await first.ask(actors.Remaining(to=(second, third)), timeout_s=5.0)
    left = [float(text) for text in heard.events]
    grown_s = 0.0011  # A frame carries whole milliseconds, rounded up.
    assert 5.0 + grown_s >= left[0] > 4.0
    assert left[0] + grown_s >= left[1] > 4.0
    assert left[1] + grown_s >= left[2] > 4.0
    shorter = await first.ask(actors.Remaining(to=(second, third)), timeout_s=2.0)
    assert all(1.0 < float(text) < 2.1 for text in shorter.events)


async def test_inner_timeout_over_the_outer_deadline_does_not_extend_it(
    system: System, recorder: Ref[Any]
) -> None:
    first, second = await hangers(system, 1, 2)
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await first.ask(
            actors.Hang(recorder=recorder, label="greedy", to=(second,), timeout_s=60.0),
            timeout_s=0.3,
        )
    assert time.monotonic() - began_s < 0.3 + LATE_S
    await expect(recorder, "greedy ended", 2)


async def test_inner_timeout_ends_before_the_outer_deadline(
    system: System, recorder: Ref[Any]
) -> None:
    """The inner expiry is the outer handler's error, and the outer ask has time left."""
    first, second = await hangers(system, 1, 2)
    with pytest.raises(DeadlineExceeded):
        await first.ask(
            actors.Hang(recorder=recorder, label="inner", to=(second,), timeout_s=0.2),
            timeout_s=60.0,
        )
    assert set(await expect(recorder, "inner ended", 2)) == {
        "inner ended 0 cancelled",
        "inner ended 1 expired",
    }


@pytest.mark.parametrize("host", [1, 2])
async def test_cancelled_await_reaches_the_handlers_on_other_hosts(
    system: System, recorder: Ref[Any], host: int
) -> None:
    first, second = await hangers(system, host, 3 - host)
    ask = asyncio.ensure_future(
        first.ask(actors.Hang(recorder=recorder, label="gone", to=(second,)), timeout_s=60.0)
    )
    await expect(recorder, "gone started", 2)
    ask.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ask
    await expect(recorder, "gone ended", 2)


async def test_cancelling_a_task_that_awaits_cancels_the_handler(
    system: System, recorder: Ref[Any]
) -> None:
    (hanger,) = await hangers(system, 2)

    async def wait() -> None:
        await hanger.ask(actors.Hang(recorder=recorder, label="task"), timeout_s=60.0)

    task = asyncio.create_task(wait())
    await expect(recorder, "task started")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await expect(recorder, "task ended")


async def test_ask_that_expires_in_a_mailbox_never_runs(system: System, recorder: Ref[Any]) -> None:
    slow = await system.spawn(actors.Slow, host=2)
    first = asyncio.ensure_future(
        slow.ask(actors.Hang(recorder=recorder, label="first"), timeout_s=60.0)
    )
    await expect(recorder, "first started")
    with pytest.raises(DeadlineExceeded):
        await slow.ask(actors.Hang(recorder=recorder, label="second"), timeout_s=0.2)
    recorder.tell(actors.Event(text="first go"))
    assert (await first).n == 1
    assert (await slow.ask(actors.Ping(n=1))).n == 1
    recorder.tell(actors.Event(text="second marker"))
    assert await expect(recorder, "second") == ("second marker",)


async def test_thousands_of_asks_expire_together(system: System, recorder: Ref[Any]) -> None:
    (hanger,) = await hangers(system, 2)
    asks = [
        hanger.ask(actors.Hang(recorder=recorder, label="many"), timeout_s=0.3)
        for _ in range(3_000)
    ]
    outcomes = await asyncio.gather(*asks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}
    assert (await hanger.ask(actors.Ping(n=1))).n == 1


# --- threads --------------------------------------------------------------------------


async def test_synchronous_handler_sees_that_its_asker_gave_up(
    system: System, recorder: Ref[Any]
) -> None:
    ref = await system.spawn(actors.Threaded, host=2)
    with pytest.raises(DeadlineExceeded):
        await ref.ask(actors.Work(recorder=recorder, label="work"), timeout_s=0.2)
    # It could not answer this before the thread of the first one has ended.
    reply = await ref.ask(
        actors.Work(recorder=recorder, label="next", until_cancelled=False), timeout_s=20.0
    )
    assert reply.n == 1, "never two of its handlers at once"


async def test_synchronous_handlers_run_one_at_a_time(system: System, recorder: Ref[Any]) -> None:
    ref = await system.spawn(actors.Threaded, host=2)
    asks = [
        ref.ask(actors.Work(recorder=recorder, label="", until_cancelled=False)) for _ in range(50)
    ]
    assert {reply.n for reply in await asyncio.gather(*asks)} == {1}
    assert (await ref.ask(actors.Ping(n=3))).n == 3
