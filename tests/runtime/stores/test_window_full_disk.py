"""A disk that is really full: windows are refused as a whole, and stored when there is room."""

from pathlib import Path

import numpy as np
import pytest

from callboard.actors.metrics.ports import ShardState
from callboard.messages.storage.errors import StoreFull
from callboard.runtime.stores.sqlite import SqliteMetricsStorage
from tests.actors.metrics.aggregation.window_rows import (
    BEGIN_NS,
    MINUTE_NS,
    SERIES,
    Window,
    contents,
    rows_of,
)

from .test_full_disk import DISK_BYTES, disk

__all__ = ["disk"]

ALWAYS = (-(2**62), 2**62)
COMMITS_MAX = 1_000


def test_a_full_disk_takes_nothing_of_a_commit_and_goes_on_with_room(
    disk: Path,
) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES // 2))
    store = SqliteMetricsStorage(disk / "windows.db")
    store.open()
    store.claim(0, 1)
    draw = np.random.default_rng(1)
    entries: list[bytes] = []
    for number in range(COMMITS_MAX):
        entry = draw.bytes(50_000)
        rows = rows_of([Window(SERIES[0], BEGIN_NS + number * MINUTE_NS, (1.0, 2.0))])
        try:
            store.commit(0, 1, log=entry, windows=[rows])
        except StoreFull:
            break
        entries.append(entry)
    else:
        pytest.fail("the disk does not become full")
    with pytest.raises(StoreFull) as full:
        store.commit(0, 1, log=entry, windows=[rows])
    assert not full.value.may_have_run
    assert len(store.windows((), MINUTE_NS, *ALWAYS, 10_000)) == len(entries)
    ballast.unlink()
    store.commit(0, 1, log=entry, windows=[rows])
    last = store.windows((), MINUTE_NS, BEGIN_NS + len(entries) * MINUTE_NS, 2**62, 10)
    assert contents(last) == contents(rows)
    assert store.claim(0, 2) == ShardState(b"", (*entries, entry))
    store.close()
