"""The thread runner: bounded, in order, and closed after the waiting calls."""

import asyncio
import threading

from callboard.actors.kernel.threads import ThreadRunner

WAIT_S = 20.0


async def test_calls_of_one_thread_run_in_their_order_and_then_the_last_one() -> None:
    runner, done = ThreadRunner("test"), list[str]()
    waits = [runner.call(done.append, name) for name in ("a", "b")]
    await runner.finish(lambda: done.append("last"), WAIT_S)
    assert done == ["a", "b", "last"]
    await asyncio.gather(*waits)


async def test_at_most_the_given_number_of_threads_run() -> None:
    runner, both = ThreadRunner("test", 2), threading.Barrier(2)
    running = most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(WAIT_S)
        with lock:
            running -= 1

    await asyncio.gather(*(runner.call(work) for _ in range(6)))
    assert most == 2
    runner.close()


async def test_a_call_that_hangs_does_not_block_the_close() -> None:
    runner, goes_on = ThreadRunner("test"), threading.Event()
    hangs = runner.call(goes_on.wait, WAIT_S)
    async with asyncio.timeout(WAIT_S):
        await runner.finish(lambda: None, 0.01)
    assert not hangs.done()
    goes_on.set()
    assert await hangs
