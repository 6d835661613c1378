"""Waiting messages: their order, the count of tells, and the sweep of what nobody waits for."""

import asyncio

from callboard.actors.kernel.link.queue import SWEEP_MIN, MessageQueue, OutgoingMessage

from .pair import Note


def tell(number: int) -> OutgoingMessage:
    return OutgoingMessage(1, Note(number=number))


async def sending(number: int) -> OutgoingMessage:
    """A tell whose sender waits until it has left."""
    future = asyncio.get_running_loop().create_future()
    return OutgoingMessage(1, Note(number=number), departure=future)


def numbers(queue: MessageQueue) -> list[int]:
    return [item.message.number for item in queue]  # type: ignore[attr-defined]  # all are notes


async def test_only_messages_that_no_sender_waits_for_count_as_tells() -> None:
    queue = MessageQueue()
    queue.put(tell(1))
    queue.put(await sending(2))
    queue.put(tell(3))
    assert queue.tells == 2
    assert [numbers(queue), queue.take().message.number] == [[1, 2, 3], 1]  # type: ignore[attr-defined]
    assert queue.tells == 1
    queue.take()
    assert queue.tells == 1


async def test_messages_that_come_back_go_first_in_their_order() -> None:
    queue, back = MessageQueue(), MessageQueue()
    queue.put(tell(3))
    for number in (1, 2):
        back.put(tell(number))
    back.put(await sending(9))
    queue.put_first(back)
    assert (numbers(queue), queue.tells) == ([1, 2, 9, 3], 3)


async def test_a_queue_of_abandoned_messages_is_swept_when_it_is_long_enough() -> None:
    queue, kept = MessageQueue(), await sending(0)
    queue.put(kept)
    for number in range(1, SWEEP_MIN - 1):
        item = await sending(number)
        assert item.departure is not None
        item.departure.cancel()
        queue.put(item)
    assert len(queue) == SWEEP_MIN - 1
    queue.put(await sending(SWEEP_MIN))
    assert numbers(queue) == [0, SWEEP_MIN]
    assert not any(item.is_abandoned for item in queue)


async def test_a_queue_of_living_messages_is_swept_at_double_its_length() -> None:
    queue = MessageQueue()
    living = [await sending(number) for number in range(SWEEP_MIN)]
    for item in living:
        queue.put(item)
    for item in living:
        assert item.departure is not None
        item.departure.cancel()
    while len(queue) > 1:
        assert len(queue) < 2 * SWEEP_MIN
        queue.put(await sending(0))
        if not queue[0].is_abandoned:
            break
    assert len(queue) == SWEEP_MIN


def test_a_tell_is_never_swept() -> None:
    queue = MessageQueue()
    for number in range(SWEEP_MIN + 5):
        queue.put(tell(number))
    assert len(queue) == queue.tells == SWEEP_MIN + 5
