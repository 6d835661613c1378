"""Shared code of benches that kill hosts: settings without back-off, and the wait between kills.

Each kill should count as a first failure. By default a host that is lost again within seconds waits
before its replacement, and one kill per second is near the intensity at which the system gives up.
These defaults are right, but these benches do not measure them.
"""

import asyncio
import time

from callboard import System
from callboard.supervision import Backoff, Intensity, SupervisorSpec

__all__ = ["KILLED_OFTEN", "wait_until_standing"]

KILLED_OFTEN = SupervisorSpec(
    intensity=Intensity(restarts=1_000, period_s=30.0), backoff=Backoff(max_s=0.0)
)
STANDING_TIMEOUT_S = 60.0
QUERY_EVERY_S = 0.05


async def wait_until_standing(system: System, *, standbys: int) -> None:
    """Wait until every host is up and so many standbys are ready, by the system's view.

    Raises:
        TimeoutError: if that does not happen.
    """
    deadline_s = time.monotonic() + STANDING_TIMEOUT_S
    while True:
        view = await system.view(actors_max=0)
        # A host that is down has no process.
        if view.standbys >= standbys and all(host.pid for host in view.hosts):
            return
        if time.monotonic() > deadline_s:
            msg = f"{view.standbys} of {standbys} standbys after {STANDING_TIMEOUT_S} s"
            raise TimeoutError(msg)
        await asyncio.sleep(QUERY_EVERY_S)
