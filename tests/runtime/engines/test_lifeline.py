"""The kernel reports the end of a process at once, of the right process, and never falsely."""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from callboard.runtime.transport.process_watch import Identity, identity_of, until_ended

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's pidfd_open")

PROC = pathlib.Path("/proc")
Run = Callable[[Coroutine[Any, Any, None]], None]


def _descriptors() -> int:
    return len(list((PROC / "self/fd").iterdir()))


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing for long."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Drivers run on either loop."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_on_it(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work)

    return run_on_it


def test_a_kill_is_reported_at_once_also_of_a_zombie(
    child: subprocess.Popen[bytes], run: Run
) -> None:
    async def main() -> None:
        ended = asyncio.ensure_future(until_ended(identity_of(child.pid)))
        await asyncio.sleep(0)
        assert not ended.done()
        os.kill(child.pid, signal.SIGKILL)
        async with asyncio.timeout(5.0):
            await ended
        # It is a zombie: its parent, this process, has not asked for its exit code.
        assert child.returncode is None

    run(main())


def test_an_earlier_end_is_reported_too(child: subprocess.Popen[bytes], run: Run) -> None:
    identity = identity_of(child.pid)
    child.kill()
    child.wait()

    async def main() -> None:
        async with asyncio.timeout(5.0):
            await until_ended(identity)

    run(main())


def test_an_id_that_has_gone_to_another_process_is_no_longer_that_process(
    child: subprocess.Popen[bytes], run: Run
) -> None:
    before = identity_of(child.pid)._replace(began_ticks=1)

    async def main() -> None:
        async with asyncio.timeout(5.0):
            await until_ended(before)

    run(main())


@pytest.mark.parametrize("namespace", ["", "another-machine/pid:[4026531836]"])
def test_a_process_that_cannot_be_watched_is_never_reported(
    namespace: str, child: subprocess.Popen[bytes], run: Run
) -> None:
    """Although a process with the same id ends here."""
    elsewhere = Identity(child.pid, identity_of(child.pid).began_ticks, namespace)

    async def main() -> None:
        ended = asyncio.ensure_future(until_ended(elsewhere))
        here = asyncio.ensure_future(until_ended(identity_of(child.pid)))
        await asyncio.sleep(0)
        child.kill()
        await here
        assert not ended.done()
        ended.cancel()

    run(main())


def test_without_descriptors_nothing_is_reported(
    child: subprocess.Popen[bytes], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = identity_of(child.pid)

    def none_left(_: int) -> int:
        raise OSError(24, "Too many open files")

    async def main() -> None:
        ended = asyncio.ensure_future(until_ended(identity))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not ended.done()
        ended.cancel()

    monkeypatch.setattr(os, "pidfd_open", none_left)
    run(main())


def test_a_cancelled_wait_leaves_no_descriptor(child: subprocess.Popen[bytes], run: Run) -> None:
    async def main() -> None:
        before = _descriptors()
        for _ in range(20):
            ended = asyncio.ensure_future(until_ended(identity_of(child.pid)))
            await asyncio.sleep(0)
            ended.cancel()
            await asyncio.wait((ended,))
        assert _descriptors() == before

    run(main())


def test_an_unknown_process_has_no_identity() -> None:
    with pytest.raises(ProcessLookupError, match="no process"):
        identity_of(2**30)


def test_the_beginning_of_a_process_is_read_whatever_its_name() -> None:
    """A name may hold brackets and blanks: the fields stand behind its last bracket."""
    code = "import pathlib;pathlib.Path('/proc/self/comm').write_text('a) R 1 (b'); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        before = identity_of(process.pid)
        deadline_s = time.monotonic() + 10.0
        while "a) R" not in (PROC / f"{process.pid}/comm").read_text():
            assert time.monotonic() < deadline_s
        assert identity_of(process.pid) == before
        process.kill()
