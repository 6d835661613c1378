"""`tell_local`: an actor sends messages to another one on its host, with contracts checked.

The sender uses `tell` until the counter's mailbox is full. Then it uses `send`, which waits for
room, for the refused message. This is fast, and bounded in memory.
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
"""Messages made per turn of the event loop, because making all at once would block it."""
TELL_TIMEOUT_S = 120.0


class Message(Contract):
    """One number, one text."""

    number: int
    text: str


class Tally(Contract):
    """The messages that a counter has seen."""

    count: int
    total: int


class ReadTally(Request[Tally]):
    """Read the tally, and start a new count without the warm-up."""


class Counted(Contract):
    """The tally of the counter, and the duration."""

    count: int
    total: int
    elapsed_ns: int


class TellAll(Request[Counted]):
    """Send a number of messages to the counter."""

    count: int


class Counter(Agent):
    """Counts its messages."""

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
        """Give the tally so far."""
        tally = Tally(count=self._count, total=self._total)
        self._count = self._total = 0
        return tally


class Teller(Agent):
    """Has a counter as its child, and sends it messages."""

    def __init__(self) -> None:
        self._counter: Ref[Counter] | None = None

    @handler
    async def tell_all(self, request: TellAll, ctx: Context) -> Counted:
        """Send the messages, and wait until the counter has counted the last."""
        if self._counter is None:
            self._counter = await ctx.spawn(Counter)
        messages = await _messages(request.count)
        with timed() as stopwatch:
            await _tell_each(self._counter, messages)
            tally = await ctx.ask(ReadTally(), self._counter)
        return Counted(count=tally.count, total=tally.total, elapsed_ns=stopwatch.elapsed_ns)


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
    """Run within one host of the inline engine: one process, one event loop."""

    async def main(system: System) -> Outcome:
        teller = await system.spawn(Teller)
        await teller.ask(TellAll(count=params["warm_up"]))
        counted = await teller.ask(TellAll(count=params["messages"]), timeout_s=TELL_TIMEOUT_S)
        return Outcome(
            {"messages_per_s": params["messages"] / (max(counted.elapsed_ns, 1) / NS_PER_S)},
            check_of({"count": counted.count, "total": counted.total}),
        )

    return callboard.run(main, engine="inline", hosts=1, standbys=0)
