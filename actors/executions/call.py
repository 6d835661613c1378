"""One attempt of a sub-task under way: the cheapest object that the kernel accepts for an ask.

There may be thousands of them at a time and 50,000 in a second, so it is neither a task nor a
future. It puts its outcome into a list of its run, which reads the list once per turn of the
event loop.
"""

from collections.abc import Callable
from typing import Any, Protocol

from callboard.messages.core.contract import Contract, is_same_contract
from callboard.messages.core.errors import CallboardError, WrongReply
from callboard.messages.core.frame import STEP_WINDOW
from callboard.messages.jobs.plan import SubTask

from ..kernel.asks import Ask
from ..scheduler.effects import DoneReport
from .executors import Executor

__all__ = ["CallOwner", "TaskCall"]


class CallOwner(Protocol):
    """The run of an attempt."""

    is_woken: bool
    """Whether its next turn is already scheduled."""
    touched: list[Executor]
    """Executors with an outcome since its last turn."""
    reports: list[DoneReport]
    """Sub-task, attempt and result of each success since its last turn."""
    finished: list["TaskCall"]
    """The attempts with a success since its last turn."""

    @property
    def asks(self) -> dict[int, Any]:
        """The host's asks that wait for their replies."""

    @property
    def calls(self) -> dict[str, "TaskCall"]:
        """Attempts under way, by the ids of their sub-tasks."""

    @property
    def step_key(self) -> Callable[[str], str]:
        """The function from a sub-task's id to its idempotency key."""

    def wake(self) -> None:
        """Schedule a turn of the run."""

    def attempt_failed(self, call: "TaskCall", error: CallboardError) -> None:
        """Report that an attempt has failed."""

    def take_partial(self, call: "TaskCall", number: int, message: Contract) -> None:
        """Take a partial result of an attempt, its number from 1."""

    def recast(self, message: Contract, cls: type[Contract]) -> Contract:
        """The reply as the run's own class of its contract. Raises a `ContractError`."""


class TaskCall:
    """The asking side of one attempt; see `actors.kernel.asks.Call`."""

    __slots__ = (
        "attempt",
        "correlation",
        "executor",
        "expects",
        "is_cancelled",
        "is_over",
        "local",
        "run",
        "sent",
        "sent_s",
        "slot",
        "step",
        "streamed",
        "sub_task",
        "under_way",
    )

    window = STEP_WINDOW
    trace = b""

    def __init__(
        self, run: CallOwner, executor: Executor, sub_task: SubTask, attempt: int, sent_s: float
    ) -> None:
        self.run = run
        self.executor = executor
        self.sub_task = sub_task
        self.attempt = attempt
        self.sent_s = sent_s
        executor.started = started = executor.started + 1
        self.under_way = started - executor.delivered
        """The attempts that the executor held when it got this one, itself included."""
        self.slot = executor.address.slot
        self.step = run.step_key(sub_task.id)
        self.correlation = 0
        self.expects: type[Contract] | None = None
        self.local: Ask | None = None
        self.sent = False
        self.is_cancelled = False
        """Whether it was cancelled: its outcome only frees its place at the executor."""
        self.is_over = False
        self.streamed = 0
        """The partial results that have come."""

    def done(self) -> bool:
        """Whether it has an outcome."""
        return self.is_over

    def drop(self) -> None:
        """Give it up, because its executor is lost: its sub-task runs elsewhere."""
        self.is_over = True

    def reply(self, correlation: int, message: Contract | None) -> None:
        """Take the reply, unless it has an outcome already."""
        if self.is_over:
            return
        if type(message) is not self.expects and not self._accepts(message):
            try:
                message = self._own(message)
            except CallboardError as error:
                self.fail(correlation, error)
                return
        self.is_over = True
        run = self.run
        run.asks.pop(correlation, None)
        executor = self.executor
        executor.delivered += 1
        if executor.latest is None:
            run.touched.append(executor)
        executor.latest = self
        task_id = self.sub_task.id
        if not self.is_cancelled:
            del run.calls[task_id]
        run.reports.append((task_id, self.attempt, message))
        run.finished.append(self)
        if not run.is_woken:
            run.wake()

    def partial(self, correlation: int, message: Contract) -> None:
        """Take a partial result; one that comes after the outcome is dropped."""
        if not self.is_over and not self.is_cancelled:
            self.streamed += 1
            self.run.take_partial(self, self.streamed, message)

    def fail(self, correlation: int, error: CallboardError) -> None:
        """Take the failure, unless it has an outcome already."""
        if self.is_over:
            return
        self.is_over = True
        run = self.run
        run.asks.pop(correlation, None)
        executor = self.executor
        executor.delivered += 1
        if executor.latest is None:
            run.touched.append(executor)
        executor.latest = self
        if not self.is_cancelled:
            del run.calls[self.sub_task.id]
        run.attempt_failed(self, error)

    def _accepts(self, message: Contract | None) -> bool:
        return message is None if self.expects is None else isinstance(message, self.expects)

    def _own(self, message: Contract | None) -> Contract:
        """The reply as this job's own class of its contract: an agent may have another class.

        Raises `WrongReply` for another contract.
        """
        expects = self.expects
        if message is None or expects is None or not is_same_contract(type(message), expects):
            raise self._wrong_reply(message)
        return self.run.recast(message, expects)

    def _wrong_reply(self, message: Any) -> CallboardError:
        wanted = self.expects.contract_name if self.expects is not None else "None"
        return WrongReply(
            f"executor {self.executor.id} answered sub-task {self.sub_task.id!r} with a "
            f"{type(message).__qualname__}, not {wanted}.",
            advice="Both hosts must run the same release of the contracts.",
        )
