"""The two sides of an ask: the asker's future, and the request at its handler.

An ask has exactly one outcome. The asker holds an `AskFuture`; the handler's side holds
an `Ask`, which knows the sink of its outcome (a future on the same host, or a link) and
the worker that runs it, so that a cancellation or a deadline reaches the running handler.
"""

import asyncio
from typing import Any, Final, Protocol, cast

from callboard.messages.core.contract import Contract, is_same_contract
from callboard.messages.core.errors import (
    CallboardError,
    Cancelled,
    DeadlineExceeded,
    WrongReply,
    error_from_data,
)
from callboard.messages.core.ref import Address

__all__ = ["Ask", "AskFuture", "AskOwner", "Call", "HandlerRunner", "LinkSink", "ReplySink"]

CHILDREN_SWEPT: Final = 1_024
"""After so many asks of one handler, its finished asks are forgotten."""


class ReplySink(Protocol):
    """Where the outcome of an ask goes."""

    def reply(self, correlation: int, message: Contract | None) -> None:
        """The ask succeeded."""

    def fail(self, correlation: int, error: CallboardError) -> None:
        """The ask failed."""

    def partial(self, correlation: int, message: Contract) -> None:
        """A partial result of an ask whose asker takes them. Raises `PayloadTooLarge`."""


class LinkSink(ReplySink, Protocol):
    """The sink of an ask that came over a link."""

    def extend(self, ask: "Ask") -> bool:
        """Wait for the rest of its time; False when that has passed."""

    def path_of(self, target: int) -> str:
        """The path of the actor that the ask is for."""


class Call(ReplySink, Protocol):
    """The asker's side of an ask: an `AskFuture`, or a cheaper object of the asker's own.

    A call removes itself from `Host.pending` when it has its outcome.
    """

    correlation: int
    slot: int
    """The slot of the host that the ask goes to."""
    local: "Ask | None"
    """The handler's side, if it is on this host."""
    sent: bool
    """Whether the request has left for the other host: if so, its handler may have run."""
    step: str
    """The step of an execution that the ask is an attempt of; empty for any other ask."""
    trace: bytes
    """The packed context of its span; empty without a trace."""

    @property
    def window(self) -> int:
        """How many partial results may be under way to the asker; 0 if it takes none.

        An attempt of a step takes them: its window is `STEP_WINDOW`.
        """

    def done(self) -> bool:
        """Whether it has its outcome."""


class HandlerRunner(Protocol):
    """What runs the handler of an ask: a worker of the dispatcher."""

    @property
    def has_begun(self) -> bool:
        """Whether the handler has begun: a synchronous one may wait for a thread."""

    def cancel_handler(self, ask: "Ask") -> None:
        """Cancel the handler of `ask`, if the worker still runs it."""


class AskOwner(Protocol):
    """The owner of an ask's future: the asker's host, or a load that counts the ask."""

    def ask_settled(self, future: "AskFuture") -> None:
        """The future has its outcome: forget it."""

    def ask_abandoned(self, future: "AskFuture", error: CallboardError) -> None:
        """The asker no longer waits: forget the ask, and stop its handler."""

    def path_asked(self, future: "AskFuture") -> str:
        """The path of the actor that the ask is for, as far as this host knows it."""

    def path_asking(self, future: "AskFuture") -> str | None:
        """The path of the actor that waits for the reply; None for a driver."""


class AskFuture(asyncio.Future[Any]):
    """The asker's side. Cancelling it, or its deadline, stops the handler.

    Also the `ReplySink` of an ask to an actor on the same host.
    """

    # Defaults of the class: a host makes a hundred thousand asks a second.
    bucket = -1
    correlation = 0
    local: "Ask | None" = None
    """The handler's side, if it is on this host."""
    sent = False
    """Whether the request has left for the other host: if so, its handler may have run."""
    step = ""
    trace = b""
    window = 0

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: AskOwner,
        address: Address,
        contract: type[Contract],
        expects: type[Contract] | None = None,
    ) -> None:
        super().__init__(loop=loop)
        self.owner = owner
        self.slot, self.target = address
        """The slot of the host that the ask goes to, and the number of the cell there."""
        self.contract = contract
        """The type of the request."""
        self.expects = expects
        """The reply type that the request names."""

    def reply(self, correlation: int, message: Contract | None) -> None:
        """Take the reply, unless there is an outcome already."""
        if self.done():
            return
        if type(message) is not self.expects and not self._accepts(message):
            self.fail(correlation, self._wrong_reply(message))
            return
        self.set_result(message)
        self.owner.ask_settled(self)

    def _accepts(self, message: Contract | None) -> bool:
        expects = self.expects
        if message is None or expects is None:
            return message is None and expects is None
        return isinstance(message, expects) or is_same_contract(type(message), expects)

    def _wrong_reply(self, message: Contract | None) -> CallboardError:
        wanted = self.expects.contract_name if self.expects is not None else "None"
        return WrongReply(
            f"host {self.slot} answered with a {type(message).__qualname__}, not {wanted}.",
            advice="Both hosts must run the same release of the contracts.",
        )

    def fail(self, correlation: int, error: CallboardError) -> None:
        """Take the failure, unless there is an outcome already."""
        if not self.done():
            if type(error) is DeadlineExceeded:
                error = self._with_asker(error)
            self.set_exception(error)
            # The interpreter must not report an ask that nobody awaits any more.
            self._log_traceback = False
            self.owner.ask_settled(self)

    def _with_asker(self, error: DeadlineExceeded) -> CallboardError:
        """The error with the path of the asker, which the handler's host does not know."""
        asking = None if "asker" in error.details else self.owner.path_asking(self)
        if asking is None:
            return error
        data = error.to_data()
        message = f"{error.message} {asking} waited for the reply."
        return error_from_data(
            {**data, "message": message, "details": {**data["details"], "asker": asking}}
        )

    def partial(self, correlation: int, message: Contract) -> None:
        """Nothing: an asker with a window of 0 gets none."""

    def cancel(self, msg: Any = None) -> bool:
        """Give up, and cancel the handler wherever it runs."""
        if not super().cancel(msg):
            return False
        self.owner.ask_abandoned(self, Cancelled("the asker cancelled."))
        return True

    def expired(self) -> None:
        """The deadline has passed."""
        if self.done():
            return
        asked, asking = self.owner.path_asked(self), self.owner.path_asking(self)
        error = DeadlineExceeded(
            f"{asked} has not answered a {self.contract.contract_name} within the deadline"
            f"{'' if asking is None else f', and {asking} waited for it'}.",
            advice="Raise timeout_s, or see with `callboard tree` what the actor does.",
            may_have_run=self.sent or (self.local is not None and self.local.may_have_run),
        )
        self.set_exception(error)
        self._log_traceback = False
        self.owner.ask_abandoned(self, error)


