"""Two systems on one file of metrics: the second one is refused, and the error names the first."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import callboard
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import StoreLocked
from callboard.runtime.stores.sqlite import SqliteMetricsStorage

HOLDS: Final = """
import signal, sys
from callboard.runtime.stores.sqlite import SqliteMetricsStorage

store = SqliteMetricsStorage(sys.argv[1], alone=True)
store.open()
print("open", flush=True)
signal.pause()
"""


async def test_a_second_system_is_refused_as_long_as_the_first_one_runs(tmp_path: Path) -> None:
    store = str(tmp_path / "metrics.db")
    async with callboard.start(engine="inline", metrics=store) as first:
        with pytest.raises(CallboardError, match="another system keeps its metrics") as refused:
            async with callboard.start(engine="inline", metrics=store):
                pass
        assert f"process {os.getpid()}, since 20" in str(refused.value)
        first.meter.bind_counter("orders").add()
        assert await first.metrics.flush() == 0
        assert {figures.figures["restores"] for figures in await first.metrics.figures()} == {0}
    async with callboard.start(engine="inline", metrics=store) as second:
        await second.metrics.figures()


def test_the_lock_goes_with_its_process_and_readers_need_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "open\n"
        store = SqliteMetricsStorage(path, alone=True)
        with pytest.raises(StoreLocked, match=f"process {holder.pid}") as refused:
            store.open()
        assert "`metrics`" in refused.value.advice
        for other in (SqliteMetricsStorage(path), SqliteMetricsStorage(path, reads_only=True)):
            other.open()
            other.close()
        os.kill(holder.pid, signal.SIGKILL)
        store.open()  # It waits for the end of the process.
        store.close()
        store.close()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
