"""The guard of a process, with real processes that are stopped, busy, or left by their root."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from callboard.runtime.hosting.boot_time import boot_time_s
from callboard.runtime.hosting.kernel_timer import KernelTimer
from callboard.runtime.transport.process_watch import identity_of

pytestmark = pytest.mark.timeout(60)

ENDS_WITHIN_S = 30.0
HEAD = """
import ctypes, logging, os, signal, sys, threading, time
from callboard.runtime.hosting.lease_guard import LeaseGuard
from callboard.runtime.transport.process_watch import Identity
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
"""


def has_kernel_timer() -> bool:
    try:
        KernelTimer()
    except OSError:
        return False
    return True


needs_timer = pytest.mark.skipif(not has_kernel_timer(), reason="no timer_create(2) here")
needs_watch = pytest.mark.skipif(
    not identity_of(os.getpid()).namespace, reason="the kernel watches no processes here"
)


class Guarded:
    """A guarded process under way; each of its lines is heard once."""

    def __init__(self, text: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEAD + textwrap.dedent(text)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ended(self) -> tuple[int, str]:
        """Its exit code and its log, once it has ended."""
        _, log = self.process.communicate(timeout=ENDS_WITHIN_S)
        return self.process.returncode, log


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes the part of a root."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_a_process_ends_with_its_lease_and_says_so() -> None:
    """Its thread ends it where the kernel has no timer."""
    guarded = Guarded("""
        from callboard.runtime.hosting import lease_guard

        def missing():
            raise OSError("no timer")

        lease_guard.KernelTimer = missing
        LeaseGuard("host-7", 0.5)
        time.sleep(600)
    """)
    code, log = guarded.ended()
    assert code == -signal.SIGKILL
    assert "host process host-7 ends: no root has renewed its lease of 0.5 s" in log


def test_a_process_lives_while_it_is_renewed() -> None:
    guarded = Guarded("""
        guard = LeaseGuard("host-7", 2.0)
        stamp_s, until_s = None, time.monotonic() + 5.0
        while time.monotonic() < until_s:
            stamp_s = guard.answer(stamp_s)
            time.sleep(0.05)
        print("lives", flush=True)
        time.sleep(600)
    """)
    assert guarded.hear() == "lives"
    assert guarded.ended()[0] == -signal.SIGKILL


@needs_timer
def test_a_stopped_process_is_ended_while_it_is_stopped() -> None:
    guarded = Guarded("""
        LeaseGuard("host-7", 1.0)
        os.kill(os.getpid(), signal.SIGSTOP)
        print("runs again", flush=True)
    """)
    code, log = guarded.ended()
    assert (code, log) == (-signal.SIGKILL, "")


@needs_timer
def test_code_that_holds_the_lock_of_python_is_ended() -> None:
    guarded = Guarded("""
        LeaseGuard("host-7", 1.0)
        ctypes.PyDLL(None).sleep(600)
    """)
    assert guarded.ended()[0] == -signal.SIGKILL


@needs_watch
def test_without_a_lease_a_process_lives_as_long_as_its_root(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    guarded = Guarded(f"""
        guard = LeaseGuard("host-7", 0.5)
        guard.watch_root(Identity(*{tuple(identity_of(sleeper.pid))!r}))
        print("waits", flush=True)
        time.sleep(2.0)
        print("lives", flush=True)
        time.sleep(600)
    """)
    assert guarded.hear() == "waits"
    sleeper.send_signal(signal.SIGSTOP)
    assert guarded.hear() == "lives"
    sleeper.kill()
    code, log = guarded.ended()
    assert code == -signal.SIGKILL
    assert "host process host-7 ends: the process of its root has ended" in log


@needs_timer
def test_a_timer_that_is_set_to_never_ends_nothing() -> None:
    timer = KernelTimer()
    timer.set(boot_time_s() + 600.0)
    timer.set(0.0)
