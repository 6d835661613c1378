"""Games in which one actor serves many: the sleeping barber, the cigarette smokers."""

from collections import deque
from typing import Any

from bench.savina.games import smoker_of
from callboard import Actor, Context, Contract, Ref, Request, handler
from callboard.actors.kernel.props import props

from .runner import GameRunner, Report, Start

__all__ = ["CigaretteSmokers", "SleepingBarber"]


# --- the barber ---------------------------------------------------------------------------------


class Enter(Contract):
    """A customer comes in."""

    customer: Ref[Any]


class Full(Contract):
    """There is no chair."""


class Wait(Contract):
    """There is a chair; or, to the barber, there is no customer."""


class Next(Contract):
    """The barber is free."""


class Serve(Contract):
    """The next customer."""

    customer: Ref[Any]


class Begin(Contract):
    """The haircut begins."""


class Done(Contract):
    """The haircut is over."""


class Returned(Contract):
    """A customer found no chair."""

    customer: Ref[Any]


class Served(Contract):
    """A customer has had its haircut."""


class WaitingRoom(Actor):
    """Has a number of chairs."""

    def __init__(self, chairs: int) -> None:
        self._chairs = chairs
        self._customers: deque[Ref[Any]] = deque()
        self._barber: Ref[Any] | None = None
        self._barber_sleeps = True

    @handler
    async def assign_barber(self, message: Serve) -> None:
        """Note the barber."""
        self._barber = message.customer

    @handler
    async def enter(self, message: Enter, ctx: Context) -> None:
        """Give the customer a chair, if one is free."""
        if len(self._customers) == self._chairs:
            message.customer.tell(Full())
            return
        self._customers.append(message.customer)
        if self._barber_sleeps:
            self._barber_sleeps = False
            ctx.self_ref.tell(Next())
        else:
            message.customer.tell(Wait())

    @handler
    async def next(self, message: Next) -> None:
        """Send the next customer to the barber, or let the barber sleep."""
        assert self._barber is not None
        if self._customers:
            self._barber.tell(Serve(customer=self._customers.popleft()))
        else:
            self._barber_sleeps = True
            self._barber.tell(Wait())


class Barber(Actor):
    """Cuts hair, or sleeps."""

    def __init__(self, room: Ref[WaitingRoom]) -> None:
        self._room = room

    @handler
    async def serve(self, message: Serve) -> None:
        """One haircut."""
        message.customer.tell(Begin())
        message.customer.tell(Done())
        self._room.tell(Next())

    @handler
    async def sleep(self, message: Wait) -> None:
        """Sleep until there is a customer."""


class Customer(Actor):
    """Wants one haircut."""

    def __init__(self, factory: "Ref[Factory]") -> None:
        self._factory = factory

    @handler
    async def full(self, message: Full, ctx: Context) -> None:
        """Try again later."""
        self._factory.tell(Returned(customer=ctx.self_ref))

    @handler
    async def wait(self, message: Wait) -> None:
        """Wait on a chair."""

    @handler
    async def begin(self, message: Begin) -> None:
        """Sit on the barber's chair."""

    @handler
    async def done(self, message: Done, ctx: Context) -> None:
        """Report, and stop."""
        self._factory.tell(Served())
        ctx.stop()


class Factory(Actor):
    """Makes customers, at most `at_once` at the same time."""

    def __init__(
        self, runner: Ref[GameRunner], room: Ref[WaitingRoom], sizes: dict[str, int]
    ) -> None:
        self._runner = runner
        self._room = room
        self._unmade = self._unserved = sizes["customers"]
        self._at_once = min(sizes["at_once"], sizes["customers"])

    @handler
    async def start(self, message: Start, ctx: Context) -> None:
        """Make the first customers."""
        for _ in range(self._at_once):
            await self._make(ctx)

    async def _make(self, ctx: Context) -> None:
        self._unmade -= 1
        self._room.tell(Enter(customer=await ctx.spawn(props(Customer, ctx.self_ref))))

    @handler
    async def returned(self, message: Returned) -> None:
        """Send the customer again."""
        self._room.tell(Enter(customer=message.customer))

    @handler
    async def served(self, message: Served, ctx: Context) -> None:
        """Make another customer, or report."""
        self._unserved -= 1
        if self._unmade:
            await self._make(ctx)
        elif not self._unserved:
            self._runner.tell(Report(counts={}))


class SleepingBarber(GameRunner):
    """Customers, an actor each, wait for one barber."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Open the shop."""
        room = await ctx.spawn(props(WaitingRoom, sizes["chairs"]))
        room.tell(Serve(customer=await ctx.spawn(props(Barber, room))))
        self._factory = await ctx.spawn(props(Factory, ctx.self_ref, room, sizes))

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run until the last customer has had its haircut."""
        self._factory.tell(Start())
        await self.reports(1)
        return {"haircuts": sizes["customers"]}


# --- the smokers --------------------------------------------------------------------------------


class Smoke(Contract):
    """A smoker has its ingredients."""


class Started(Contract):
    """A smoker smokes, the table is free."""


class Smoked(Contract):
    """How often a smoker has smoked."""

    times: int


class ReadSmoked(Request[Smoked]):
    """Ask for that number."""


class Smoker(Actor):
    """Smokes on request."""

    def __init__(self, arbiter: Ref[Any]) -> None:
        self._arbiter = arbiter
        self._times = 0

    @handler
    async def smoke(self, message: Smoke) -> None:
        """Smoke once."""
        self._times += 1
        self._arbiter.tell(Started())

    @handler
    async def read(self, request: ReadSmoked) -> Smoked:
        """Give the number of times."""
        return Smoked(times=self._times)


class Company(Contract):
    """All smokers."""

    smokers: list[Ref[Any]]


class SmokeArbiter(Actor):
    """Chooses who smokes next."""

    def __init__(self, runner: Ref[GameRunner], turns: int) -> None:
        self._runner = runner
        self._turns = turns
        self._turn = 0
        self._smokers: list[Ref[Any]] = []

    @handler
    async def meet(self, company: Company) -> None:
        """Note the smokers."""
        self._smokers = company.smokers

    @handler
    async def start(self, message: Start) -> None:
        """Begin the first turn."""
        self._choose()

    @handler
    async def smoking(self, message: Started) -> None:
        """Begin the next turn, or report."""
        self._turn += 1
        if self._turn < self._turns:
            self._choose()
        else:
            self._runner.tell(Report(counts={"smoked": self._turn}))

    def _choose(self) -> None:
        self._smokers[smoker_of(self._turn, len(self._smokers))].tell(Smoke())


class CigaretteSmokers(GameRunner):
    """Many smokers smoke one after another."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the arbiter and the smokers."""
        self._arbiter = await ctx.spawn(props(SmokeArbiter, ctx.self_ref, sizes["turns"]))
        self._smokers = [
            await ctx.spawn(props(Smoker, self._arbiter)) for _ in range(sizes["smokers"])
        ]
        self._arbiter.tell(Company(smokers=self._smokers))

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run all turns."""
        self._arbiter.tell(Start())
        counts = await self.reports(1)
        times = [(await ctx.ask(ReadSmoked(), smoker)).times for smoker in self._smokers]
        by_smoker = sum((place + 1) * count for place, count in enumerate(times))
        return counts | {"by_smoker": by_smoker}
