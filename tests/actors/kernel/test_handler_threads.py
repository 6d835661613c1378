"""Synchronous handlers that hang: they starve nobody, and what has not run says so."""

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from callboard import Actor, Context, Contract, Request, handler
from callboard.actors.kernel import threads
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.threads import ThreadRunner
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.core.errors import (
    CallboardError,
    DeadlineExceeded,
    HandlerFailed,
    MailboxFull,
    WrongReply,
)
from callboard.runtime.telemetry.metrics import figures_of
from callboard.testing import Simulation, simulated

SOON_S = 0.4
"""The deadline of asks that hang."""
WAIT_S = 20.0
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Hang(Request[None], name="threads.hang"):
    pass


class Hung(Contract, name="threads.hung"):
    pass


class Echoed(Contract, name="threads.echoed"):
    text: str


class Echo(Request[Echoed], name="threads.echo"):
    text: str


class Raise(Request[None], name="threads.raise"):
    what: str


class Gate:
    """Keeps handlers in their threads until it opens; notes those that have begun."""

    opens = threading.Event()
    began: ClassVar[list[str]] = []


@pytest.fixture(autouse=True)
def gate() -> Iterator[None]:
    Gate.opens = threading.Event()
    Gate.began = []
    yield
    Gate.opens.set()


class Hangs(Actor):
    @handler
    def hang(self, request: Hang) -> None:
        Gate.began.append(threading.current_thread().name)
        Gate.opens.wait(WAIT_S)

    @handler
    def hang_after_a_tell(self, message: Hung) -> None:
        Gate.began.append(threading.current_thread().name)
        Gate.opens.wait(WAIT_S)


class Echoes(Actor):
    @handler
    def echo(self, request: Echo) -> Echoed:
        return Echoed(text=request.text)


RAISED = {
    "SystemExit": SystemExit(2),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "StopIteration": StopIteration(1),
    "ValueError": ValueError("wrong"),
}


class Raises(Actor):
    @handler
    def raise_it(self, request: Raise) -> None:
        raise RAISED[request.what]


class Remembers(Actor):
    @handler
    def echo(self, request: Echo) -> Echoed:
        before = VARIABLE.get()
        VARIABLE.set(request.text)
        return Echoed(text=before)


class Forgets(Actor):
    """Its `def` gives coroutines and generators, as no check of the class can see."""

    @handler
    def echo(self, request: Echo) -> Any:
        async def later() -> Echoed:
            raise AssertionError("nobody awaits it")

        return later()

    @handler
    def hang(self, message: Hung) -> Any:
        return (number for number in range(3))


class Waits(Actor):
    @handler
    def hang(self, request: Hang, ctx: Context) -> None:
        Gate.began.append(threading.current_thread().name)
        ctx.cancelled.wait(WAIT_S)


async def hang_all(spawn: Any, count: int) -> list[Any]:
    """Actors whose asks have passed their deadline while their threads still run."""
    hung = [await spawn(Hangs) for _ in range(count)]
    outcomes = await asyncio.gather(
        *(ref.ask(Hang(), timeout_s=SOON_S) for ref in hung), return_exceptions=True
    )
    assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
    return hung


async def test_hung_handlers_starve_no_other_actor(host: Host, spawn: Any) -> None:
    await hang_all(spawn, threads.THREADS_MAX + 8)
    assert len(Gate.began) >= threads.THREADS_MAX
    echo = await spawn(Echoes)
    assert (await echo.ask(Echo(text="hello"), timeout_s=WAIT_S)).text == "hello"
    figures = await figures_of(host)
    assert figures["callboard_threads_hung"] == len(Gate.began)
    Gate.opens.set()


async def test_handler_of_a_tell_that_hangs_leaves_the_count_too(
    monkeypatch: pytest.MonkeyPatch, host: Host, spawn: Any
) -> None:
    monkeypatch.setattr(host.dispatcher.threads, "_patience_s", SOON_S)
    monkeypatch.setattr(threads, "THREADS_MAX", 1)
    hung, echo = await spawn(Hangs), await spawn(Echoes)
    hung.tell(Hung())
    assert (await echo.ask(Echo(text="hello"), timeout_s=WAIT_S)).text == "hello"
    assert list(host.dispatcher.threads.hung)


async def test_above_the_bound_new_asks_are_refused_at_once_and_name_the_hung_handlers(
    monkeypatch: pytest.MonkeyPatch, host: Host, spawn: Any
) -> None:
    monkeypatch.setattr(threads, "HUNG_MAX", 3)
    monkeypatch.setattr(threads, "NAMED_MAX", 2)
    hung = await hang_all(spawn, 3)
    echo = await spawn(Echoes)
    paths = [f"hang of /${ref.address.cell}" for ref in hung]
    for _ in range(2):
        with pytest.raises(MailboxFull) as caught:
            await echo.ask(Echo(text="hello"), timeout_s=WAIT_S)
        assert not caught.value.may_have_run
        assert f"{paths[0]}, {paths[1]} and 1 more." in str(caught.value)
    figures = await figures_of(host)
    assert figures["callboard_threads_refused"] == 2
    Gate.opens.set()
    ended = [call.ended for call in host.dispatcher.threads.hung]
    await asyncio.wait_for(asyncio.gather(*ended), WAIT_S)
    assert (await echo.ask(Echo(text="again"), timeout_s=WAIT_S)).text == "again"
    assert (await figures_of(host))["callboard_threads_hung"] == 0


