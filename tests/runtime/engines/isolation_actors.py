"""Actors whose code raises whatever it can, wherever it can, or leaves something behind."""

import asyncio
import contextvars
import decimal
import sys
from collections.abc import Coroutine
from typing import Any, ClassVar

from callboard.actors.kernel.actor import Actor, Agent, handler
from callboard.actors.kernel.context import Context
from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import MailboxFull, UsageError
from callboard.messages.core.ref import Ref


def mark() -> contextvars.ContextVar[str]:
    """One variable of each process: a pickle cannot hold it."""
    found: contextvars.ContextVar[str] = vars(sys).setdefault(
        "callboard_test_mark", contextvars.ContextVar("mark", default="none")
    )
    return found


class Seen(Contract, name="isolation.seen"):
    text: str
    count: int = 0


class Try(Request[Seen], name="isolation.try"):
    how: str


class TryInThread(Request[Seen], name="isolation.try_in_thread"):
    how: str


class Query(Request[Seen], name="isolation.query"):
    """What a handler sees that leaves nothing behind; `count` is the messages of the actor."""


class QueryWithContext(Request[Seen], name="isolation.query_with_context"):
    """The same, in a handler that takes a `Context`."""


class QueryInThread(Request[Seen], name="isolation.query_in_thread"):
    """The same, in a synchronous handler."""


class Note(Contract, name="isolation.note"):
    how: str


class Own(BaseException):
    """An exception of a user that is no `Exception`."""


class ExitsAsText(Exception):
    """Nothing of it can be read without an exit."""

    def __str__(self) -> str:
        raise SystemExit(3)

    def __repr__(self) -> str:
        sys.exit(3)

    def __reduce__(self) -> Any:
        sys.exit(3)


class ExitsOnTheWay:
    """A value that cannot travel without an exit."""

    def to_external(self) -> Any:
        sys.exit(3)


class BrokenRefusal(UsageError):
    """An error of Callboard that cannot be read."""

    def __init__(self) -> None:
        """Leaves out what the base class needs."""

    def to_data(self) -> Any:
        sys.exit(3)


async def raises(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


def cancel_self() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def fail(how: str) -> None:
    """Fail in one way of many; the actor's handler does not go on."""
    match how:
        case "exit":
            sys.exit(2)
        case "interrupt":
            raise KeyboardInterrupt
        case "own":
            raise Own("mine")
        case "generator_exit":
            raise GeneratorExit
        case "cancelled":
            raise asyncio.CancelledError
        case "cancels_itself":
            cancel_self()
            await asyncio.sleep(3_600.0)
        case "exit_as_text":
            raise ExitsAsText
        case "broken_refusal":
            raise BrokenRefusal
        case _:
            await fail_in_task(how)


async def fail_in_task(how: str) -> None:
    """Fail in one way of many that need a task or a group."""
    match how:
        case "exit_in_gather":
            await asyncio.gather(raises(SystemExit(2)))
        case "interrupt_in_task":
            await asyncio.create_task(raises(KeyboardInterrupt()))
        case "generator_exit_in_task":
            await asyncio.create_task(raises(GeneratorExit()))
        case "exit_in_group":
            async with asyncio.TaskGroup() as group:
                group.create_task(raises(SystemExit(2)))
        case "exit_in_thread":
            await asyncio.to_thread(sys.exit, 2)
        case "cancelled_task":
            task = asyncio.create_task(asyncio.sleep(3_600.0))
            task.cancel()
            await task
        case "group":
            raise BaseExceptionGroup("many", [MailboxFull("full"), ValueError("one of them")])
        case "deep_group":
            raise ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("deep inside")])])
        case _:
            pass


def leave_callback(how: str) -> None:
    """Let the loop run code that raises, when the handler has ended or waits."""
    loop = asyncio.get_running_loop()
    match how:
        case "soon":
            loop.call_soon(sys.exit, 2)
        case "later":
            loop.call_later(0.001, sys.exit, 2)
        case "thread":
            _forget(loop.create_task(asyncio.to_thread(loop.call_soon_threadsafe, sys.exit, 2)))
        case "done":
            loop.create_task(asyncio.sleep(0)).add_done_callback(lambda _: sys.exit(2))
        case "stop_loop":
            loop.stop()
        case "forgotten_task":
            _forget(loop.create_task(raises(SystemExit(2))))
        case "forgotten_interrupt":
            _forget(loop.create_task(raises(KeyboardInterrupt())))
        case _:
            pass


def _forget(task: "asyncio.Task[Any]") -> None:
    """Nobody waits for it; its error is retrieved, or the interpreter would print it."""
    task.add_done_callback(lambda done: done.exception() and None)


