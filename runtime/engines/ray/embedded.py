"""An embedded Ray listens on this machine only, and ends with its driver.

Ray has a setting for the dashboard's address, but its other daemons and each worker listen on all
interfaces, unless the node's own address is 127.0.0.1. `ray.init` replaces that address by the
machine's, except where Ray runs on one machine at a time: on macOS and Windows. `on_loopback` has
the same effect on Linux.

When a driver is killed, the kernel ends Ray's daemons. Two of them are children of another daemon,
and find that it is dead. Then they report it to a control store that is dead as well, for 60 s
(`publish_error` in `ray/_private/process_watcher.py`), a limit for which Ray has no setting. So a
process of our own ends them: `agent_watch.py`.
"""

import contextlib
import importlib
import logging
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

from . import agent_watch
from .local_processes import ray_processes

__all__ = ["LOOPBACK", "PROGRAM", "AgentWatch", "on_loopback"]

LOGGER: Final = logging.getLogger("callboard.ray")
LOOPBACK: Final = "127.0.0.1"
PROGRAM: Final = pathlib.Path(agent_watch.__file__)


@contextlib.contextmanager
def on_loopback() -> Iterator[dict[str, Any]]:
    """The options of `ray.init` with which all daemons listen on the loopback interface only."""
    # Ray reads the variable (RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER) as it is imported, which may be
    # before this.
    constants: Any = importlib.import_module("ray._private.ray_constants")
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield {"_node_ip_address": LOOPBACK}
    finally:
        constants.ENABLE_RAY_CLUSTER = before


class AgentWatch:
    """The process that ends what an embedded Ray leaves behind when its driver is killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Watch over Ray's present processes, where the system can name a process for good."""
        if sys.platform != "linux":
            return
        descriptors: list[int] = []
        try:
            descriptors.append(os.pidfd_open(os.getpid()))
            for process in ray_processes():
                with contextlib.suppress(ProcessLookupError):
                    descriptors.append(os.pidfd_open(process.pid))
                    if not process.is_running():  # Its id may be another process's by now.
                        os.close(descriptors.pop())
            self._process = _start(descriptors)
        except OSError as error:  # No such call, or no descriptor left.
            LOGGER.info("nothing ends Ray's agents early if this process is killed: %s", error)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def stop(self) -> None:
        """End the watch: this process ends Ray by itself."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _start(descriptors: list[int]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C does not reach it. No output: nobody has to wait for its end.
    return subprocess.Popen(  # noqa: S603 - a program of our own
        [sys.executable, "-I", "-S", str(PROGRAM), *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        pass_fds=descriptors,
        start_new_session=True,
    )
