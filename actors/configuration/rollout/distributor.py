"""The distributor: the part of one host that gives snapshots to its targets.

    controller -- OfferVersion --> distributor -- one assignment, or `on_config` --> targets
    controller <- FetchComponent -- distributor        once for each version and host
    controller <- VersionAnswered - distributor        one reply for all targets of the host

A target without an `on_config` of its own takes a snapshot at once: a handler that runs has its own
reference to the one before it. For the others the question goes before all waiting messages, and
the assignment follows in the moment of the answer.
"""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import AskError, CallboardError, UsageError

from ...kernel.actor import handler
from ...kernel.asks import Ask
from ...kernel.cell import Cell, Lifecycle
from ...kernel.host.extension import Extension
from ...kernel.ports import RoleHost
from ...kernel.snapshot import Snapshot
from .events import Joined
from .messages import (
    AnnounceTargets,
    ConfigurationJoined,
    ConfigurationTaken,
    FetchComponent,
    JoinConfiguration,
    JoinTargets,
    OfferVersion,
    ReportHealth,
    TakeConfiguration,
    TargetsAnnounced,
    VersionAnswered,
)
from .target import START_S, Configured, read_settings, refusal_of, version_of

__all__ = ["Distributor"]

LOGGER: Final = logging.getLogger("callboard.configuration")
VERSIONS_MAX: Final = 64
"""The contents that one host keeps."""
JOIN_S: Final = 10.0
FETCH_S: Final = 10.0
HEALTH_S: Final = 0.5
BEATS_TO_RECOVER: Final = 10
"""After so many reports without another restart, a target is well again."""
JOINS_MAX: Final = 5_000
"""The targets of one message to the controller."""
SLICE: Final = 2_000
"""After so many targets the event loop serves its sockets."""


@dataclass(slots=True)
class _Local:
    """A target of this host."""

    name: str
    cell: int
    kind: str
    component: str
    nonce: int = 0
    restarts: int = 0
    """How often its actor was made again under the version of now."""
    beats: int = 0
    """The reports since then."""
    is_reported: bool = False
    waits: asyncio.Future[None] | None = None
    """Done once the first offer after its start has been answered."""


@dataclass(slots=True)
class _Held:
    """The content of one version, and what it is for each class of settings."""

    content: bytes
    settings: dict[tuple[str, type[BaseModel] | None], Snapshot | ValueError] = field(
        default_factory=dict
    )


class _Answer:
    """The sink of the question to one actor: its answer makes the snapshot count."""

    def __init__(self, cell: Cell, snapshot: Snapshot | None, loop: Any) -> None:
        self._cell, self._snapshot = cell, snapshot
        self.refusal: asyncio.Future[str] = loop.create_future()
        self.is_given_up = False

    def reply(self, correlation: int, message: Contract | None) -> None:
        """The hook has looked at it."""
        assert isinstance(message, ConfigurationTaken)
        if not message.refusal and not self.is_given_up:
            self._cell.snapshot = self._snapshot
        self._end(message.refusal)

    def fail(self, correlation: int, error: CallboardError) -> None:
        """The actor has ended."""
        self._end(f"its actor has ended: {error.message}")

    def partial(self, correlation: int, message: Contract) -> None:
        """There are none."""

    def _end(self, refusal: str) -> None:
        if not self.refusal.done():
            self.refusal.set_result(refusal)


