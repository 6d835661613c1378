"""Fixture actors whose handlers stream."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

from callboard.actors.kernel.actor import Agent, handler
from callboard.actors.kernel.context import Context
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Ref

from .fixture_actors import (
    FOREVER_S,
    AskReceived,
    Event,
    EventRecorder,
    Expect,
    Number,
    Ping,
    Received,
)

__all__ = [
    "Count",
    "CountOn",
    "Counted",
    "Counter",
    "EventRecorder",
    "Expect",
    "Item",
    "PlainCounter",
    "StreamThrough",
    "TwoAtOnce",
    "Unanswered",
]


class Item(Contract, name="streams.item"):
    number: int
    pid: int = 0


class Counted(Contract, name="streams.counted"):
    items: int


class Count(Request[Counted], name="streams.count"):
    """Count up to `items`, then answer; pause before each, and at the end do what `how` says."""

    items: int
    pause_s: float = 0.0
    how: str = ""
    label: str = ""
    recorder: Ref[Any] | None = None


class CountOn(Request[None], name="streams.count_on"):
    items: int


class Unanswered(Request[Counted], name="streams.unanswered"):
    """No handler answers it with a stream."""


class StreamThrough(Request[Counted], name="streams.through"):
    """Pass on what `of` counts."""

    count: Count
    of: Ref[Any]


class Counter(Agent):
    def __init__(self) -> None:
        self._yielded = 0

    @handler
    async def count(self, request: Count, ctx: Context) -> AsyncIterator[Item | Counted]:
        try:
            for number in range(request.items):
                if request.pause_s:
                    await asyncio.sleep(request.pause_s)
                self._yielded += 1
                yield Item(number=number, pid=os.getpid())
            if request.how == "hang":
                await asyncio.sleep(FOREVER_S)
            if request.how == "fail":
                raise ValueError("out of numbers")
            yield Counted(items=request.items)
        finally:
            if request.recorder is not None:
                ctx.tell(Event(text=f"{request.label} closed"), request.recorder)

    @handler
    async def count_on(self, request: CountOn) -> AsyncIterator[Item]:
        for number in range(request.items):
            yield Item(number=number)

    @handler
    async def unanswered(self, request: Unanswered) -> Counted:
        return Counted(items=0)

    @handler
    async def through(self, request: StreamThrough, ctx: Context) -> AsyncIterator[Item | Counted]:
        async with aclosing(ctx.stream(request.count, Item, request.of)) as items:
            async for item in items:
                yield item

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)

    @handler
    async def received(self, request: AskReceived) -> Received:
        return Received(count=self._yielded, in_order=True, newest=0)


class TwoAtOnce(Counter):
    concurrency: ClassVar[int] = 2


class PlainCounter(Agent):
    """Answers at once."""

    @handler
    async def count(self, request: Count) -> Counted:
        return Counted(items=request.items)
