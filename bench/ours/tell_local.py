"""`tell_local`: an actor tells another one on its host, contracts checked when made.

The teller uses `tell` until the counter's mailbox is full, and `send`, which waits for
room, for the message that was refused: fast, and bounded in memory.
"""

import asyncio

import callboard
from bench.outcome import Outcome, Params, check_of
from bench.timing import NS_PER_S, timed
from bench.workload import ask_request
from callboard import Agent, Context, Contract, Ref, Request, System, handler
from callboard.messages.core.errors import MailboxFull

__all__ = ["run"]

MADE_AT_ONCE = 10_000
"""Messages made before the event loop's next turn: making all at once would block it."""
TELL_TIMEOUT_S = 120.0


class Message(Contract):
    """One number, one text."""

    number: int
    text: str


class Tally(Contract):
    """What a counter has seen."""

    count: int
    total: int


class ReadTally(Request[Tally]):
    """Read it and start a new count, so that the warm-up is not counted."""


class Told(Contract):
    """What the counter saw, and how long it took."""

    count: int
    total: int
    elapsed_ns: int


class TellAll(Request[Told]):
    """Tell the counter so many messages."""

    count: int


class Counter(Agent):
    """Counts the messages it is told."""

    def __init__(self) -> None:
        self._count = 0
        self._total = 0

    @handler
    async def message(self, message: Message) -> None:
        """Count one message."""
        self._count += 1
        self._total += message.number

    @handler
    async def read(self, request: ReadTally) -> Tally:
        """The tally so far."""
        tally = Tally(count=self._count, total=self._total)
        self._count = self._total = 0
        return tally


class Teller(Agent):
    """Has a counter as its child, and tells it messages."""

    def __init__(self) -> None:
        self._counter: Ref[Counter] | None = None

    @handler
    async def tell_all(self, request: TellAll, ctx: Context) -> Told:
        """Tell them, until the counter has counted the last."""
        if self._counter is None:
            self._counter = await ctx.spawn(Counter)
        messages = await _messages(request.count)
        with timed() as stopwatch:
            await _tell_each(self._counter, messages)
            tally = await ctx.ask(ReadTally(), self._counter)
        return Told(count=tally.count, total=tally.total, elapsed_ns=stopwatch.elapsed_ns)


async def _messages(count: int) -> list[Message]:
    messages: list[Message] = []
    for start in range(0, count, MADE_AT_ONCE):
        numbers = range(start, min(start + MADE_AT_ONCE, count))
        messages += [Message(**ask_request(number)) for number in numbers]
        await asyncio.sleep(0)
    return messages


async def _tell_each(counter: Ref[Counter], messages: list[Message]) -> None:
    for message in messages:
        try:
            counter.tell(message)
        except MailboxFull:
            await counter.send(message)


def run(params: Params) -> Outcome:
    """Tells within one host of the inline engine: one process, one event loop."""

    async def main(system: System) -> Outcome:
        teller = await system.spawn(Teller)
        await teller.ask(TellAll(count=params["warm_up"]))
        told = await teller.ask(TellAll(count=params["messages"]), timeout_s=TELL_TIMEOUT_S)
        return Outcome(
            {"messages_per_s": params["messages"] / (max(told.elapsed_ns, 1) / NS_PER_S)},
            check_of({"count": told.count, "total": told.total}),
        )

    return callboard.run(main, engine="inline", hosts=1, standbys=0)
