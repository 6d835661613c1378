"""The metrics of a node: processors, memory, disk, network, open files; by psutil.

In a container most of them are those of the machine below it.
"""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Final

import psutil

from callboard.actors.kernel.inspection.metric_sources import Name, Reading

__all__ = ["read_node"]

FILES: Final = pathlib.Path("/proc/sys/fs/file-nr")
SHARED_MEMORY: Final = pathlib.Path("/dev/shm")  # noqa: S108 - its size is read
MODES: Final = ("user", "system", "idle", "iowait", "steal")
AVERAGES: Final = ("1m", "5m", "15m")
LOOPBACK: Final = "lo"

_Values = dict[Name, float]


def read_node() -> Reading:
    """The present figures of this node. What the system does not say is left out."""
    counts: _Values = {}
    gauges: _Values = {}
    parts: tuple[tuple[Callable[[_Values], None], _Values], ...] = (
        (_read_processors, counts),
        (_read_disks, counts),
        (_read_network, counts),
        (_read_load, gauges),
        (_read_memory, gauges),
        (_read_file_systems, gauges),
        (_read_open_files, gauges),
    )
    for read, values in parts:
        # Each platform and each container lacks something else.
        with contextlib.suppress(
            OSError, AttributeError, ValueError, RuntimeError, NotImplementedError, psutil.Error
        ):
            read(values)
    return Reading(counts, gauges)


def _read_processors(counts: _Values) -> None:
    times = psutil.cpu_times()._asdict()
    for mode in MODES:
        if mode in times:
            counts[Name("callboard_node_cpu_seconds", mode)] = times[mode]


def _read_disks(counts: _Values) -> None:
    found = psutil.disk_io_counters()
    if found is not None:
        counts[Name("callboard_node_disk_read_bytes")] = found.read_bytes
        counts[Name("callboard_node_disk_written_bytes")] = found.write_bytes


def _read_network(counts: _Values) -> None:
    found = psutil.net_io_counters(pernic=True)
    cards = [card for name, card in found.items() if not name.startswith(LOOPBACK)]
    counts[Name("callboard_node_network_received_bytes")] = sum(c.bytes_recv for c in cards)
    counts[Name("callboard_node_network_sent_bytes")] = sum(c.bytes_sent for c in cards)
    counts[Name("callboard_node_network_errors")] = sum(
        card.errin + card.errout + card.dropin + card.dropout for card in cards
    )


def _read_load(gauges: _Values) -> None:
    gauges[Name("callboard_node_cpus")] = psutil.cpu_count() or 0
    for over, load in zip(AVERAGES, psutil.getloadavg(), strict=True):
        gauges[Name("callboard_node_load", over)] = load


def _read_memory(gauges: _Values) -> None:
    memory = psutil.virtual_memory()
    gauges[Name("callboard_node_memory_bytes", "total")] = memory.total
    gauges[Name("callboard_node_memory_bytes", "available")] = memory.available
    gauges[Name("callboard_node_memory_bytes", "used")] = memory.used
    gauges[Name("callboard_node_swap_used_bytes")] = psutil.swap_memory().used


def _read_file_systems(gauges: _Values) -> None:
    for metric, path in (
        ("callboard_node_disk_bytes", tempfile.gettempdir()),
        ("callboard_node_shared_memory_bytes", SHARED_MEMORY),
    ):
        found = os.statvfs(path)
        gauges[Name(metric, "total")] = found.f_blocks * found.f_frsize
        gauges[Name(metric, "available")] = found.f_bavail * found.f_frsize


def _read_open_files(gauges: _Values) -> None:
    opened, _, most = map(int, FILES.read_text(encoding="ascii").split())
    gauges[Name("callboard_node_open_files")] = opened
    gauges[Name("callboard_node_open_files_max")] = most
