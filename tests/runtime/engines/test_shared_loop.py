"""A loop that actors share with a driver: their exits do not end it, those of the driver do."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

import callboard
from callboard.actors.kernel.isolation import fresh_context
from callboard.runtime.api.system import System
from callboard.runtime.engines.shared_loop import guard

from . import isolation_actors as actors

MakeLoop = Callable[[], asyncio.AbstractEventLoop]
LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


def run(make: MakeLoop, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def whole() -> Any:
        unguard = guard(asyncio.get_running_loop())
        try:
            return await main()
        finally:
            unguard()

    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(whole())


async def exits() -> None:
    await asyncio.sleep(0)
    sys.exit(2)


async def interrupts() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("make", LOOPS)
@pytest.mark.parametrize(
    ("failing", "raised"), [(exits, SystemExit), (interrupts, KeyboardInterrupt)]
)
def test_the_task_of_an_actor_fails_and_the_loop_goes_on(
    make: MakeLoop,
    failing: Callable[[], Coroutine[Any, Any, None]],
    raised: type[BaseException],
) -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        with pytest.raises(raised):
            await loop.create_task(failing(), context=fresh_context())
        return "went on"

    assert run(make, main) == "went on"


@pytest.mark.parametrize("make", LOOPS)
def test_the_callbacks_of_an_actor_do_not_end_the_loop(make: MakeLoop) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        called: list[str] = []
        all_called = loop.create_future()

        def leave(name: str) -> None:
            called.append(name)
            if len(called) == 4:
                all_called.set_result(None)
            sys.exit(2)

        def call() -> None:
            loop.call_soon(leave, "soon")
            loop.call_soon_threadsafe(leave, "threadsafe")
            loop.call_later(0.001, leave, "later")
            loop.call_at(loop.time() + 0.01, leave, "at")

        fresh_context().run(call)
        await all_called
        return called

    assert set(run(make, main)) == {"soon", "threadsafe", "later", "at"}


@pytest.mark.parametrize("make", LOOPS)
def test_what_the_driver_calls_may_end_it(make: MakeLoop) -> None:
    async def main() -> None:
        task = asyncio.create_task(exits())
        await asyncio.sleep(3_600.0)
        await task

    with pytest.raises(SystemExit):
        run(make, main)


@pytest.mark.parametrize("make", LOOPS)
def test_ctrl_c_ends_the_loop_in_the_code_of_an_actor(make: MakeLoop) -> None:
    """The second Ctrl-C: the first has cancelled the main task."""

    async def busy() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("Ctrl-C comes before this")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(busy(), context=fresh_context())
        task.add_done_callback(lambda done: done.exception() and None)
        await asyncio.sleep(3_600.0)

    with pytest.raises(KeyboardInterrupt):
        run(make, main)


@pytest.mark.parametrize("make", LOOPS)
def test_a_loop_is_as_before_once_the_last_system_has_left(make: MakeLoop) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = dict(vars(loop))
        leaves = [guard(loop), guard(loop)]
        assert "call_soon" in vars(loop)
        leaves[0]()
        assert "call_soon" in vars(loop)
        leaves[1]()
        assert dict(vars(loop)) == before

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())


@pytest.mark.parametrize("how", ["exit_in_gather", "interrupt_in_task", "soon", "later"])
def test_a_run_goes_on_after_an_exit_in_an_actor(how: str) -> None:
    async def main(system: System) -> int:
        faulty = await system.spawn(actors.Faulty, host=1)
        other = await system.spawn(actors.Faulty, host=1)
        await asyncio.wait((asyncio.ensure_future(faulty.ask(actors.Try(how=how))),))
        return (await other.ask(actors.Query())).count

    assert callboard.run(main, engine="inline", hosts=1, standbys=0) == 1


def test_the_main_function_of_a_driver_may_exit() -> None:
    async def main(system: System) -> None:
        await system.spawn(actors.Faulty, host=1)
        sys.exit(7)

    with pytest.raises(SystemExit, match="7"):
        callboard.run(main, engine="inline", hosts=1, standbys=0)
