"""The network between simulated processes, and its faults.

Three kinds of traffic cross it, each with the promises of its original:

- a stream (a socket between processes of one node) takes a frame at once and says nothing
  about its arrival;
- a call with a frame (a Ray call) returns the peer's answer, or fails with
  `TransportBroken`, when it cannot be known whether the frame arrived, or `HostLost`;
- a control call (Ray's own channel) is not lost: it waits while the way is cut, and fails
  with `HostLost` once the process is dead or out of reach for long.

A dead process is noticed by Ray's control plane, which no cut between two hosts keeps from
noticing: `NOTICE_S` later all that waits for it fails.
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

__all__ = ["NOTICE_S", "NO_NETWORK_FAULTS", "Endpoint", "Network", "NetworkFaults"]

NOTICE_S: Final = 0.01
"""How soon a death is noticed."""
UNREACHABLE_S: Final = 20.0
"""How long a control call waits for a way that is cut."""
RETRY_S: Final = 0.1
CALLS_KEPT: Final = 128
"""After so many calls of a process those that are over are forgotten."""
BROKEN_AFTER_S: Final = 0.5
"""How long a call whose frame was lost takes to fail, at most."""

Way = tuple[SimulatedLoop, SimulatedLoop]


@final
@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """The delays and faults of a network; shares are from 0 to 1."""

    delay_min_s: float = 0.0001
    delay_max_s: float = 0.001
    loss: float = 0.0
    """The share of frames that are lost."""
    double: float = 0.0
    """The share that arrives twice."""
    reorder: float = 0.0
    """The share that later frames overtake."""
    late_s: float = 0.05
    """How much later a repeated or overtaken frame arrives, at most."""
    streams: float = 0.5
    """The share of links that run over streams, and not over calls."""


NO_NETWORK_FAULTS: Final = NetworkFaults()


class Endpoint(Protocol):
    """A process that frames are carried to."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def loop(self) -> SimulatedLoop:
        """Where it runs now."""

    @property
    def host(self) -> Host | None:
        """Its host, once it has one."""

    def death(self, why: str) -> Exception:
        """The error of a call that it has not answered, or that cannot reach it."""


class Network:
    """All ways between the processes of one world."""

    def __init__(self, world: World, faults: NetworkFaults = NO_NETWORK_FAULTS) -> None:
        self.world: Final = world
        self.faults = faults
        self.frames = 0
        self._cuts: dict[Way, None] = {}
        self._arrivals: dict[Way, float] = {}
        self._calls: dict[SimulatedLoop, list[tuple[asyncio.Future[Any], SimulatedLoop]]] = {}

    # --- faults ---------------------------------------------------------------------------

    def cut(self, source: SimulatedLoop, target: SimulatedLoop, *, both: bool = True) -> None:
        """Let nothing through any more, in both directions or in one."""
        self.world.trace.note(
            self.world.now_s, f"cut {source.name} {'<->' if both else '->'} {target.name}"
        )
        self._cuts[source, target] = None
        if both:
            self._cuts[target, source] = None

    def heal(self, source: SimulatedLoop, target: SimulatedLoop) -> None:
        """Let everything through again, in both directions."""
        self.world.trace.note(self.world.now_s, f"heal {source.name} <-> {target.name}")
        self._cuts.pop((source, target), None)
        self._cuts.pop((target, source), None)

    def heal_all(self) -> None:
        """End all cuts and all faults."""
        self.world.trace.note(self.world.now_s, "the network heals")
        self._cuts.clear()
        self.faults = NO_NETWORK_FAULTS

    def is_cut(self, source: SimulatedLoop, target: SimulatedLoop) -> bool:
        """Whether nothing gets from one to the other."""
        return (source, target) in self._cuts

    # --- frames -----------------------------------------------------------------------------

    def post(
        self,
        source: SimulatedLoop,
        target: SimulatedLoop,
        callback: Callable[..., Any],
        *args: Any,
    ) -> bool:
        """Have a frame taken by `callback` in the target's process; False when it is lost."""
        world, faults = self.world, self.faults
        self.frames += 1
        source.is_touched = True
        draw = world.random.random
        if (source, target) in self._cuts or (faults.loss and draw() < faults.loss):
            world.trace.add(f"lost {source.number}>{target.number}")
            return False
        at_s = world.now_s + faults.delay_min_s
        at_s += draw() * (faults.delay_max_s - faults.delay_min_s)
        if faults.reorder and draw() < faults.reorder:
            at_s += faults.late_s * draw()
        else:
            # A frame that is not overtaken on purpose stays in order, as in a stream.
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
        """Take a frame to a process by a call, and its answer back; see `FrameCarrier`."""
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
        self.send_surely(source, target, arrive, until_s, lambda: _settle(
            outcome, None, process.death("cannot be reached")
        ))  # fmt: skip

    def send_surely(
        self, source: SimulatedLoop, target: SimulatedLoop, arrive: Callable[[], None],
        until_s: float, give_up: Callable[[], None],
    ) -> None:  # fmt: skip
        """Have something arrive as soon as there is a way."""
        world, faults = self.world, self.faults
        if (source, target) not in self._cuts:
            spread_s = faults.delay_max_s - faults.delay_min_s
            after_s = faults.delay_min_s + spread_s * world.random.random()
            world.on(target, world.now_s + after_s, arrive)
        elif world.now_s > until_s:
            world.on(source, world.now_s, give_up)
        else:
            world.at(
                world.now_s + RETRY_S, self.send_surely, source, target, arrive, until_s, give_up
            )

    def _perform(
        self, process: Endpoint, source: SimulatedLoop, outcome: "asyncio.Future[Any]",
        function: Callable[..., Any], args: tuple[Any, ...],
    ) -> None:  # fmt: skip
        try:
            result = function(*args)
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
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
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            self._reply(process, source, outcome, None, error)
        else:
            self._reply(process, source, outcome, reply, None)

    def _reply(
        self, process: Endpoint, source: SimulatedLoop, outcome: "asyncio.Future[Any]",
        result: Any, error: Exception | None,
    ) -> None:  # fmt: skip
        self.send_surely(
            process.loop,
            source,
            lambda: _settle(outcome, result, error),
            self.world.now_s + UNREACHABLE_S,
            lambda: None,
        )

    # --- death --------------------------------------------------------------------------------

    def _expect(self, process: Endpoint, source: SimulatedLoop) -> "asyncio.Future[Any]":
        """A future of the caller's that fails when the process is dead."""
        outcome: asyncio.Future[Any] = source.create_future()
        if process.loop.is_dead:
            self._lose(process, outcome, source)
            return outcome
        calls = self._calls.setdefault(process.loop, [])
        if len(calls) > CALLS_KEPT:
            calls[:] = [call for call in calls if not call[0].done()]
        calls.append((outcome, source))
        return outcome

    def died(self, process: Endpoint) -> None:
        """Let all that waits for a process fail, as soon as its death is noticed."""
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