async def test_ask_that_got_no_thread_before_its_deadline_has_not_run(
    monkeypatch: pytest.MonkeyPatch, host: Host, spawn: Any
) -> None:
    monkeypatch.setattr(threads, "THREADS_MAX", 1)
    first, second = await spawn(Hangs), await spawn(Hangs)
    running = first.ask(Hang(), timeout_s=WAIT_S)
    with pytest.raises(DeadlineExceeded) as caught:
        await second.ask(Hang(), timeout_s=SOON_S)
    assert not caught.value.may_have_run
    Gate.opens.set()
    await running
    assert (await second.ask(Hang(), timeout_s=WAIT_S)) is None
    assert len(Gate.began) == 2, "the expired one never ran"


class Sleeps(Actor):
    @handler
    async def hang(self, request: Hang) -> None:
        await asyncio.sleep(10.0)


@simulated(hosts=1)
async def test_ask_over_a_link_says_whether_its_handler_has_begun(sim: Simulation) -> None:
    sleeps = await sim.system.spawn(Sleeps)
    running = asyncio.ensure_future(sleeps.ask(Hang(), timeout_s=2.0))
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded) as caught:
        await sleeps.ask(Hang(), timeout_s=1.0)
    assert not caught.value.may_have_run
    assert asyncio.get_running_loop().time() - began_s > 0.97
    with pytest.raises(DeadlineExceeded) as caught:
        await running
    assert caught.value.may_have_run
    assert asyncio.get_running_loop().time() - began_s >= 1.98


async def test_cancelled_handler_still_has_its_actor_to_itself(spawn: Any) -> None:
    waits = await spawn(Waits)
    with pytest.raises(DeadlineExceeded):
        await waits.ask(Hang(), timeout_s=SOON_S)
    assert len(Gate.began) == 1
    with pytest.raises(DeadlineExceeded):
        await waits.ask(Hang(), timeout_s=SOON_S)
    assert len(Gate.began) == 2


@pytest.mark.parametrize("what", RAISED)
async def test_whatever_a_handler_raises_in_its_thread_fails_one_actor(
    spawn: Any, what: str
) -> None:
    raises, echo = await spawn(Raises), await spawn(Echoes)
    with pytest.raises(CallboardError) as caught:
        await raises.ask(Raise(what=what), timeout_s=WAIT_S)
    assert isinstance(caught.value, HandlerFailed)
    assert what in caught.value.remote_traceback
    assert (await echo.ask(Echo(text="hello"), timeout_s=WAIT_S)).text == "hello"


@pytest.mark.parametrize("error", RAISED.values())
async def test_whatever_a_call_raises_in_a_thread_is_an_exception(error: BaseException) -> None:
    def call() -> None:
        raise error

    runner = ThreadRunner("test")
    with pytest.raises(Exception, match=f"{type(error).__name__}|wrong") as caught:
        await runner.call(call)
    assert error in {caught.value, caught.value.__cause__}
    runner.close()


async def test_function_of_a_role_that_raises_in_a_thread_raises_an_exception(host: Host) -> None:
    def call() -> None:
        raise SystemExit(2)

    with pytest.raises(RuntimeError, match=r"call raised SystemExit\(2\)"):
        await host.dispatcher.run_in_thread(call)


async def test_context_variables_of_one_handler_are_not_seen_by_the_next(spawn: Any) -> None:
    remembers = await spawn(Remembers)
    seen = [(await remembers.ask(Echo(text=text))).text for text in "abc"]
    assert seen == ["unset"] * 3


async def test_def_that_returns_a_coroutine_or_a_generator_says_so(host: Host, spawn: Any) -> None:
    forgets = await spawn(Forgets)
    with pytest.raises(WrongReply, match="echo is a `def` that returned a coroutine"):
        await forgets.ask(Echo(text="hello"))
    letters: asyncio.Queue[DeadLetter] = asyncio.Queue()
    host.dead_letters.subscribe(letters.put_nowait)
    forgets.tell(Hung())
    letter = await asyncio.wait_for(letters.get(), WAIT_S)
    assert letter.reason == "handler_failed"
    assert letter.error is not None
    assert "returned a generator" in letter.error["message"]


DRIVER = """
import threading
import callboard
from callboard import Actor, Request, System, errors, handler

class Hang(Request[None]):
    pass

class Hangs(Actor):
    @handler
    def hang(self, request: Hang) -> None:
        threading.Event().wait()

async def main(system: System) -> None:
    hangs = await system.spawn(Hangs)
    try:
        await hangs.ask(Hang(), timeout_s=0.1)
    except errors.DeadlineExceeded:
        print("hangs", flush=True)

callboard.run(main, engine="inline", stop_timeout_s=0.2)
"""


def test_program_with_a_hung_handler_ends(tmp_path: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, str(driver)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "hangs\n"), done.stderr
