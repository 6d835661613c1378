"""The root of a detached system: a Ray actor that outlives its driver, with its control plane.

It is the only actor that Ray restarts. Its next incarnation reads the ledger, takes the
living hosts over without stopping their work, and replaces those that died meanwhile.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import ray

import callboard
from callboard.messages.contract import Request
from callboard.messages.errors import CallboardError
from callboard.messages.ports import FrameCarrier

from ..announcer import Announcer
from ..control import Control
from ..engines.ray.carrier import pack_answer
from ..engines.ray.engine import RayEngine, end_by_name
from ..engines.ray.ledger import RayLedger
from ..engines.ray.process import PullCarrier, take_call
from ..environment import REAL
from ..looking import answer_of
from ..memory import calm_collector
from ..root.records import Records, Remembered
from ..settings import Settings
from ..transport.sockets import SocketAddress, SocketCarrier
from .guests import Admission, Guests

__all__ = ["RootActor"]

LOGGER: Final = logging.getLogger("callboard.root")
ReplyT = TypeVar("ReplyT")
LOOK_TIMEOUT_S: Final = 10.0
SILENCES: Final = 2.0
"""A driver may be silent for so many times as long as a host: it may be starting a process."""


class RootActor:
    """The Ray actor. Wrapped by `ray.remote` where a system is started, with its options."""

    async def __init__(  # type: ignore[misc] # Ray awaits it, on the loop of the other methods
        self, settings: Settings, system: str
    ) -> None:
        logging.basicConfig(
            level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        self._settings = settings
        self._system = system
        self._ledger = RayLedger(settings.name)
        self._pulls: dict[int, PullCarrier] = {}
        self._control: Control | None = None
        self._engine: RayEngine | None = None
        self._guests: Guests | None = None
        self._announcer: Announcer | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._ready = asyncio.ensure_future(self._begin())
        # A failure is told to whoever asks; nobody may be there to ask.
        self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())

    def __repr__(self) -> str:
        # What the Ray dashboard shows beside the class.
        return f"{self._settings.name}-root"

    async def _begin(self) -> None:
        remembered = Remembered.from_entries(await self._ledger.read())
        if remembered.system != self._system:
            # What a system of this name has left that nobody could end.
            await end_by_name(remembered.processes)
            await self._ledger.erase()
            remembered = Remembered()
        settings = self._settings
        epoch = remembered.epoch + 1
        engine = RayEngine(
            settings,
            system=f"{self._system}.{epoch}",
            control_handle=ray.get_runtime_context().current_actor,
        )
        records = Records(self._ledger)
        engine.before_start = records.process
        engine.after_end = records.process_gone
        self._engine = engine
        control = self._control = Control(
            settings,
            engine,
            dataclasses.replace(REAL, epoch=lambda: epoch),
            self._failed,
            name="root",
            records=records,
        )
        calm_collector()
        await records.epoch(self._system, epoch)
        await engine.start()
        expected: dict[int, None] = {}
        if remembered.was_started:
            expected = await control.resume(engine.find, remembered)
        else:
            await end_by_name(remembered.processes)
            await control.start()
        await records.started()
        silence_s = SILENCES * settings.heartbeat_s * settings.heartbeats_missed_max
        self._announcer = Announcer(self._ask)
        self._announcer.start()
        self._guests = Guests(control.host, control.root, silence_s, expected)
        control.host.run_task(self._guests.watch(settings.heartbeat_s, self._dropped))

    def _failed(self, error: CallboardError) -> None:
        """The root gave up: the system is over, and drivers find that it is gone."""
        LOGGER.error("detached system %s gives up: %s", self._settings.name, error)
        self._stopping = asyncio.ensure_future(self._give_up())

    async def _give_up(self) -> None:
        await self.stop(self._settings.stop_timeout_s)
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

    # --- for who looks for it ---------------------------------------------------------------

    async def ready(self) -> None:
        """Returns when the hosts are up; raises what kept them from that."""
        await asyncio.shield(self._ready)

    async def introduce(self) -> tuple[str, Settings]:
        """The release of Callboard, and how the system is run."""
        return callboard.__version__, self._settings

    async def stop(self, timeout_s: float) -> None:
        """Stop all actors in order, end all processes but this one, and forget everything."""
        with contextlib.suppress(CallboardError):
            await self._ready
        control = self._control
        if self._announcer is not None:
            await self._announcer.stop()
        if control is not None:
            await control.stop(timeout_s)
        if self._engine is not None:
            await self._engine.stop()
        await self._ledger.erase()

    async def look(self, question: bytes) -> bytes:
        """Answer a look at the system; see `looking.py`."""
        await asyncio.shield(self._ready)
        return await answer_of(question, self._ask)

    async def _ask(self, request: Request[ReplyT]) -> ReplyT:
        assert self._control is not None
        return await self._control.ask_desk(request, LOOK_TIMEOUT_S)

    @ray.method(concurrency_group="control")
    async def ping(self) -> int:
        """The process id; answers also while the root is busy."""
        return os.getpid()

    # --- guests -------------------------------------------------------------------------------

    async def admit(
        self, slot: int, epoch: int, name: str, address: SocketAddress | None, known_epoch: int
    ) -> Admission | None:
        """Let a driver in; None when it was dropped and must begin anew."""
        await asyncio.shield(self._ready)
        engine, guests = self._engine, self._guests
        assert engine is not None
        assert guests is not None
        mine = await engine.socket_address()
        pulls: FrameCarrier = self._pulls.setdefault(slot, PullCarrier())
        if address is not None and mine is not None and address.node == mine.node:
            pulls = SocketCarrier(address, pulls)
        admission = guests.admit(slot, epoch, name, address, pulls, known_epoch)
        if admission is None:
            self._dropped(slot)
            return None
        return admission._replace(control_address=mine)

    @ray.method(concurrency_group="control")
    async def heard(self, slot: int) -> None:
        """A guest lives."""
        if self._guests is not None:
            self._guests.heard(slot)

    async def leave(self, slot: int) -> None:
        """A guest leaves."""
        if self._guests is not None:
            await self._guests.drop(slot)
        self._dropped(slot)

    def _dropped(self, slot: int) -> None:
        pulls = self._pulls.pop(slot, None)
        if pulls is not None:
            pulls.close()

    # --- frames -----------------------------------------------------------------------------

    async def deliver(self, frame: bytes, references: Sequence[Any] = ()) -> Any:
        """Take a frame for the control host; gives the frame that is ready for its sender."""
        control = self._control
        return await take_call(None if control is None else control.host, frame, references)

    async def pull(self, slot: int, bookkeeping: bytes) -> Any:
        """The frames for a guest, as soon as there are some; None when it is not known (yet)."""
        guests, control, pulls = self._guests, self._control, self._pulls.get(slot)
        if guests is None or control is None or pulls is None or not guests.is_known(slot):
            return None
        control.host.receive(bookkeeping)
        taken = await pulls.take()
        return [pack_answer(*one) for one in taken] if guests.is_known(slot) else None
