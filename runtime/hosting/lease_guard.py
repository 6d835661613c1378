"""The guard of a process that runs actors: ends it when its lease has ended, or its root.

A thread of its own, not the watchdog: it begins before the process is a host, and it does not wait
for the event loop. On Linux, a timer of the kernel ends a process that the guard does not end,
because it is stopped or some code holds Python's lock: `LATEST_SHARE` of the lease later.

A process whose root runs on the same machine and cannot be replaced needs no lease: the kernel says
to each of them when the other one has ended, and a root that is suspended loses no host.
"""

import contextlib
import logging
import os
import select
import signal
import sys
import threading
from typing import Final

from ..transport.process_watch import Identity, descriptor_of
from .boot_time import boot_time_s
from .kernel_timer import KernelTimer
from .lease import Lease

__all__ = ["LeaseGuard"]

LOGGER: Final = logging.getLogger("callboard.lease")
WAIT_MAX_S: Final = 0.5
"""The longest wait of the thread, whose waits may stand still while the machine sleeps."""


class LeaseGuard:
    """Guards this process from now on, with a lease until `watch_root` says otherwise."""

    def __init__(self, name: str, lease_s: float) -> None:
        self._name = name
        self._lease = Lease(lease_s, boot_time_s())
        self._lock = threading.Lock()
        """Guards the lease, which the thread and heartbeats use."""
        self._has_lease = True
        self._timer: KernelTimer | None = None
        with contextlib.suppress(OSError):
            self._timer = KernelTimer()
            self._timer.set(self._lease.latest_s)
        self._released = threading.Event()
        threading.Thread(target=self._watch_lease, name="callboard-lease", daemon=True).start()

    def answer(self, stamp_s: float | None) -> float:
        """Answer a heartbeat, from any thread: renew the lease, and give the next stamp."""
        now_s = boot_time_s()
        with self._lock:
            if stamp_s is not None and self._has_lease:
                self._lease.renew(stamp_s, now_s)
                self._set_timer(self._lease.latest_s)
        return now_s

    def watch_root(self, root: Identity | None) -> None:
        """Hold no lease: the root cannot be replaced, and the kernel tells of its end here.

        None for a root on the only machine of its cluster, whose end Ray itself notices.
        """
        with self._lock:
            self._has_lease = False
            self._set_timer(0.0)
        self._released.set()
        descriptor = None if root is None else descriptor_of(root)
        if descriptor is not None:
            threading.Thread(
                target=self._watch_root,
                args=(descriptor,),
                name="callboard-root-watch",
                daemon=True,
            ).start()

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.set(at_s)

    def _watch_lease(self) -> None:
        while True:
            with self._lock:
                rest_s = self._lease.ends_s - boot_time_s()
                if not self._has_lease:
                    return
            if rest_s <= 0.0:
                self._end(f"no root has renewed its lease of {self._lease.lease_s:g} s")
            self._released.wait(min(rest_s, WAIT_MAX_S))

    def _watch_root(self, descriptor: int) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
        self._end("the process of its root has ended")

    def _end(self, why: str) -> None:
        LOGGER.error("host process %s ends: %s", self._name, why)
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
