"""The watch of Ray's control store by a root in a driver, which cannot be replaced.

Without the control store Ray ends its processes one after the other within a minute, and starts no
more. So the root renews leases only while the control store answers. A thread asks it, as a driver
may compute for long.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import ray

from ...control_plane.authority import AUTHORITY_S, CONFIRM_EVERY_S

__all__ = ["ControlStoreWatch"]

LOGGER: Final = logging.getLogger("callboard.ray")
KEY: Final = b"callboard/control-store-watch"
"""A key that nothing writes: only the answer counts."""


class ControlStoreWatch:
    """Asks the control store again and again, until `stop`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked_s = clock()
        """When the last question that was answered began."""
        self._stopped: Final = threading.Event()

    def start(self) -> None:
        """Begin, once Ray is connected."""
        self._asked_s = self._clock()
        threading.Thread(target=self._run, name="callboard-control-store", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def renews_until_s(self) -> float:
        """See `Engine`."""
        return self._asked_s + AUTHORITY_S

    def _run(self) -> None:
        is_silent = False
        while not self._stopped.wait(CONFIRM_EVERY_S):
            asked_s = self._clock()
            try:
                _ask()
            except Exception as error:  # noqa: BLE001 - whatever Ray raises, it has not answered
                if not is_silent:
                    LOGGER.warning("the cluster's control store does not answer: %s", error)
                is_silent = True
                continue
            if is_silent:
                LOGGER.warning("the cluster's control store answers again")
            is_silent, self._asked_s = False, asked_s


def _ask() -> None:
    worker: Any = ray._private.worker.global_worker  # noqa: SLF001 - Ray has no public way
    worker.gcs_client.internal_kv_exists(KEY, None, timeout=AUTHORITY_S)
