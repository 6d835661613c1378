"""Producers and consumers of a bounded buffer."""

from collections import deque
from typing import Any

from callboard import Actor, Context, Contract, Ref, handler
from callboard.actors.kernel.props import props

from .runner import GameRunner, Report, Start

__all__ = ["BoundedBuffer"]


class Item(Contract):
    """A produced item, and its producer, which continues when there is room."""

    value: int
    producer: Ref[Any]


class Produce(Contract):
    """There is room for one more."""


class Consume(Contract):
    """An item for a consumer."""

    value: int


class Available(Contract):
    """A consumer can take an item."""

    consumer: Ref[Any]


class Close(Contract):
    """All items are consumed."""


class Buffer(Actor):
    """Holds at most `capacity` items. A producer continues on request."""

    def __init__(self, runner: Ref[GameRunner], sizes: dict[str, int]) -> None:
        self._runner = runner
        self._capacity = sizes["capacity"]
        # Each producer may have one item in flight.
        self._full_at = sizes["capacity"] - sizes["producers"]
        self._items_left = sizes["producers"] * sizes["items"]
        self._consumers = sizes["consumers"]
        self._values: deque[int] = deque()
        self._largest = 0
        self._waiting: deque[Ref[Any]] = deque()
        self._idle: deque[Ref[Any]] = deque()

    @handler
    async def item(self, item: Item) -> None:
        """Pass the item on or keep it. Let its producer continue while there is room."""
        if self._idle:
            self._hand_out(self._idle.popleft(), item.value)
        else:
            self._values.append(item.value)
            self._largest = max(self._largest, len(self._values))
        if len(self._values) >= self._full_at:
            self._waiting.append(item.producer)
        else:
            item.producer.tell(Produce())

    @handler
    async def available(self, message: Available) -> None:
        """Give the consumer an item, now or when there is one."""
        if self._values:
            self._hand_out(message.consumer, self._values.popleft())
            if self._waiting:
                self._waiting.popleft().tell(Produce())
            return
        self._idle.append(message.consumer)
        if not self._items_left and len(self._idle) == self._consumers:
            for consumer in self._idle:
                consumer.tell(Close())
            over = int(self._largest > self._capacity)
            self._runner.tell(Report(counts={"over_capacity": over}))

    def _hand_out(self, consumer: Ref[Any], value: int) -> None:
        self._items_left -= 1
        consumer.tell(Consume(value=value))


class Producer(Actor):
    """Produces one item on each request."""

    def __init__(self, buffer: Ref[Buffer], number: int, items: int) -> None:
        self._buffer = buffer
        self._values = iter(range(number * items, (number + 1) * items))

    @handler
    async def produce(self, message: Produce, ctx: Context) -> None:
        """Produce the next item, if any."""
        value = next(self._values, None)
        if value is not None:
            self._buffer.tell(Item(value=value, producer=ctx.self_ref))


class Consumer(Actor):
    """Consumes, and asks for more."""

    def __init__(self, runner: Ref[GameRunner], buffer: Ref[Buffer]) -> None:
        self._runner = runner
        self._buffer = buffer
        self._consumed = 0
        self._values = 0

    @handler
    async def start(self, message: Start, ctx: Context) -> None:
        """Ask for the first item."""
        self._buffer.tell(Available(consumer=ctx.self_ref))

    @handler
    async def consume(self, item: Consume, ctx: Context) -> None:
        """Count the item, and ask for the next."""
        self._consumed += 1
        self._values += item.value
        self._buffer.tell(Available(consumer=ctx.self_ref))

    @handler
    async def close(self, message: Close) -> None:
        """Report the counts."""
        self._runner.tell(Report(counts={"consumed": self._consumed, "values": self._values}))


class BoundedBuffer(GameRunner):
    """Producers wait when the buffer is full, consumers when it is empty."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn buffer, producers and consumers."""
        buffer = await ctx.spawn(props(Buffer, ctx.self_ref, sizes))
        self._producers = [
            await ctx.spawn(props(Producer, buffer, number, sizes["items"]))
            for number in range(sizes["producers"])
        ]
        self._consumers = [
            await ctx.spawn(props(Consumer, ctx.self_ref, buffer))
            for _ in range(sizes["consumers"])
        ]

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run until all items are consumed."""
        for consumer in self._consumers:
            consumer.tell(Start())
        for producer in self._producers:
            producer.tell(Produce())
        return await self.reports(1 + len(self._consumers))
