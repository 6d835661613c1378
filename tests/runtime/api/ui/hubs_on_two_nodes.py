"""A driver of its own: two Ray nodes on this machine with a hub each, and clients that move.

It prints one JSON line for each scenario; `test_two_nodes_ray.py` runs it, and reads them. The
second node has an address of its own, 127.0.0.2, so that `UiSettings.nodes` can tell both apart.

    python -m tests.runtime.api.ui.hubs_on_two_nodes FOLDER
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

import callboard as cb
from callboard.messages.control.principals import ALL_SCOPES
from callboard.runtime.api.system import System
from callboard.runtime.api.tokens import open_tokens
from callboard.runtime.hosting.ui_settings import UiSettings
from tests.runtime.web.streams.test_kills import Follower, cut_off, grow

CLIENTS = 8
SECOND = "127.0.0.2"
ANSWER_S = 60.0


class Place:
    """Where the clients connect."""

    port = 0


def say(scenario: str, **values: Any) -> None:
    print(json.dumps({"scenario": scenario, **values}), flush=True)  # noqa: T201 - the test reads it


async def hosts_of_hubs(system: System) -> dict[int, Any]:
    """The hosts of the hubs that run, by their numbers."""
    found = {}
    for host in (await system.view(actors_max=0)).hosts:
        for number in (1, 2):
            if host.name.startswith(f"callboard.hub-{number}-") and host.state == "up":
                found[number] = host
    return found


def seen_by(followers: list[Follower]) -> dict[str, Any]:
    """Whether each has all events since its first one, in order, once."""
    ranges = [list(range(each.seen[0], each.seen[-1] + 1)) for each in followers]
    return {
        "holes_or_repeats": [each.seen for each in followers] != ranges,
        "lost": sum(each.lost for each in followers),
        "events": min(len(each.seen) for each in followers),
    }


async def all_have(followers: list[Follower], position: int) -> None:
    async with asyncio.timeout(ANSWER_S):
        while any(not each.seen or each.seen[-1] < position for each in followers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def ports_of(system: System) -> list[int]:
    return [urlsplit(url).port or 0 for url in await system.ui.urls()]


async def main(cluster: Any, first: str, second: Any, folder: Path) -> None:
    ui = UiSettings(hubs=2, nodes=(first, SECOND), prints_link=False)
    options: dict[str, Any] = {"journal": str(folder / "journal.db"), "name": "nodes", "ui": ui}
    async with cb.start(address=cluster.address, hosts=1, standbys=1, **options) as system:
        journal = system._journal.journal  # type: ignore[union-attr]
        await grow(journal, 1)
        async with open_tokens("nodes") as tokens:
            token, _ = await tokens.create("ada", 3_600, scopes=ALL_SCOPES, channels=["*"])
        hosts, ports = await hosts_of_hubs(system), await ports_of(system)
        raylets = [psutil.Process(hosts[number].pid).ppid() for number in (1, 2)]
        say("places", raylets=raylets, ports=ports)
        place = Place()
        place.port = ports[0]
        followers = [Follower(place, token) for _ in range(CLIENTS)]
        tasks = [asyncio.create_task(each.run()) for each in followers]
        try:
            await all_have(followers, await grow(journal, 10))
            place.port = ports[1]
            os.kill(hosts[1].pid, signal.SIGKILL)
            await all_have(followers, await grow(journal, 50))
            say("killed", **seen_by(followers))
            await cut_off(followers, journal, 20, 1)
            async with asyncio.timeout(ANSWER_S):
                while (await hosts_of_hubs(system)).keys() != {1, 2}:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            place.port = (await ports_of(system))[0]
            await asyncio.to_thread(cluster.remove_node, second)
            await all_have(followers, await grow(journal, 50))
            say("node_lost", **seen_by(followers))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in followers:
                if each.socket is not None:
                    each.socket.abort()


if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        second = cluster.add_node(num_cpus=2, node_ip_address=SECOND)
        cluster.wait_for_nodes()
        first = ray._private.services.get_node_ip_address()  # type: ignore[no-untyped-call]
        asyncio.run(main(cluster, first, second, Path(sys.argv[1])))
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
