"""An ask, seen from both sides: the asker's future, and the request at its handler.

An ask has exactly one outcome. The asker holds an `AskFuture`; the handler's side holds
an `Ask`, which knows where its outcome goes (a future on the same host, or a link) and
which worker runs it, so that a cancellation or a deadline reaches the running handler.
"""

import asyncio
from typing import Any, Final, Protocol

from callboard.messages.core.contract import Contract, is_same_contract
from callboard.messages.core.errors import CallboardError, Cancelled, DeadlineExceeded, WrongReply

__all__ = ["Ask", "AskFuture", "AskOwner", "Call", "HandlerRunner", "ReplySink"]

CHILDREN_SWEPT: Final = 1_024
"""After so many asks a handler's finished ones are forgotten."""


class HandlerRun(Protocol):
    """What runs the handler of an ask."""

    def cancel_handler(self, ask: "Ask") -> None:
        """Cancel the handler, if it still runs for this ask."""


class ReplySink(Protocol):
    """Where the outcome of an ask goes."""

    def reply(self, correlation: int, message: Contract | None) -> None:
        """The ask succeeded."""

    def fail(self, correlation: int, error: CallboardError) -> None:
        """The ask failed."""


class Call(ReplySink, Protocol):
    """The asker's side of an ask: an `AskFuture`, or a cheaper object of the asker's own.

    Whoever is one takes itself out of `Host.pending` when it has its outcome.
    """

    correlation: int
    slot: int
    """The host that is asked."""
    local: "Ask | None"
    """The handler's side, when it is on this host."""
    sent: bool
    """Whether it has left for the other host: if so, its handler may have run."""
    step: str
    """The step of an execution that it is an attempt of; empty for any other ask."""

    def done(self) -> bool:
        """Whether it has its outcome."""


class HandlerRunner(Protocol):
    """What runs the handler of an ask: a worker of the dispatcher."""

    def cancel_handler(self, ask: "Ask") -> None:
        """Cancel the handler of `ask`, which it is running."""


class AskOwner(Protocol):
    """The asker's host, as its futures see it."""

    def ask_settled(self, future: "AskFuture") -> None:
        """The future has its outcome: forget it."""

    def ask_abandoned(self, future: "AskFuture", error: CallboardError) -> None:
        """The asker no longer waits: forget it, and stop what it started."""


class AskFuture(asyncio.Future[Any]):
    """The asker's side. Cancelling it, or its deadline, stops the handler.

    Also the `ReplySink` of an ask to an actor on the same host.
    """

    # Defaults of the class: an ask is made a hundred thousand times a second.
    bucket = -1
    correlation = 0
    local: "Ask | None" = None
    """The handler's side, when it is on this host."""
    sent = False
    """Whether it has left for the other host: if so, its handler may have run."""
    step = ""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: AskOwner,
        slot: int,
        expects: type[Contract] | None = None,
    ) -> None:
        super().__init__(loop=loop)
        self.owner = owner
        self.slot = slot
        """The host that is asked."""
        self.expects = expects
        """What the request names as its reply."""

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
            self.set_exception(error)
            # An ask nobody awaits any more must not be reported by the interpreter.
            self._log_traceback = False
            self.owner.ask_settled(self)

    def cancel(self, msg: Any = None) -> bool:
        """Give up; the handler is cancelled, wherever it runs."""
        if not super().cancel(msg):
            return False
        self.owner.ask_abandoned(self, Cancelled("the asker cancelled."))
        return True

    def expired(self) -> None:
        """The deadline has passed."""
        if self.done():
            return
        error = DeadlineExceeded(
            f"no reply from {self.slot}/* within the deadline.",
            advice="Give it more time with timeout_s, or look with `callboard tree` what it does.",
            may_have_run=self.sent or self.local is not None,
        )
        self.set_exception(error)
        self._log_traceback = False
        self.owner.ask_abandoned(self, error)


class Ask:
    """The handler's side: one request in a mailbox, or being handled."""

    __slots__ = (
        "bucket",
        "children",
        "correlation",
        "deadline_s",
        "done",
        "message",
        "on_expiry",
        "sink",
        "step",
        "stopped_by",
        "target",
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
    ) -> None:
        self.message = message
        self.target = target
        """The cell that it was addressed to, if it came over a link."""
        self.step = step
        """The step of an execution that this is an attempt of."""
        self.sink = sink
        self.correlation = correlation
        self.deadline_s = deadline_s
        self.bucket = -1
        self.done = False
        self.worker: HandlerRunner | None = None
        self.stopped_by: CallboardError | None = None
        """Why the running handler is being cancelled."""
        self.on_expiry: Any = None
        self.children: list[AskFuture] | None = None
        """Asks that its handler has made: they end with it when it is cancelled."""

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
        """Its deadline has passed on this host."""
        self.stop(
            DeadlineExceeded(
                f"the deadline of a {type(self.message).contract_name} passed at its handler.",
                advice="Give it more time with timeout_s.",
                may_have_run=self.worker is not None,
            )
        )
        if self.on_expiry is not None:
            self.on_expiry(self)
