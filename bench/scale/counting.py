"""Counts what the control plane sends and computes in a simulated system.

Frames are counted as the carriers take them, with their bytes. Ray calls are simulated and have no
bytes, so they are counted, and each takes `CALL_S` of the root's time. The time of a process is the
processor's time for the steps of its event loop.
"""

import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.frame import decode_frame
from callboard.runtime.testing.engine import SimulatedEngine
from callboard.runtime.testing.loop import SimulatedLoop
from callboard.runtime.testing.network import Network
from callboard.runtime.testing.process import SimulatedProcess
from callboard.runtime.testing.world import World

__all__ = ["CALL_S", "Counts", "Meter", "held_bytes"]

CALL_S = 0.000_34
"""The time of one Ray call in its caller: a plain Ray actor takes some 2,980 calls a second."""
NOT_HELD = (
    *(type, ModuleType, FunctionType, CodeType),
    *(World, SimulatedLoop, Network, SimulatedEngine, SimulatedProcess, Host),
)
"""What a process does not have for itself: code, the simulator, and other processes."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one event has cost."""

    root_messages: int
    host_messages: int
    root_bytes: int
    host_bytes: int
    calls: int
    """Ray calls of the root, without heartbeats."""
    peers: int
    """The processes that these calls named to hosts."""
    root_us: float
    hosts_us: float
    """Of all hosts together."""
    took_s: float
    """In the virtual time of the world."""


class Meter:
    """Counts for one world. `root` gives the loop of the root's process."""

    def __init__(self, world: World, network: Network, root: Callable[[], SimulatedLoop]) -> None:
        self._world = world
        self._root = root
        self._frames: list[tuple[bool, bytes]] = []
        self.keeps_frames = True
        """Whether the messages of frames are counted; otherwise each frame counts as one."""
        self._calls: Counter[str] = Counter()
        self._peers = 0
        self._bytes = [0, 0]
        self._messages = [0, 0]
        self._ns = [0, 0]
        self._busy_until_s = 0.0
        self._began_s = 0.0
        self._last_ns = time.thread_time_ns()
        self._post, self._call = network.post, network.call
        world.after_step = self._after_step
        network.post = self._counted_post  # type: ignore[method-assign]
        network.call = self._counted_call  # type: ignore[method-assign]

    def _after_step(self, loop: SimulatedLoop) -> None:
        now_ns = time.thread_time_ns()
        if loop is not self._world.outside:
            self._ns[loop is self._root()] += now_ns - self._last_ns
        self._last_ns = now_ns

    def _counted_post(
        self, source: SimulatedLoop, target: SimulatedLoop, callback: Any, *args: Any
    ) -> bool:
        if args and type(args[0]) is bytes:
            is_root = source is self._root()
            self._bytes[is_root] += len(args[0])
            self._messages[is_root] += not self.keeps_frames
            if self.keeps_frames:
                self._frames.append((is_root, args[0]))
        return self._post(source, target, callback, *args)

    async def _counted_call(self, process: Any, function: Any, *args: Any) -> Any:
        world, loop = self._world, self._root()
        if asyncio.get_running_loop() is loop:
            name = function.__name__
            self._calls[name] += 1
            self._peers += len(args[0]) if name == "_connect" else 0
            self._busy_until_s = max(world.now_s, self._busy_until_s) + CALL_S
            world.pause(loop, self._busy_until_s - world.now_s)
        return await self._call(process, function, *args)

    def begin(self) -> None:
        """Count from here on."""
        gc.collect()
        self._frames.clear()
        self._calls.clear()
        self._peers = 0
        self._bytes, self._messages, self._ns = [0, 0], [0, 0], [0, 0]
        self._began_s = self._world.now_s
        self._last_ns = time.thread_time_ns()

    def end(self, ended_s: float) -> Counts:
        """The counts since `begin`; the event itself ended at `ended_s`."""
        ns = list(self._ns)
        for is_root, data in self._frames:
            self._messages[is_root] += len(decode_frame(data).envelopes)
        self._frames.clear()
        return Counts(
            root_messages=self._messages[1],
            host_messages=self._messages[0],
            root_bytes=self._bytes[1],
            host_bytes=self._bytes[0],
            calls=self._calls.total(),
            peers=self._peers,
            root_us=ns[1] / 1e3,
            hosts_us=ns[0] / 1e3,
            took_s=ended_s - self._began_s,
        )


def held_bytes(host: Host, also: Iterable[object] = ()) -> int:
    """The memory of the objects of one process: of its host, and of what else it has."""
    seen = {id(host)}
    waiting: list[Any] = [*gc.get_referents(host), *also]
    total = sys.getsizeof(host)
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, NOT_HELD):
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        waiting.extend(gc.get_referents(found))
    return total
