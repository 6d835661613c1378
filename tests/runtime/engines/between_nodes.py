"""A driver of its own: two Ray nodes on this machine, and what happens to the frames between them.

It prints one JSON line for each scenario. `test_between_nodes.py` runs it, and reads them.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
import time
from typing import Any, TypeVar

import numpy as np

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.control.spec import Backoff
from callboard.messages.core.codec import Array
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.core.ref import Ref
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System
from callboard.runtime.transport import stream_carrier
from callboard.runtime.transport.stream_carrier import StreamCarrier, Streams, TcpWay

ASKS = 6_000
BREAK_EVERY = 500
LARGE_BYTES = 60_000_000
DEADLINE_S = 20.0
KindT = TypeVar("KindT")


class Said(Contract, name="nodes.said"):
    text: str


class Number(Contract, name="nodes.number"):
    n: int


class Where(Request[Said], name="nodes.where"):
    """The node and the process."""


class Count(Request[Number], name="nodes.count"):
    n: int


class Ways(Request[Said], name="nodes.ways"):
    """The node, and how the frames from there to the driver go."""


class Seen(Request[Said], name="nodes.seen"):
    """What was counted, as JSON."""


class Large(Request[Number], name="nodes.large"):
    data: Array


class Hang(Request[Number], name="nodes.hang"):
    """Is never answered."""


class Do(Request[Said], name="nodes.do"):
    """Run a scenario against another actor; the outcome as JSON."""

    what: str
    to: Ref[Any]


def found(kind: type[KindT]) -> list[KindT]:
    """The objects of a class in this process."""
    return [each for each in gc.get_objects() if isinstance(each, kind)]


def break_streams() -> int:
    """Cut the connections of this process to other nodes, in the middle of what they carry."""
    carriers = [each for each in found(StreamCarrier) if not each._way.is_local]
    streams = [each._stream for each in carriers if each._stream is not None]
    for stream in streams:
        stream.transport.abort()
    return len(streams)


def ways() -> dict[str, float]:
    """How many links of this process to other nodes use TCP, and how many use Ray calls."""
    (streams,) = found(Streams)
    return {name.label: value for name, value in streams.reading().gauges.items()}


class Peer(Actor):
    """Runs the scenarios, and is the other side of them."""

    def __init__(self) -> None:
        self._seen: list[int] = []
        stream_carrier.RECONNECT = Backoff(min_s=0.01, max_s=0.02)  # type: ignore[misc]

    @handler
    async def where(self, request: Where) -> Said:
        import ray

        return Said(text=json.dumps([ray.get_runtime_context().get_node_id(), os.getpid()]))

    @handler
    async def links(self, request: Ways) -> Said:
        """How the links from this host to the driver go."""
        import ray

        carriers = [link.carrier for slot, link in _host().links.items() if slot == CONTROL_SLOT]
        is_tcp = all(each is not None and each.is_stream for each in carriers)
        node = ray.get_runtime_context().get_node_id()
        return Said(text=json.dumps([node, {"tcp": int(is_tcp), "calls": int(not is_tcp)}]))

    @handler
    async def count(self, request: Count) -> Number:
        self._seen.append(request.n)
        if request.n % BREAK_EVERY == BREAK_EVERY // 2:
            break_streams()  # The replies are on their way.
        return Number(n=request.n)

    @handler
    async def seen(self, request: Seen) -> Said:
        return Said(text=json.dumps(self._seen))

    @handler
    async def large(self, request: Large) -> Number:
        return Number(n=len(request.data))

    @handler
    async def hang(self, request: Hang) -> Number:
        await asyncio.sleep(3_600)
        return Number(n=0)

    @handler
    async def do(self, request: Do, ctx: Context) -> Said:
        scenario = getattr(self, f"_{request.what}")
        return Said(text=json.dumps(await scenario(request.to)))

    async def _lone(self, to: Ref[Any]) -> dict[str, Any]:
        await _until_tcp(to)
        took_s = []
        for n in range(300):
            began_s = time.perf_counter()
            await to.ask(Hidden(n=n))
            took_s.append(time.perf_counter() - began_s)
        return {"ways": ways(), "p50_ms": sorted(took_s)[150] * 1_000.0}

    async def _breaking(self, to: Ref[Any]) -> dict[str, Any]:
        await _until_tcp(to)
        breaks, asks = 0, []
        for n in range(ASKS):
            asks.append(asyncio.ensure_future(to.ask(Count(n=n))))
            if n % BREAK_EVERY == 0:
                await asyncio.sleep(0)  # They leave.
                while not (cut := break_streams()):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.001)
                breaks += cut
        replies = await asyncio.gather(*asks)
        seen = json.loads((await to.ask(Seen())).text)
        return {
            "breaks": breaks,
            "replies_are_right": [reply.n for reply in replies] == list(range(ASKS)),
            "seen_are_right": seen == list(range(ASKS)),
        }

    async def _firewall(self, to: Ref[Any]) -> dict[str, Any]:
        """No connection can be made for a while."""
        await _until_tcp(to)
        opens = TcpWay.open

        async def refused(self: Any, protocol: Any) -> Any:
            raise OSError("a firewall")

        TcpWay.open = refused  # type: ignore[method-assign]
        try:
            before = ways()
            break_streams()
            answered = [(await to.ask(Hidden(n=n))).n for n in range(20)]
            during = ways()
        finally:
            TcpWay.open = opens  # type: ignore[method-assign]
        await _until_tcp(to)
        return {"answered": answered, "before": before, "during": during, "after": ways()}

    async def _values(self, to: Ref[Any]) -> dict[str, Any]:
        await _until_tcp(to)
        sent_before = _bytes_out()
        began_s = time.perf_counter()
        (size,) = {(await to.ask(Large(data=_bytes(LARGE_BYTES)))).n for _ in range(2)}
        large_s = (time.perf_counter() - began_s) / 2
        return {"size": size, "by_frames": _bytes_out() - sent_before, "large_s": large_s}


class Hidden(Request[Number], name="nodes.hidden"):
    """Is answered, and not counted."""

    n: int


class Answerer(Peer):
    """A peer that answers what is not counted."""

    @handler
    async def hidden(self, request: Hidden) -> Number:
        return Number(n=request.n)


async def _until_tcp(to: Ref[Any]) -> None:
    """Ask until all links of this process that were tried use TCP."""
    async with asyncio.timeout(DEADLINE_S):
        while not ways()["tcp"] or ways()["calls"]:
            await to.ask(Hidden(n=0))


def _bytes_out() -> int:
    return sum(link.bytes_out for link in _host().links.values())


def _host() -> Host:
    (host,) = found(Host)
    return host


def _bytes(size: int) -> Any:
    return np.zeros(size, dtype=np.uint8)


def say(scenario: str, **values: Any) -> None:
    sys.stdout.write(f"{json.dumps({'scenario': scenario, **values})}\n")
    sys.stdout.flush()


async def scenarios(system: System) -> None:
    refs = [await system.spawn(Answerer, host=number) for number in (1, 2)]
    places = [json.loads((await ref.ask(Where())).text) for ref in refs]
    say("places", nodes=[node for node, _ in places])
    here, there = refs
    for what in ("lone", "breaking", "firewall", "values"):
        outcome = await here.ask(Do(what=what, to=there), timeout_s=60.0)
        say(what, **json.loads(outcome.text))
    mine = await driver(system, refs)
    say("driver", **mine)
    other = await system.spawn(Answerer, host=2)
    hanging = asyncio.ensure_future(other.ask(Hang(), timeout_s=60.0))
    await there.ask(Hidden(n=1))  # By the same link: the other one has arrived.
    began_s = time.monotonic()
    os.kill(places[1][1], signal.SIGKILL)
    try:
        await hanging
    except HostLost as error:
        say("killed", error=error.code, after_s=time.monotonic() - began_s)
    # Its successor may be on any node.
    say("again", answered=await answered(there))


async def answered(ref: Ref[Any]) -> int:
    """The answer of an actor that is being replaced."""
    while True:
        with contextlib.suppress(CallboardError):
            number: Number = await ref.ask(Hidden(n=7), timeout_s=30.0)
            return number.n


async def driver(system: System, refs: list[Ref[Any]]) -> dict[str, Any]:
    """The driver's own asks: it takes no Ray calls, and hosts of another node dial it."""
    import ray

    place = ray.get_runtime_context().get_node_id()
    async with asyncio.timeout(DEADLINE_S):
        while not ways()["tcp"]:
            await asyncio.gather(*(ref.ask(Hidden(n=0)) for ref in refs))
    took_s: dict[int, list[float]] = {0: [], 1: []}
    for n in range(400):
        began_s = time.perf_counter()
        await refs[n % 2].ask(Hidden(n=n))
        took_s[n % 2].append(time.perf_counter() - began_s)
    theirs = [json.loads((await ref.ask(Ways())).text) for ref in refs]
    away = next(each for each in theirs if each[0] != place)
    p50_ms = [sorted(each)[100] * 1_000.0 for each in took_s.values()]
    return {"ways": ways(), "to_driver": away[1], "p50_ms": p50_ms}


async def main(address: str) -> None:
    async with start(address=address, hosts=2, standbys=1, heartbeat_s=0.5) as system:
        await scenarios(system)


if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    try:
        asyncio.run(main(cluster.address))
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
