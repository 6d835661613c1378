"""Probes: actors of a test that record their messages and give the test's answers.

    probe = await open_probe(system, Report, answers={ReadNumber: Number(number=7)})
    await system.spawn(Reporter, probe.ref)
    report = await probe.expect(Report, within_s=1.0)

Like any actor, a probe handles the contracts that it was opened for; others are dead letters.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

from callboard.actors.kernel.actor import Actor, OnError, handler
from callboard.actors.kernel.cell import Recipe
from callboard.messages.core.contract import Contract, Request, reply_type
from callboard.messages.core.errors import UsageError
from callboard.messages.core.ref import Address, Ref

from ..api.inside import host_of
from ..api.system import System

__all__ = ["Probe", "open_probe"]

ContractT = TypeVar("ContractT", bound=Contract)
WITHIN_S: Final = 3.0
INBOX_MAX: Final = 1_000_000

Answer = Contract | None | Callable[[Any], Contract | None]


class Inbox:
    """The messages of a probe, and those that no `expect` has taken yet."""

    def __init__(self) -> None:
        self.waiting: Final[deque[Contract]] = deque(maxlen=INBOX_MAX)
        self.all: Final[list[Contract]] = []
        self.came: Final = asyncio.Condition()

    async def put(self, message: Contract) -> None:
        """Record a message."""
        async with self.came:
            self.waiting.append(message)
            self.all.append(message)
            self.came.notify_all()


class Probe:
    """An actor of a test, as the test sees it."""

    def __init__(self, ref: Ref[Any], inbox: Inbox) -> None:
        self.ref: Final = ref
        """The reference to give to the actors under test."""
        self._inbox = inbox

    @property
    def received(self) -> tuple[Contract, ...]:
        """All messages so far, in order, including those that `expect` has taken."""
        return tuple(self._inbox.all)

    async def expect(
        self,
        contract: type[ContractT],
        *,
        within_s: float = WITHIN_S,
        where: Callable[[ContractT], bool] | None = None,
    ) -> ContractT:
        """Return the next message, which must be a `contract` (for which `where` holds).

        Raises `AssertionError` when another message comes, or none comes `within_s`.
        """
        inbox = self._inbox
        try:
            async with asyncio.timeout(within_s), inbox.came:
                await inbox.came.wait_for(lambda: inbox.waiting)
                message = inbox.waiting.popleft()
        except TimeoutError:
            raise AssertionError(
                f"no {contract.__name__} came within {within_s:g} s; before: {self._before()}"
            ) from None
        if not isinstance(message, contract):
            raise AssertionError(f"expected a {contract.__name__}, but {message!r} came")  # noqa: TRY004 - a test's own
        if where is not None and not where(message):
            raise AssertionError(f"a {contract.__name__} came, but not the right one: {message!r}")
        return message

    async def expect_nothing(self, *, within_s: float = WITHIN_S) -> None:
        """Raise `AssertionError` when a message is there, or comes within that time."""
        inbox = self._inbox
        try:
            async with asyncio.timeout(within_s), inbox.came:
                await inbox.came.wait_for(lambda: inbox.waiting)
        except TimeoutError:
            return
        raise AssertionError(f"expected nothing, but {inbox.waiting[0]!r} came")

    def _before(self) -> str:
        return ", ".join(type(message).__name__ for message in self._inbox.all[-5:]) or "nothing"


async def open_probe(
    system: System,
    *contracts: type[Contract],
    answers: Mapping[type[Contract], Answer] | None = None,
) -> Probe:
    """Open a probe on the driver's own host, for these contracts.

    `answers` has the answer to each request: a reply, or a function of the request that may
    raise. Raises `UsageError` for a request without an answer.
    """
    wanted = dict(answers or {})
    for contract in contracts:
        if issubclass(contract, Request) and contract not in wanted:
            raise UsageError(
                f"the probe has no answer for a {contract.__name__}.",
                advice=f"Pass one: answers={{{contract.__name__}: ...}}.",
            )
        wanted.setdefault(contract, None)
    inbox = Inbox()
    rows = {
        f"on_{i}": _row(contract, answer) for i, (contract, answer) in enumerate(wanted.items())
    }
    kind: type[Actor] = type("ProbeActor", (ProbeActor,), rows)
    cell = await host_of(system).spawn(Recipe(kind, (inbox,)), None)
    return Probe(host_of(system).ref(Address(host_of(system).slot, cell.id)), inbox)


class ProbeActor(Actor):
    """Records its messages."""

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = 1_000

    def __init__(self, inbox: Inbox) -> None:
        self.inbox: Final = inbox


def _row(contract: type[Contract], answer: Answer) -> Callable[..., Any]:
    async def take(self: ProbeActor, message: Any) -> Any:
        await self.inbox.put(message)
        return answer(message) if callable(answer) else answer

    named = reply_type(contract) if issubclass(contract, Request) else None
    take.__annotations__ = {"message": contract, "return": named}
    return handler(take)
