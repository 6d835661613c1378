"""The memory settings of long-lived processes."""

import asyncio
import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.runtime.hosting import memory

ONLY_GLIBC = pytest.mark.skipif(not memory.IS_GLIBC, reason="another C library")

HEAPS = """
import ctypes, threading
from callboard.runtime.hosting.memory import tune_heap

tune_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(16)
def take():
    together.wait(10)
    libc.malloc(ctypes.c_size_t(50_000))
    together.wait(10)
threads = [threading.Thread(target=take) for _ in range(15)]
for thread in threads:
    thread.start()
take()
for thread in threads:
    thread.join(10)
libc.malloc_stats()
"""


def _heaps(**environment: str) -> int:
    """The number of heaps of a process whose 16 threads have allocated memory."""
    inherited = {
        k: v
        for k, v in os.environ.items()
        if k not in (*memory.FEW_HEAPS, *memory.KEPT, memory.ALL_VARIABLE)
    }
    found = subprocess.run(
        [sys.executable, "-c", HEAPS],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return sum(line.startswith("Arena ") for line in found.stderr.splitlines())


@ONLY_GLIBC
def test_threads_share_few_heaps() -> None:
    assert _heaps() <= memory.HEAPS_MAX


@ONLY_GLIBC
def test_a_user_may_say_how_many_heaps() -> None:
    assert _heaps(MALLOC_ARENA_MAX="8") > memory.HEAPS_MAX


LARGE = """
import ctypes, time
from pathlib import Path
from callboard.runtime.hosting import memory

memory.RETURN_EVERY_S = 0.1
memory.tune_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
blocks = []
for _ in range(8):
    blocks.append(libc.malloc(ctypes.c_size_t(100_000_000)))
    ctypes.memset(blocks[-1], 1, 100_000_000)
    libc.malloc(ctypes.c_size_t(50_000))  # It stays, above the block.
assert resident() - before > 700_000_000
for block in blocks:
    libc.free(block)
ends = time.monotonic() + 30
while resident() - before > memory.FREE_BYTES_KEPT:
    assert time.monotonic() < ends, resident() - before
    time.sleep(0.05)
"""


@ONLY_GLIBC
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_blocks_that_were_freed_go_back_wherever_they_lie() -> None:
    subprocess.run([sys.executable, "-c", LARGE], timeout=60, check=True)


@ONLY_GLIBC
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_pages_go_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    count, size = 800, 50_000  # Too small to be mapped alone: they come from the heap.
    blocks = [libc.malloc(ctypes.c_size_t(size)) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    last = blocks.pop()  # Above all that is freed: the heap cannot simply end earlier.
    for block in blocks:
        libc.free(block)
    before = _resident_bytes()
    memory.return_free_pages()
    after = _resident_bytes()
    libc.free(last)
    assert before - after > count * size / 2


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IS_GLIBC", False)
    monkeypatch.setattr(ctypes, "CDLL", _refuse)
    memory.tune_heap()
    memory.return_free_pages()


def _refuse(name: str | None) -> None:
    raise AssertionError(f"{name} was opened")


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if before else gc.disable)()


async def _later_timer() -> None:
    """Returns when a timer behind that of the pause has fired: a loop keeps their order."""
    loop = asyncio.get_running_loop()
    fired = loop.create_future()
    loop.call_later(0.02, fired.set_result, None)
    await fired


@pytest.mark.usefixtures("collector")
async def test_the_collector_pauses_and_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PAUSE_S", 0.01)
    pause = memory.GcPause()
    pause.begin()
    assert not gc.isenabled()
    await _later_timer()
    assert gc.isenabled()
    pause.begin()
    assert not gc.isenabled()  # Another one, after the first.
    pause.end()
    assert gc.isenabled()


@pytest.mark.usefixtures("collector")
async def test_a_pause_under_way_is_not_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    pause = memory.GcPause()
    monkeypatch.setattr(memory, "PAUSE_S", 0.01)
    pause.begin()
    monkeypatch.setattr(memory, "PAUSE_S", 60.0)
    pause.begin()
    await _later_timer()
    assert gc.isenabled()


@pytest.mark.usefixtures("collector")
async def test_a_collector_that_the_user_has_switched_off_stays_off() -> None:
    gc.disable()
    pause = memory.GcPause()
    pause.begin()
    pause.end()
    assert not gc.isenabled()