class Ask:
    """The handler's side: one request that waits in a mailbox, or that a handler runs for."""

    __slots__ = (
        "bucket",
        "children",
        "correlation",
        "credit",
        "deadline_s",
        "done",
        "has_run",
        "message",
        "room",
        "sink",
        "step",
        "stopped_by",
        "target",
        "trace",
        "worker",
    )

    def __init__(
        self,
        message: Contract,
        sink: ReplySink,
        correlation: int,
        deadline_s: float,
        step: str = "",
        target: int = -1,
        window: int = 0,
        trace: bytes = b"",
    ) -> None:
        self.message = message
        self.target = target
        """The number of the addressed cell, if the ask came over a link."""
        self.step = step
        """The step of an execution that this ask is an attempt of."""
        self.trace = trace
        """The packed context of the asker's span; empty without a trace."""
        self.sink = sink
        self.correlation = correlation
        self.deadline_s = deadline_s
        self.bucket = -1
        self.done = False
        self.worker: HandlerRunner | None = None
        self.stopped_by: CallboardError | None = None
        """The error that cancels the running handler."""
        self.has_run = False
        """Whether a handler has begun already: it has stashed the message, or crashed."""
        self.children: list[AskFuture] | None = None
        """Asks that its handler has made: a cancellation of the handler cancels them."""
        self.credit = window or -1
        """How many partial results its asker has room for; -1 if the asker takes none."""
        self.room: asyncio.Future[None] | None = None
        """The wait of its handler for room."""

    @property
    def may_have_run(self) -> bool:
        """Whether its handler has begun."""
        return self.has_run or (self.worker is not None and self.worker.has_begun)

    def reply(self, message: Contract | None) -> None:
        """Answer, unless it has an outcome already."""
        if not self.done:
            self.done = True
            self.sink.reply(self.correlation, message)

    def fail(self, error: CallboardError) -> None:
        """Answer with an error, unless it has an outcome already."""
        if not self.done:
            self.done = True
            self.sink.fail(self.correlation, error)

    async def give(self, message: Contract) -> None:
        """Give the asker a partial result, if it takes them; waits while it has no room.

        Raises `PayloadTooLarge` for one that fits in no envelope.
        """
        while not self.credit and not self.done:
            self.room = asyncio.get_running_loop().create_future()
            try:
                await self.room
            finally:
                self.room = None
        if self.credit > 0 and not self.done:
            self.credit -= 1
            self.sink.partial(self.correlation, message)

    def grant(self, count: int) -> None:
        """The asker has taken so many partial results."""
        if self.credit >= 0:
            self.credit += count
            if self.room is not None and not self.room.done():
                self.room.set_result(None)

    def extend(self, until_s: float) -> None:
        """The asker waits until then, if that is later than it said before."""
        self.deadline_s = max(self.deadline_s, until_s)

    def adopt(self, child: AskFuture) -> None:
        """Remember an ask that the handler makes."""
        children = self.children
        if children is None:
            self.children = [child]
            return
        children.append(child)
        if not len(children) % CHILDREN_SWEPT:
            self.children = [ask for ask in children if not ask.done()]

    def stop(self, error: CallboardError) -> None:
        """End it with `error`: a running handler is cancelled, a waiting one never starts."""
        if self.done and self.worker is None:
            return
        self.stopped_by = error
        self.fail(error)
        if self.worker is not None:
            self.worker.cancel_handler(self)
        for child in self.children or ():
            child.cancel()

    def expired(self) -> None:
        """Its deadline has passed on this host, or nearly so and no handler has begun."""
        # Only an ask that came over a link expires here.
        sink = cast("LinkSink", self.sink)
        if self.may_have_run and sink.extend(self):
            return
        place = sink.path_of(self.target)
        has_begun = self.may_have_run
        self.stop(
            DeadlineExceeded(
                f"the deadline of a {type(self.message).contract_name} passed while "
                f"{f'{place} handled it' if has_begun else f'it waited for {place}'}.",
                advice="Raise timeout_s, or see with `callboard tree` what the actor does.",
                may_have_run=has_begun,
            )
        )
