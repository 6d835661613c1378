"""The actors under test in the tests of `callboard.testing`."""

from callboard import Actor, Context, Contract, Ref, Request, handler


class Number(Contract):
    number: int


class Next(Request[Number]):
    pass


class Tell(Contract):
    text: str


class Counter(Actor):
    """Counts its requests."""

    def __init__(self) -> None:
        self._number = 0

    @handler
    async def next(self, request: Next) -> Number:
        self._number += 1
        return Number(number=self._number)


class Repeater(Actor):
    """Asks one actor, and sends the answer to another."""

    def __init__(self, asked: Ref, listener: Ref) -> None:  # type: ignore[type-arg]
        self._asked, self._listener = asked, listener

    @handler
    async def repeat(self, message: Tell, ctx: Context) -> None:
        number = await ctx.ask(Next(), self._asked)
        self._listener.tell(Tell(text=f"{message.text} {number.number}"))