class Faulty(Actor):
    """Fails as it is asked to; an error restarts it, so `count` begins again."""

    def __init__(self) -> None:
        self.count = 0

    @handler
    async def fails(self, request: Try) -> Seen:
        self.count += 1
        await fail(request.how)
        leave_callback(request.how)
        await asyncio.sleep(0.01)
        return Seen(text="went on", count=self.count)

    @handler
    async def query_with_context(self, request: QueryWithContext) -> Seen:
        self.count += 1
        fields: dict[str, Any] = {"text": ExitsOnTheWay(), "count": self.count}
        return Seen.model_construct(**fields)

    @handler
    def fails_in_thread(self, request: TryInThread) -> Seen:
        self.count += 1
        _fail_now(fail(request.how))
        return Seen(text="went on", count=self.count)

    @handler
    async def note(self, message: Note) -> None:
        self.count += 1
        await fail(message.how)

    @handler
    async def query(self, request: Query) -> Seen:
        self.count += 1
        return Seen(text="", count=self.count)


def _fail_now(failing: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that raises before it waits."""
    try:
        failing.send(None)
    except StopIteration:
        return


class FaultyHooks(Actor):
    """Fails in its hooks."""

    def __init__(self, start: str, stop: str) -> None:
        self._start = start
        self._stop = stop

    async def started(self, ctx: Context) -> None:
        await fail(self._start)

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        await fail(self._stop)

    @handler
    async def query(self, request: Query) -> Seen:
        return Seen(text="runs")


class Refuser(Agent):
    """Refuses on purpose."""

    @handler
    async def fails(self, request: Try) -> Seen:
        raise UsageError("not today", field=request.how)


class Nester(Faulty):
    """Asks another actor inside a `TaskGroup`."""

    def __init__(self, other: Ref[Any]) -> None:
        super().__init__()
        self._other = other

    @handler
    async def nested(self, request: QueryInThread, ctx: Context) -> Seen:
        self.count += 1

        async def ask() -> None:
            await ctx.ask(Try(how="nested"), self._other)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
        return Seen(text="went on")


class Leaver(Agent):
    """Leaves something behind, and reads what a message begins with."""

    concurrency: ClassVar[int] = 1

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[Any] = []

    @handler
    async def leaves(self, request: Try) -> Seen:
        self.count += 1
        self._leave(request.how)
        return Seen(text=state())

    @handler
    async def leaves_later(self, request: QueryWithContext, ctx: Context) -> Seen:
        await asyncio.sleep(0)
        self._leave("variable")
        await asyncio.sleep(0)
        return Seen(text=state())

    @handler
    def leaves_in_thread(self, request: TryInThread) -> Seen:
        self._leave(request.how)
        return Seen(text=variables())

    @handler
    async def query(self, request: Query) -> Seen:
        self.count += 1
        before = state()
        await asyncio.sleep(0.002)  # A cancellation, or a timer that was left, would come here.
        return Seen(text=before if before == state() else f"{before} -> {state()}")

    @handler
    def query_in_thread(self, request: QueryInThread) -> Seen:
        return Seen(text=variables())

    def _leave(self, how: str) -> None:
        match how:
            case "variable":
                mark().set("left")
            case "decimal":
                decimal.getcontext().prec = 3
            case "decimal_object":
                context = decimal.getcontext()
                context.traps[decimal.Inexact] = True
            case _:
                self._leave_in_task(how)

    def _leave_in_task(self, how: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        match how:
            case "cancel":
                task.cancel()
            case "cancel_soon":
                loop.call_soon(task.cancel)
            case "cancel_later":
                loop.call_later(0.001, task.cancel)
            case "cancel_uncancel":
                task.cancel()
                task.uncancel()
            case "uncancel":
                task.uncancel()
            case "name":
                task.set_name("left")
            case "timeout":
                scope = asyncio.timeout(0.001)
                self.kept.append(scope)
                with_nothing(scope.__aenter__())
            case "kept":
                self.kept.append(task)
                loop.call_later(0.001, task.cancel)
            case "callback":
                task.add_done_callback(lambda _: None)
            case _:
                pass


def with_nothing(entering: Coroutine[Any, Any, Any]) -> None:
    """Enter a context manager that does not wait."""
    try:
        entering.send(None)
    except StopIteration:
        return


def variables() -> str:
    context = decimal.getcontext()
    return f"{mark().get()} {context.prec} {context.traps[decimal.Inexact]}"


def state() -> str:
    task = asyncio.current_task()
    assert task is not None
    name = "left" if task.get_name() == "left" else "own"
    return f"{variables()} {name} {task.cancelling()}"


class SetsInHook(Agent):
    """Sets a variable in its constructor and in its hook."""

    def __init__(self) -> None:
        self.seen = mark().get()
        mark().set("constructor")

    async def started(self, ctx: Context) -> None:
        self.seen += f" {mark().get()}"
        mark().set("hook")

    @handler
    async def query(self, request: Query) -> Seen:
        return Seen(text=f"{self.seen} {mark().get()}")


class Spawner(Agent):
    """Starts a child whose constructor sets a variable."""

    @handler
    async def fails(self, request: Try, ctx: Context) -> Seen:
        mark().set("spawner")
        child = await ctx.spawn(SetsInHook)
        seen = await ctx.ask(Query(), child)
        return Seen(text=f"{seen.text}, {mark().get()}")
