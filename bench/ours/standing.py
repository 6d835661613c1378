"""What benches that kill hosts share: settings without back-off, and the wait in between.

Each kill is meant to be a first failure. By default a host that is lost again within
seconds waits before it is replaced, and one kill a second is near the intensity at which
the system gives up; both are right, and neither is what these benches ask.
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
    """Until every host is up and so many standbys stand by, as the system's view says.

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
