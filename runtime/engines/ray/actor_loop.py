"""The event loop of a Ray actor, in a thread that keeps it running.

Ray runs the loop of an actor in a thread that ends with the first `SystemExit` or
`KeyboardInterrupt` of a task or callback. The process would live on, and answer calls of other
concurrency groups, without the loop that runs its actors. So another thread takes the loop over:
it runs it again after such an exception, whose task has failed and reports that as usual. When the
loop ends in another way, the process ends, so that a standby takes its place.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from typing import Final

__all__ = ["take_over"]

LOGGER: Final = logging.getLogger("callboard.ray")
ENDS_WITHIN_S: Final = 1.0
"""Ray stops the loops of a process that it ends in order; the process is gone by then."""


def take_over() -> None:
    """Let a new thread run the loop of this Ray actor, from its next iteration on."""
    loop = asyncio.get_running_loop()
    before = threading.current_thread()
    threading.Thread(
        target=_keep_running, args=(loop, before), name="callboard-loop", daemon=True
    ).start()
    loop.stop()


def _keep_running(loop: asyncio.AbstractEventLoop, before: threading.Thread) -> None:
    before.join()
    while not loop.is_closed():
        try:
            loop.run_forever()
            break
        except BaseException as error:  # noqa: BLE001 - the code of an actor may raise anything
            LOGGER.warning(
                "the code of an actor raised %s in a task or callback", type(error).__name__
            )
    time.sleep(ENDS_WITHIN_S)
    LOGGER.error("the event loop of this process has ended, and so the process ends")
    os.kill(os.getpid(), signal.SIGKILL)
