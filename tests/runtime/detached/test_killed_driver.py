"""The root notices a killed driver at once, and keeps a busy one.

The signs of life of these systems are so rare, or so frequent, that they cannot be what tells.
"""

import os
import signal
import time

import pytest

from .cluster import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

NOTICED_WITHIN_S = 10.0
"""Milliseconds on a machine that has nothing else to do. By its silence alone the driver of the
system below would be dropped after 600 s."""

STARTS = """
async def main():
    async with start(
        name="quick", detached=True, address=ADDRESS, hosts=1, standbys=0, heartbeat_s=60.0
    ) as system:
        await system.spawn(Waiting, name="waiting")
        say(up=True)

asyncio.run(main())
"""

HANGS = """
async def main():
    async with attach("quick", address=ADDRESS) as system:
        waiting = await system.lookup("waiting")
        ask = asyncio.ensure_future(waiting.ask(Hang(), timeout_s=3600.0))
        while not (await waiting.ask(HowMany())).running:
            await asyncio.sleep(0.01)
        say(hangs=True)
        await ask

asyncio.run(main())
"""

WATCHES = """
async def main():
    async with attach("quick", address=ADDRESS) as system:
        waiting = await system.lookup("waiting")
        say(watching=True)
        while (await waiting.ask(HowMany())).running:
            await asyncio.sleep(0.005)
        say(noticed_s=time.time())

asyncio.run(main())
"""


def test_the_end_of_a_driver_is_noticed_within_its_node(cluster: Cluster) -> None:
    assert cluster.said(STARTS)["up"]
    killed = cluster.driver(HANGS)
    assert killed.hear()["hangs"]
    watching = cluster.driver(WATCHES)
    assert watching.hear()["watching"]
    killed_s = time.time()
    os.kill(killed.process.pid, signal.SIGKILL)
    took_s = watching.hear()["noticed_s"] - killed_s
    killed.end()
    assert watching.end() == 0
    assert took_s < NOTICED_WITHIN_S
    assert cluster.callboard("down", "quick").returncode == 0


def test_the_end_of_a_job_is_noticed_anywhere(cluster: Cluster) -> None:
    killed = cluster.driver(
        """
        ray.init(address=ADDRESS, log_to_driver=False, logging_level="ERROR")
        say(job=ray.get_runtime_context().get_job_id())
        time.sleep(3600.0)
        """
    )
    job = killed.hear()["job"]
    watching = cluster.driver(
        f"""
        from callboard.runtime.detached.ports import JoinRequest
        from callboard.runtime.engines.ray.driver_watch import watch_process

        async def main():
            ray.init(address=ADDRESS, log_to_driver=False, logging_level="ERROR")
            elsewhere = JoinRequest(1 << 32, 1, "a driver of another node", None, {job!r}, None)
            gone = asyncio.Event()
            watch_process(elsewhere, gone.set, 0.1)
            await asyncio.sleep(1.0)  # Ten checks of a driver that lives.
            say(is_alive=not gone.is_set())
            await gone.wait()
            say(noticed_s=time.time())

        asyncio.run(main())
        """
    )
    assert watching.hear()["is_alive"]
    killed_s = time.time()
    os.kill(killed.process.pid, signal.SIGKILL)
    took_s = watching.hear()["noticed_s"] - killed_s
    killed.end()
    assert watching.end() == 0
    assert took_s < NOTICED_WITHIN_S


@pytest.mark.soak
def test_a_driver_that_computes_is_kept(cluster: Cluster) -> None:
    said = cluster.said(
        """
        async def main():
            async with start(
                name="busy", detached=True, address=ADDRESS, hosts=1, standbys=0,
                heartbeat_s=0.2,
            ) as system:
                counter = await system.spawn(Counter)
                await counter.ask(Add())
                time.sleep(4.0)  # Twice as long as the silence that would be its end.
                say(n=(await counter.ask(Add())).n, name=(await system.view()).name)

        asyncio.run(main())
        """
    )
    assert said["n"] == 2
    assert cluster.callboard("down", "busy").returncode == 0
