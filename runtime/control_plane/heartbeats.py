"""Sends the heartbeats of all processes of a root, from a thread; `leases.py` decides.

A driver whose event loop computes for a minute loses no host: the thread sends heartbeats and
takes answers meanwhile. Changes of state go to the event loop. The heartbeats of many processes are
spread over the interval.
"""

import asyncio
import itertools
import math
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.hosts import HeartbeatAnswer
from callboard.messages.ports import Engine, HostProcess

from ..hosting.lease import takeover_s
from ..hosting.settings import Settings
from .authority import Authority
from .leases import Change, HostWatch, WatchState

__all__ = ["Heartbeats"]

SLICES: Final = 10
"""The moments of one interval at which heartbeats are sent."""


class _Watched:
    """One process, and the newest answer of it."""

    __slots__ = ("answer", "process", "slice", "watch")

    def __init__(self, process: HostProcess, watch: HostWatch, number: int) -> None:
        self.process = process
        self.watch = watch
        self.slice = number % SLICES
        self.answer: HeartbeatAnswer | None = None


class Heartbeats:
    """The heartbeats of one root. All methods but those of the thread run on its event loop."""

    def __init__(
        self,
        control: Host,
        engine: Engine,
        settings: Settings,
        clock: Callable[[], float],
        authority: Authority,
        on_change: Callable[[HostProcess, Change], None],
        on_answer: Callable[[HostProcess, HeartbeatAnswer], None],
        on_node: Callable[[str], None],
    ) -> None:
        self._control = control
        self._engine = engine
        self._settings = settings
        self._clock = clock
        """It counts the time of a suspended machine, where the platform has such a clock."""
        self._authority = authority
        self._on_change = on_change
        self._on_answer = on_answer
        self._on_node = on_node
        self._doubted: set[str] = set()
        """Nodes of which the next answer is news."""
        self._lock = threading.Lock()
        """Guards the watches, which the thread and the answers change."""
        self._watched: dict[HostProcess, _Watched] = {}
        self._numbers = itertools.count()
        self._tick_number = 0
        self._end: Callable[[], None] | None = None

    # --- on the event loop ----------------------------------------------------------------------

    def watch(self, process: HostProcess) -> None:
        """Send heartbeats to a process from now on: it has just answered."""
        if process in self._watched:
            return
        settings = self._settings
        lease_s = settings.host_lease_s if process.is_leased else None
        now_s = max(self._clock(), self._authority.acts_from_s)
        watch = HostWatch(now_s, settings.heartbeats_missed_max, lease_s)
        with self._lock:
            self._watched[process] = _Watched(process, watch, next(self._numbers))
        if self._end is None:
            self._end = self._engine.every(settings.heartbeat_s / SLICES, self._tick)

    def forget(self, process: HostProcess) -> None:
        """Send no more heartbeats to a process that has ended."""
        with self._lock:
            self._watched.pop(process, None)

    def doubt(self, node: str) -> None:
        """Report the next answer of a process of this node."""
        self._doubted.add(node)

    def give_up(self, process: HostProcess) -> None:
        """Renew the lease of a process no more: it is killed."""
        with self._lock:
            watched = self._watched.get(process)
            if watched is not None:
                watched.watch.give_up()

    def close(self) -> None:
        """Send no more heartbeats."""
        if self._end is not None:
            self._end()
            self._end = None

    def is_silent(self, process: HostProcess) -> bool:
        """Whether a process has missed some heartbeats, or was given up."""
        watched = self._watched.get(process)
        return watched is not None and watched.watch.state is not WatchState.UP

    def silence_s(self, process: HostProcess) -> float:
        """How long a process that misses heartbeats has not answered; 0 for others."""
        watched = self._watched.get(process)
        if watched is None or watched.watch.state is WatchState.UP:
            return 0.0
        return max(0.0, self._clock() - watched.watch.answered_s)

    def rest_s(self, process: HostProcess | None) -> float:
        """The time until the lease of a process has surely ended; infinite without a lease.

        None is a process of an earlier incarnation of the root, which this one has never reached.
        """
        if process is None:
            ends_s = self._authority.acts_from_s + takeover_s(self._settings.host_lease_s)
        else:
            watched = self._watched.get(process)
            ends_s = math.inf if watched is None else watched.watch.ends_s()
        return max(0.0, ends_s - self._clock())

    async def answers(self, process: HostProcess, within_s: float) -> bool:
        """Whether a process answers a heartbeat of its own, which renews nothing."""
        answered: asyncio.Future[bool] = self._control.loop.create_future()

        def settle(answer: HeartbeatAnswer | None) -> None:
            if not answered.done():
                answered.set_result(answer is not None)

        process.beat(None, lambda answer: self._call(lambda: settle(answer)))
        try:
            async with asyncio.timeout(within_s):
                return await answered
        except TimeoutError:
            return False

    async def until_ended(
        self, ended: Coroutine[Any, Any, None], process: HostProcess | None
    ) -> bool:
        """Wait until a process that is not renewed any more has ended; whether that is proven.

        `ended` returns with the proof, and raises nothing. Without it, the end of the lease counts;
        None as in `rest_s`.
        """
        proof = self._control.loop.create_task(ended)
        try:
            await asyncio.sleep(0)
            while True:
                rest_s = self.rest_s(process)
                if rest_s > 0.0:
                    limit_s = rest_s if math.isfinite(rest_s) else None
                    await asyncio.wait((proof,), timeout=limit_s)
                if proof.done():
                    proof.result()
                    return True
                if self.rest_s(process) <= 0.0:
                    return False
        finally:
            proof.cancel()
            if process is not None:
                self.forget(process)

    # --- in the thread ----------------------------------------------------------------------------

    def _tick(self) -> None:
        self._tick_number = (self._tick_number + 1) % SLICES
        with self._lock:
            due = [one for one in self._watched.values() if one.slice == self._tick_number]
        for one in due:
            with self._lock:
                now_s, until_s = self._clock(), self._authority.renews_until_s()
                beat, change = one.watch.beat(now_s, until_s)
            if change is not None:
                self._report(one, change)
            if beat is not None:
                self._send(one, beat.number, beat.stamp_s)

    def _send(self, one: _Watched, number: int, stamp_s: float | None) -> None:
        def answered(answer: HeartbeatAnswer | None) -> None:
            with self._lock:
                if answer is None:
                    one.watch.failed(number)
                    return
                change = one.watch.answered(answer.stamp_s, self._clock())
            one.process.pid = answer.process_id
            if change is not None:
                self._report(one, change)
            if one.process.node in self._doubted:
                self._call(lambda: self._node_answers(one.process.node))
            if answer.blocked is not None:
                self._call(lambda: self._on_answer(one.process, answer))

        one.process.beat(stamp_s, answered)

    def _node_answers(self, node: str) -> None:
        self._doubted.discard(node)
        self._on_node(node)

    def _report(self, one: _Watched, change: Change) -> None:
        self._call(lambda: self._on_change(one.process, change))

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            self._control.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return  # The loop is closed: the system has ended.