class Distributor(Extension):
    """Configuration's part of one host. It does nothing in a system without targets."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self._host = host
        self._targets: dict[str, _Local] = {}
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._fetches: dict[str, asyncio.Task[_Held | CallboardError]] = {}
        self._joining: dict[str, _Local] = {}
        self._beats: asyncio.Task[None] | None = None

    # --- targets that start -------------------------------------------------------------------

    @handler
    async def join(self, request: JoinConfiguration) -> ConfigurationJoined:
        """An actor starts: it gets its configuration first, if the controller is there."""
        cell = self._host.cells.get(request.cell)
        actor = None if cell is None else cell.actor
        if cell is None or not isinstance(actor, Configured):
            raise UsageError(
                f"the cell {request.cell} has no configured actor.",
                advice="Derive it from Configured.",
            )
        name = f"{self._host.slot}{cell.path}"
        target = self._targets.get(name)
        if target is None:
            kind = type(actor).__qualname__
            target = self._targets[name] = _Local(name, cell.id, kind, actor.component)
        elif cell.snapshot is not None:
            target.restarts, target.beats = target.restarts + 1, 0
            refusal = await refusal_of(actor, cell.snapshot)
            if refusal:
                cell.snapshot = None
        target.cell, target.component, target.nonce = cell.id, actor.component, 0
        waits = target.waits = self._host.loop.create_future()
        if actor.component:
            self._announce(target)
            await asyncio.wait((waits,), timeout=START_S)
        target.waits = None
        return ConfigurationJoined(version=_version(cell))

    def _announce(self, target: _Local) -> None:
        """Let it join together with all others of this moment."""
        if not self._joining:
            self._host.run_task(self._send_joins())
        self._joining[target.name] = target
        if self._beats is None:
            self._beats = self._host.start_task(self._beat())

    async def _send_joins(self) -> None:
        await asyncio.sleep(0)
        while self._joining:
            names = list(self._joining)[:JOINS_MAX]
            targets = [self._joining.pop(name) for name in names]
            wanted = await self._join_targets(targets)
            for target in targets:
                if target.waits is not None and target.name not in wanted:
                    _end(target.waits)

    async def _join_targets(self, targets: list[_Local]) -> frozenset[str]:
        """The names of those that get an offer; all may go on when the controller is away."""
        request = JoinTargets(host=self._host.slot, targets=tuple(map(self._joined, targets)))
        try:
            return frozenset((await self._host.ask(None, request, JOIN_S)).targets)
        except AskError as error:
            # It asks for all targets when it starts.
            LOGGER.info("%d targets start without the controller: %s", len(targets), error)
            return frozenset()

    def _joined(self, target: _Local) -> Joined:
        cell = self._host.cells.get(target.cell)
        version = "" if cell is None else _version(cell)
        return target.name, target.kind, target.component, version

    @handler
    async def announce(self, request: AnnounceTargets) -> TargetsAnnounced:
        """The controller does not know this host's targets, or not what they have."""
        self._forget_gone()
        for target in self._targets.values():
            if target.component:
                self._announce(target)
        return TargetsAnnounced(targets=len(self._targets))

    def _forget_gone(self) -> None:
        cells = self._host.cells
        for name in [each.name for each in self._targets.values() if each.cell not in cells]:
            del self._targets[name]

    # --- offers ---------------------------------------------------------------------------------

    @handler
    async def offer(self, request: OfferVersion) -> VersionAnswered:
        """Give a version to some targets."""
        held = await self._hold(request.version) if request.version else None
        if isinstance(held, AskError):
            return VersionAnswered(timed_out=request.targets)  # The controller is away for now.
        if isinstance(held, CallboardError):
            why = held.message
            return VersionAnswered(
                nacked=tuple((name, why, self._active(name)) for name in request.targets)
            )
        acked: list[str] = []
        nacked: list[tuple[str, str, str | None]] = []
        asked: dict[str, _Answer] = {}
        gone: list[str] = []
        silent: list[str] = []
        for at, name in enumerate(request.targets, 1):
            if not at % SLICE:
                await asyncio.sleep(0)
            target = self._targets.get(name)
            cell = None if target is None else self._host.cells.get(target.cell)
            if target is None or cell is None:
                gone.append(name)
            elif not isinstance(cell.actor, Configured):
                silent.append(name)  # It is just made again, and joins then.
            elif request.nonce >= target.nonce:
                target.nonce = request.nonce
                said = self._give(target, cell, cell.actor, request, held)
                if isinstance(said, _Answer):
                    asked[name] = said
                elif said:
                    nacked.append((name, said, _version(cell)))
                else:
                    acked.append(name)
        silent += await self._answers(asked, request.timeout_s, acked, nacked)
        self._end_waits(request.targets)
        for name in acked:
            self._targets[name].restarts, self._targets[name].is_reported = 0, False
        return VersionAnswered(
            acked=tuple(acked), nacked=tuple(nacked), timed_out=tuple(silent), gone=tuple(gone)
        )

    def _give(
        self,
        target: _Local,
        cell: Cell,
        actor: Configured,
        request: OfferVersion,
        held: _Held | None,
    ) -> "str | _Answer":
        """Give a snapshot to one target: the reason of a refusal, or the answer to come."""
        snapshot = None
        if held is not None:
            found = _snapshot(held, request, type(actor).settings)
            if isinstance(found, ValueError):
                return str(found)
            snapshot = found
        if type(actor).on_config is Configured.on_config:
            cell.snapshot = snapshot
            return ""
        answer = _Answer(cell, snapshot, self._host.loop)
        actor.offered = snapshot
        if cell.lifecycle is Lifecycle.STARTING and target.waits is not None:
            self._host.run_task(_ask_at_start(answer, actor, snapshot))
        elif cell.lifecycle is Lifecycle.RUNNING:
            cell.put_first([Ask(TakeConfiguration(version=request.version), answer, 0, math.inf)])
            cell.schedule()
        else:
            return "its actor does not run"
        return answer

    async def _answers(
        self,
        asked: dict[str, _Answer],
        timeout_s: float,
        acked: list[str],
        nacked: list[tuple[str, str, str | None]],
    ) -> tuple[str, ...]:
        """Wait for the hooks; gives the names of those that did not answer."""
        if not asked:
            return ()
        await asyncio.wait([each.refusal for each in asked.values()], timeout=timeout_s)
        silent: list[str] = []
        for name, answer in asked.items():
            if not answer.refusal.done():
                answer.is_given_up = True  # A later answer must not surprise anybody.
                silent.append(name)
            elif answer.refusal.result():
                nacked.append((name, answer.refusal.result(), self._active(name)))
            else:
                acked.append(name)
        return tuple(silent)

    def _end_waits(self, names: Iterable[str]) -> None:
        for name in names:
            target = self._targets.get(name)
            if target is not None and target.waits is not None:
                _end(target.waits)

    def _active(self, name: str) -> str:
        target = self._targets.get(name)
        cell = None if target is None else self._host.cells.get(target.cell)
        return "" if cell is None else _version(cell)

    async def _hold(self, version: str) -> _Held | CallboardError:
        """The content of a version, which comes to a host once, or why it is not to be had."""
        held = self._held.get(version)
        if held is not None:
            self._held.move_to_end(version)
            return held
        task = self._fetches.get(version)
        if task is None:
            task = self._fetches[version] = self._host.start_task(self._fetch(version))
            task.add_done_callback(lambda _: self._fetches.pop(version, None))
        return await asyncio.shield(task)

    async def _fetch(self, version: str) -> _Held | CallboardError:
        try:
            found = await self._host.ask(None, FetchComponent(version=version), FETCH_S)
        except CallboardError as error:
            return error
        if version_of(found.content) != version:
            return UsageError(
                f"the content of version {version[:12]} has changed on its way.",
                advice="See what the controller has stored.",
            )
        held = self._held[version] = _Held(found.content)
        if len(self._held) > VERSIONS_MAX:
            self._held.popitem(last=False)
        return held

    # --- health -------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Report the health of targets, again and again."""
        while True:
            await asyncio.sleep(HEALTH_S)
            self._forget_gone()
            fresh = [each for each in self._targets.values() if not each.is_reported]
            for target in fresh:
                target.is_reported = True
            ill = [each for each in self._targets.values() if each.restarts]
            for target in ill:
                target.beats += 1
                if target.beats >= BEATS_TO_RECOVER:
                    target.restarts, target.is_reported = 0, False
            report = ReportHealth(
                host=self._host.slot,
                healthy=tuple(each.name for each in fresh if not each.restarts),
                unhealthy=tuple(each.name for each in ill),
            )
            try:
                address = self._host.directory.address_for(report)
                self._host.tell(address, report)
            except CallboardError as error:
                for target in fresh:
                    target.is_reported = False
                LOGGER.debug("nobody takes the health of targets: %s", error)

    def close(self) -> None:
        """Drop all contents."""
        if self._beats is not None:
            self._beats.cancel()
        self._targets.clear()
        self._held.clear()


def _version(cell: Cell) -> str:
    return "" if cell.snapshot is None else cell.snapshot.version


def _end(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _snapshot(
    held: _Held, request: OfferVersion, kind: type[BaseModel] | None
) -> Snapshot | ValueError:
    """The snapshot that all targets of one class share, or why its content does not fit."""
    key = request.component, kind
    found = held.settings.get(key)
    if found is None:
        try:
            settings = read_settings(kind, held.content)
            found = Snapshot(request.component, request.version, settings)
        except ValueError as error:
            found = error
        held.settings[key] = found
    return found


async def _ask_at_start(answer: _Answer, actor: Configured, snapshot: Snapshot | None) -> None:
    """The actor waits in its start hook, and handles no message yet."""
    answer.reply(0, ConfigurationTaken(refusal=await refusal_of(actor, snapshot)))
