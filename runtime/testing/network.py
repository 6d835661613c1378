"""The network between simulated processes, and its faults.

It carries three kinds of traffic, each with the guarantees of its original:

- a stream (a socket between processes of one node) takes a frame at once and says nothing
  about its arrival;
- a call with a frame (a Ray call) returns the peer's answer, or fails with `TransportBroken`
  (the frame may have arrived) or `HostLost`;
- a control call (Ray's own channel) is never lost: it waits while the route is cut, and fails
  with `HostLost` once the process is dead or unreachable for long.

Ray's control plane notices the death of a process even when the route between two hosts is cut:
`NOTICE_S` later all calls to the process fail. When a whole node is cut, it notices nothing there:
it declares the node dead after a while, and calls to its processes fail although they may run.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

from callboard.actors.kernel.host.host import Host
from callboard.messages.ports import TransportBroken

from .loop import SimulatedLoop
from .world import World

__all__ = [
    "NOTICE_S",
    "NO_NETWORK_FAULTS",
    "RETRY_S",
    "UNREACHABLE_S",
    "Endpoint",
    "Network",
    "NetworkFaults",
]

NOTICE_S: Final = 0.01
"""The delay until a death is noticed."""
UNREACHABLE_S: Final = 20.0
"""The time that a control call waits for a cut route."""
RETRY_S: Final = 0.1
CALLS_KEPT: Final = 128
"""The number of calls to a process after which the network forgets those that are done."""
BROKEN_AFTER_S: Final = 0.5
"""The most time until a call with a lost frame fails."""

Route = tuple[SimulatedLoop, SimulatedLoop]


@final
@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """The delays and faults of a network; shares are between 0 and 1."""

    delay_min_s: float = 0.0001
    delay_max_s: float = 0.001
    loss: float = 0.0
    """The share of frames that are lost."""
    double: float = 0.0
    """The share of frames that arrive twice."""
    reorder: float = 0.0
    """The share of frames that later frames overtake."""
    late_s: float = 0.05
    """The most delay of a repeated or overtaken frame."""
    streams: float = 0.5
    """The share of links that use streams instead of calls."""
    full: float = 0.0
    """The share of frames for which a stream has no room at once."""


NO_NETWORK_FAULTS: Final = NetworkFaults()


class Endpoint(Protocol):
    """A process that receives frames and calls."""

    @property
    def name(self) -> str:
        """Its name, for people."""

    @property
    def loop(self) -> SimulatedLoop:
        """Its current event loop."""

    @property
    def host(self) -> Host | None:
        """Its host, once it has one."""

    def death(self, why: str) -> Exception:
        """The error of a call that it did not answer, or that cannot reach it."""


class Network:
    """All routes between the processes of one world."""

    def __init__(self, world: World, faults: NetworkFaults = NO_NETWORK_FAULTS) -> None:
        self.world: Final = world
        self.faults = faults
        self.frames = 0
        self._cuts: dict[Route, None] = {}
        self._cut_out: dict[int, None] = {}
        """Nodes from which nothing leaves."""
        self._cut_in: dict[int, None] = {}
        """Nodes to which nothing comes."""
        self._arrivals: dict[Route, float] = {}
        self._calls: dict[SimulatedLoop, list[tuple[asyncio.Future[Any], SimulatedLoop]]] = {}

    # --- faults ---------------------------------------------------------------------------

    def cut(self, source: SimulatedLoop, target: SimulatedLoop, *, both: bool = True) -> None:
        """Cut a route in both directions or in one: nothing passes any more."""
        self.world.trace.note(
            self.world.now_s, f"cut {source.name} {'<->' if both else '->'} {target.name}"
        )
        self._cuts[source, target] = None
        if both:
            self._cuts[target, source] = None

    def heal(self, source: SimulatedLoop, target: SimulatedLoop) -> None:
        """Restore a route in both directions."""
        self.world.trace.note(self.world.now_s, f"heal {source.name} <-> {target.name}")
        self._cuts.pop((source, target), None)
        self._cuts.pop((target, source), None)

    def heal_all(self) -> None:
        """End all cuts and all faults."""
        self.world.trace.note(self.world.now_s, "the network heals")
        self._cuts.clear()
        self._cut_out.clear()
        self._cut_in.clear()
        self.faults = NO_NETWORK_FAULTS

    def is_cut(self, source: SimulatedLoop, target: SimulatedLoop) -> bool:
        """Whether the route from one to the other is cut."""
        if source.node != target.node and (
            source.node in self._cut_out or target.node in self._cut_in
        ):
            return True
        return (source, target) in self._cuts

    def cut_node(self, node: int, *, out: bool = True, into: bool = True) -> None:
        """Cut a node from all others, in one direction or both."""
        how = "" if out and into else " (out)" if out else " (in)"
        self.world.trace.note(self.world.now_s, f"node {node} is cut from all others{how}")
        if out:
            self._cut_out[node] = None
        if into:
            self._cut_in[node] = None

    def heal_node(self, node: int) -> None:
        """Connect a node with the others again."""
        self.world.trace.note(self.world.now_s, f"node {node} is connected again")
        self._cut_out.pop(node, None)
        self._cut_in.pop(node, None)

    def is_node_cut(self, node: int) -> bool:
        """Whether a node is cut from all others, in a direction at least."""
        return node in self._cut_out or node in self._cut_in

    # --- frames -----------------------------------------------------------------------------

    def post(
        self,
        source: SimulatedLoop,
        target: SimulatedLoop,
        callback: Callable[..., Any],
        *args: Any,
    ) -> bool:
        """Deliver a frame to `callback` in the target's process; False when it is lost."""
        world, faults = self.world, self.faults
        self.frames += 1
        source.is_touched = True
        draw = world.random.random
        if self.is_cut(source, target) or (faults.loss and draw() < faults.loss):
            world.trace.add(f"lost {source.number}>{target.number}")
            return False
        at_s = world.now_s + faults.delay_min_s
        at_s += draw() * (faults.delay_max_s - faults.delay_min_s)
        if faults.reorder and draw() < faults.reorder:
            at_s += faults.late_s * draw()
        else:
            # Other frames stay in order, as in a stream.
            at_s = max(at_s, self._arrivals.get((source, target), 0.0))
            self._arrivals[source, target] = at_s
        world.on(target, at_s, callback, *args)
        if faults.double and draw() < faults.double:
            world.on(target, at_s + faults.late_s * draw(), callback, *args)
        return True

    async def exchange(
        self, process: Endpoint, answer: Callable[[bytes, Any], Any], frame: bytes,
        references: Any,
    ) -> Any:  # fmt: skip
        """Carry a frame to a process by a call, and its answer back; see `FrameCarrier`."""
        source, target = _running(), process.loop
        outcome = self._expect(process, source)

        def arrive() -> None:
            _ = target.create_task(self._answer(process, answer, frame, references, back))

        def back(result: Any) -> None:
            if not self.post(target, source, _settle, outcome, result, None):
                self._break(outcome, source)

        if not self.post(source, target, arrive):
            self._break(outcome, source)
        return await outcome

    async def _answer(
        self, process: Endpoint, answer: Callable[[bytes, Any], Any], frame: bytes,
        references: Any, back: Callable[[Any], None],
    ) -> None:  # fmt: skip
        back(await answer(frame, references))

    def _break(self, outcome: "asyncio.Future[Any]", source: SimulatedLoop) -> None:
        after_s = self.world.random.random() * BROKEN_AFTER_S
        error = TransportBroken("the connection broke")
        self.world.on(source, self.world.now_s + after_s, _settle, outcome, None, error)

    # --- control calls ------------------------------------------------------------------------

    async def call(self, process: Endpoint, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function, plain or async, in a process; raises its errors, and `HostLost`."""
        source = _running()
        outcome = self._expect(process, source)
        self._leave(process, source, outcome, lambda: self._perform(
            process, source, outcome, function, args
        ), self.world.now_s + UNREACHABLE_S)  # fmt: skip
        return await outcome

    def _leave(
        self, process: Endpoint, source: SimulatedLoop, outcome: "asyncio.Future[Any]",
        arrive: Callable[[], None], until_s: float,
    ) -> None:  # fmt: skip
        target = process.loop
        self.send_reliably(source, target, arrive, until_s, lambda: _settle(
            outcome, None, process.death("cannot be reached")
        ))  # fmt: skip

    def send_reliably(
        self, source: SimulatedLoop, target: SimulatedLoop, arrive: Callable[[], None],
        until_s: float, give_up: Callable[[], None],
    ) -> None:  # fmt: skip
        """Deliver something as soon as the route is open."""
        world, faults = self.world, self.faults
        if not self.is_cut(source, target):
            spread_s = faults.delay_max_s - faults.delay_min_s
            after_s = faults.delay_min_s + spread_s * world.random.random()
            world.on(target, world.now_s + after_s, arrive)
        elif world.now_s > until_s:
            world.on(source, world.now_s, give_up)
        else:
            world.at(
                world.now_s + RETRY_S, self.send_reliably, source, target, arrive, until_s, give_up
            )

    def _perform(
        self, process: Endpoint, source: SimulatedLoop, outcome: "asyncio.Future[Any]",
        function: Callable[..., Any], args: tuple[Any, ...],
    ) -> None:  # fmt: skip
        try:
            result = function(*args)
        except Exception as error:  # noqa: BLE001 - raised in the waiting caller
            self._reply(process, source, outcome, None, error)
            return
        if inspect.isawaitable(result):
            _ = process.loop.create_task(self._wait(process, source, outcome, result))
        else:
            self._reply(process, source, outcome, result, None)

    async def _wait(
        self, process: Endpoint, source: SimulatedLoop, outcome: "asyncio.Future[Any]",
        result: Awaitable[Any],
    ) -> None:  # fmt: skip
        try:
            reply = await result
        except Exception as error:  # noqa: BLE001 - raised in the waiting caller
            self._reply(process, source, outcome, None, error)
        else:
            self._reply(process, source, outcome, reply, None)

    def _reply(
        self, process: Endpoint, source: SimulatedLoop, outcome: "asyncio.Future[Any]",
        result: Any, error: Exception | None,
    ) -> None:  # fmt: skip
        self.send_reliably(
            process.loop,
            source,
            lambda: _settle(outcome, result, error),
            self.world.now_s + UNREACHABLE_S,
            lambda: None,
        )

    # --- death --------------------------------------------------------------------------------

    def _expect(self, process: Endpoint, source: SimulatedLoop) -> "asyncio.Future[Any]":
        """A future of the caller that fails when the process is dead."""
        outcome: asyncio.Future[Any] = source.create_future()
        if process.loop.is_dead:
            self._lose(process, outcome, source)
            return outcome
        calls = self._calls.setdefault(process.loop, [])
        if len(calls) > CALLS_KEPT:
            calls[:] = [call for call in calls if not call[0].done()]
        calls.append((outcome, source))
        return outcome

    def fail_calls_to(self, process: Endpoint) -> None:
        """Fail all calls to a dead process, as soon as its death is noticed."""
        if self.is_node_cut(process.loop.node):
            self.world.at(self.world.now_s + RETRY_S, self.fail_calls_to, process)
        else:
            self.declare_dead(process)

    def declare_dead(self, process: Endpoint) -> None:
        """Fail all calls to a process that the control plane takes for dead."""
        for outcome, source in self._calls.pop(process.loop, ()):
            if not outcome.done():
                self._lose(process, outcome, source)

    def _lose(
        self, process: Endpoint, outcome: "asyncio.Future[Any]", source: SimulatedLoop
    ) -> None:
        error = process.death("is dead")
        self.world.on(source, self.world.now_s + NOTICE_S, _settle, outcome, None, error)


def _running() -> SimulatedLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop), "simulated processes run on simulated loops"
    return loop


def _settle(outcome: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if outcome.done():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
