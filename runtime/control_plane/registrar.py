"""The registrar: the top-level actors of a system, their places, names and offers.

The registrar notes an actor in the slot table before it starts the actor, so that a process that
takes the slot over meanwhile starts it too. It sends each change of names and offers to all hosts.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import (
    CONTROL_CELL,
    CONTROL_SLOT,
    DirectoryChanged,
    DirectoryPatched,
    DrainActor,
    ResizePart,
    SendBarrier,
    StartActors,
    StopActors,
)
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.placement import ANYWHERE, Placement
from callboard.messages.control.routing import Routing, RoutingKind, deal
from callboard.messages.control.spawning import (
    Offer,
    PartSize,
    ResizePool,
    Spawn,
    Spawned,
    SpawnPart,
)
from callboard.messages.core.errors import CallboardError, HostLost, SpecError, error_from_data
from callboard.messages.core.ref import Address

from .authority import UNLIMITED, Authority
from .records import Records
from .slots import Batch, Changed, Slot, SlotTable, has_keys
from .spreading import Spreading

__all__ = ["IsolatedHosts", "Registrar"]

LOGGER: Final = logging.getLogger("callboard.root")
START_ACTORS_TIMEOUT_S: Final = 60.0
"""How long the start hooks of a batch of actors may take."""
DRAIN_S: Final = 7 * 24 * 3600.0
"""How long a draining actor may work on the messages in its mailbox."""

Placed = tuple[Slot, Batch]
Failures = dict[int, dict[str, Any]]


class IsolatedHosts(Protocol):
    """Starts and ends hosts that run one actor each."""

    async def open_isolated(self, slot: Slot, spec: HostSpec) -> None:
        """Bring the host of one actor up."""

    async def close_isolated(self, slot: Slot) -> None:
        """End the host of an actor that has ended."""


class Registrar:
    """The top-level actors of a system."""

    def __init__(
        self,
        control: Host,
        table: SlotTable,
        isolated: IsolatedHosts,
        on_code: Callable[[bytes], None],
        wall_time: Callable[[], float],
        records: Records | None = None,
        authority: Authority = UNLIMITED,
    ) -> None:
        self.table: Final = table
        self.records: Final = Records(None) if records is None else records
        self.authority: Final = authority
        self._control = control
        self._isolated = isolated
        self._on_code = on_code
        """Called with the code of the actors that start."""
        self._wall_time = wall_time
        self.directory_version = 0
        self._directory_scheduled = False
        self._has_published = False
        self._places: dict[int, int] = {}
        """The places as the hosts know them."""
        self.spreading: Final = Spreading(control, self)
        """Spreads keyed actors over the hosts of now."""

    # --- starting and stopping actors ---------------------------------------------------

    async def spawn(self, request: Spawn) -> Spawned:
        """Start top-level actors; see `Spawn`.

        Raises `UsageError` for an unknown host, `NameTaken`, and the errors of the host; then
        none of the actors runs. Like all that changes actors, raises `ClusterError` when the root
        may not act.
        """
        await self.authority.check()
        known = self.records.answers.get(request.token)
        if known is not None:
            return known  # The answer of an earlier root was lost with it.
        placed: list[Placed] = []
        failures: Failures = {}
        try:
            for offer in request.offers:
                self.table.check_routing(offer.contracts, offer.routing)
            placed.extend(self._place(part) for part in request.parts)
            request = _with_places(request, placed)
            request = _with_holders(request, placed)
            self._take_names(request.offers, placed)
            is_alone = any(slot.is_isolated for slot, _ in placed)
            await self._reserve(takes_term=is_alone or has_keys(request.offers))
            # The holders of a tree before the tree, which starts its placed children in them.
            for wanted in (True, False):
                starts = [
                    self._start(*place)
                    for place in placed
                    if place[1].is_remote_child_holder is wanted
                ]
                for outcome in await asyncio.gather(*starts):
                    failures |= outcome
        except BaseException:
            self.give_up(placed)
            raise
        if failures and request.all_or_none:
            self.give_up(placed)
        for slot, batch in placed:
            for cell in [cell for cell in batch.cells if cell in failures]:
                self.forget(Address(slot.number, cell))
        if request.offers and not failures:
            try:
                for offer in request.offers:  # Other offers may have come meanwhile.
                    self.table.check_routing(offer.contracts, offer.routing)
            except SpecError:
                self.give_up(placed)
                raise
            for offer in request.offers:
                slot, batch = placed[offer.part]
                address = Address(slot.number, batch.first + offer.offset)
                self.table.offer(offer.contracts, address, offer.size, offer.routing)
            self.directory_changed()
            await self.published()
        answer = Spawned(
            parts=tuple((slot.number, batch.first) for slot, batch in placed), failures=failures
        )
        if request.token and any(any(batch.cells) for _, batch in placed):
            await self.records.record_spawn(request, placed, answer)
        return answer

    async def _reserve(self, *, takes_term: bool) -> None:
        """Record the numbers that the next command uses; with `takes_term`, in a new term."""
        table = self.table
        if takes_term or not table.newest_term:
            table.take_term(self._wall_time())
        await self.records.reserve(table.next_cell, table.newest_slot, table.newest_term)

    def _place(self, part: SpawnPart) -> Placed:
        wanted = ANYWHERE if part.placement is None else Placement.from_data(part.placement)
        table = self.table
        if wanted.isolated is not None:
            spec = _host_of(part.host)
            slot = table.add_slot(spec.name, spec.resources, is_isolated=True)
            slot.name = f"{spec.name}-isolated-{slot.number}"
        else:
            with _naming(part.field):
                slot = table.least_loaded() if wanted.host is None else table.slot(wanted.host)
        self._on_code(part.code)
        batch = Batch(part, table.take_cells(part.count * part.numbers_each))
        if not slot.is_isolated:
            slot.add(batch)
        return slot, batch

    def _take_names(self, offers: Sequence[Offer], placed: Sequence[Placed]) -> None:
        taken: list[Address] = []
        try:
            for offer in offers:
                if offer.name is not None:
                    slot, batch = placed[offer.part]
                    address = Address(slot.number, batch.first + offer.offset)
                    self.table.take_name(offer.name, address)
                    taken.append(address)
        except CallboardError:
            for address in taken:
                self.table.forget_entries(address)
            raise

    async def _start(self, slot: Slot, batch: Batch) -> Failures:
        if slot.is_isolated:
            with _naming(batch.field):
                await self._isolated.open_isolated(slot, _host_of(batch.host))
            # Not earlier: the host would have started the actor and logged a failure.
            slot.add(batch)
        try:
            return await self._start_batch(slot, batch)
        except HostLost:
            # The slot's next host starts them too: they are in the slot table. Whichever command
            # comes first there must lift the tokens above those of the host that was lost.
            await self._reserve(takes_term=True)
            return await self._start_batch(slot, batch)

    async def start_part(self, part: SpawnPart) -> Batch | None:
        """Start actors that no driver asked for; None when they do not start."""
        slot, batch = self._place(part)
        try:
            await self._reserve(takes_term=True)
            failures = await self._start(slot, batch)
        except BaseException:
            self.give_up([(slot, batch)])
            raise
        for data in failures.values():
            LOGGER.warning("%s does not take keys: %s", slot.name, error_from_data(data))
        if failures:
            self.give_up([(slot, batch)])
            return None
        return batch

    async def _start_batch(self, slot: Slot, batch: Batch, *, waits: bool = True) -> Failures:
        command = StartActors(
            entries=batch.entries,
            cells=tuple(batch.cells),
            places=batch.places,
            waits=waits,
            fence=self.table.fence_floor(),
        )
        await self.authority.held()
        answer = await self._control.ask(
            Address(slot.number, CONTROL_CELL), command, START_ACTORS_TIMEOUT_S
        )
        return answer.failures

    def give_up(self, placed: Sequence[Placed]) -> None:
        """Stop actors that may have started, and forget them."""
        for slot, batch in placed:
            cells = tuple(cell for cell in batch.cells if cell)
            for cell in cells:
                self.forget(Address(slot.number, cell))
            if slot.is_isolated:
                self._control.run_task(self._isolated.close_isolated(slot))
                continue
            with contextlib.suppress(CallboardError):
                # Some actors may have started.
                self._control.tell(Address(slot.number, CONTROL_CELL), StopActors(cells=cells))

    async def populate(self, slot: Slot) -> None:
        """Start the actors of a slot on the process that has taken it over."""
        batches = [batch for batch in slot.batches() if batch.comes_back]
        await self._reserve(takes_term=bool(batches))
        # A tree with placed children needs other hosts, and these may need this host.
        outcomes = await asyncio.gather(
            *(self._start_batch(slot, batch, waits=not batch.places) for batch in batches)
        )
        for failures in outcomes:
            for cell, data in failures.items():
                failure = error_from_data(data)
                LOGGER.warning("actor %d/%d did not come back: %s", slot.number, cell, failure)
                self.forget(Address(slot.number, cell))

    def host_lost(self, slot: Slot) -> None:
        """Forget the actors of a lost host that do not come back with its slot."""
        self.forget_lost(self.lost_with(slot))

    def lost_with(self, slot: Slot) -> list[Address]:
        """The actors of a slot that do not come back when its host is lost."""
        return [
            Address(slot.number, cell)
            for batch in slot.batches()
            if not batch.comes_back
            for cell in batch.cells
            if cell
        ]

    def forget_lost(self, lost: Sequence[Address]) -> None:
        """Forget actors that have ended with their host."""
        for address in lost:
            self.forget(address)

    async def stop_actor(self, address: Address) -> None:
        """Stop a top-level actor in order; it does not come back. Raises `ActorNotFound`."""
        await self.authority.check()
        slot = self.table.slot_of(address)
        batch = slot.entries[address.cell]
        self.forget(address, is_over=False)
        try:
            await self._stop(slot, address)
        finally:
            ends = self._end_holders(batch)
        if ends:
            await asyncio.wait(ends)

    async def drain_actor(self, address: Address) -> None:
        """Withdraw an actor from the directory; it stops after the messages sent to it.

        Raises `ActorNotFound`.
        """
        await self.authority.check()
        batch = self.table.slot_of(address).entries[address.cell]
        # The next root must stop the actor, not offer it again.
        self.records.forget_batch(batch.first)
        if self.table.forget_entries(address):
            self.directory_changed()
            await self.published()
        self._control.run_task(self._drain_and_stop(address))

    async def _drain_and_stop(self, address: Address) -> None:
        slot, cell = address
        await self.until_unsent(address)
        with contextlib.suppress(CallboardError):
            await self._control.ask(Address(slot, CONTROL_CELL), DrainActor(cell=cell), DRAIN_S)
        with contextlib.suppress(CallboardError):  # The actor may have stopped meanwhile.
            await self.stop_actor(address)

    async def until_unsent(self, address: Address) -> None:
        """Wait until all that was sent to an actor by an older directory has arrived there."""
        slot, cell = address
        # A host has the new directory before this barrier, and sends nothing after it.
        command = SendBarrier(slot=slot, cell=cell)
        hosts = [CONTROL_SLOT, *(slot.number for slot in self.table.reached())]
        asks = (self._control.ask(Address(host, CONTROL_CELL), command, DRAIN_S) for host in hosts)
        await asyncio.gather(*asks, return_exceptions=True)  # A dead host sends nothing.

    async def resize(self, request: ResizePool) -> None:
        """Change the sizes of a pool's parts; see `ResizePool`."""
        await self.authority.check()
        starting = []
        for wanted in request.parts:
            slot = self.table.slots.get(wanted.slot)
            batch = None if slot is None else slot.entries.get(wanted.cell)
            if batch is not None:
                batch.entries = wanted.part.entries  # For the next host of the slot.
                await self.records.resized(wanted)
                self.table.resize(Address(wanted.slot, wanted.cell), wanted.offer.size)
                starting.append(self._resize(wanted))
        self.directory_changed()
        for failure in await asyncio.gather(*starting, return_exceptions=True):
            if failure is not None:
                raise failure
        await self.published()

    async def _resize(self, wanted: PartSize) -> None:
        command = ResizePart(cell=wanted.cell, size=wanted.size)
        with contextlib.suppress(HostLost):  # The next host of the slot starts the new size.
            await self._control.ask(
                Address(wanted.slot, CONTROL_CELL), command, START_ACTORS_TIMEOUT_S
            )

    async def _stop(self, slot: Slot, address: Address) -> None:
        if slot.is_isolated:
            await self._isolated.close_isolated(slot)
            return
        control_actor, command = (
            Address(slot.number, CONTROL_CELL),
            StopActors(cells=(address.cell,)),
        )
        try:
            await self._control.ask(control_actor, command, None)
        except BaseException:
            # The table has forgotten the actor, so only this can stop it. The ask may have timed
            # out; a tell has no deadline.
            with contextlib.suppress(CallboardError):
                self._control.tell(control_actor, command)
            raise

    def _end_holders(self, batch: Batch) -> list[asyncio.Task[None]]:
        """End the holders of the placed children of a tree that has ended for good."""
        places = () if batch.is_remote_child_holder else batch.places
        return [self._control.start_task(self._end_holder(Address(*place))) for place in places]

    async def _end_holder(self, address: Address) -> None:
        with contextlib.suppress(CallboardError):  # The holder may have ended with its host.
            await self.stop_actor(address)

    async def stop_spread(self) -> None:
        """Stop the trees that span several hosts, the newest first, while all hosts are up."""
        batches = {
            batch: slot
            for slot in self.table.slots.values()
            for batch in slot.batches()
            if batch.places and not batch.is_remote_child_holder
        }
        for batch in sorted(batches, key=lambda batch: -batch.first):
            with contextlib.suppress(CallboardError):  # Its host may be down.
                await self.stop_actor(Address(batches[batch].number, batch.first))

    def forget(self, address: Address, *, is_over: bool = True) -> None:
        """Forget an actor that has ended for good, and end its isolated host.

        Without `is_over` the actor is about to end, and still needs its holders on other hosts.
        """
        slot = self.table.slots.get(address.slot)
        batch = None if slot is None else slot.entries.get(address.cell)
        if self.table.forget(address):
            self.directory_changed()
        if batch is not None:
            self.records.ended(batch)
            if is_over:
                self._end_holders(batch)
        if slot is not None and slot.is_isolated and not slot.entries:
            self._control.run_task(self._isolated.close_isolated(slot))

    def forget_all(self, slot: Slot) -> None:
        """Forget all actors of a slot."""
        for cell in list(slot.entries):
            self.forget(Address(slot.number, cell))

    def stop_for_good(self, slot: Slot) -> None:
        """Forget the actors of a host that has ended and does not come back by itself."""
        slot.final_epoch = slot.epoch
        self.records.slot_changed(slot, is_populated=False)
        self.forget_all(slot)
        self.directory_changed()
        self.spreading.hosts_changed()

    def remove_slot(self, slot: Slot) -> None:
        """Remove the slot of a host that has ended for good; its number is never used again."""
        self.forget_all(slot)
        self.table.remove_slot(slot)
        self.records.slot_gone(slot.number)
        self.directory_changed()
        self.spreading.hosts_changed()

    # --- the directory ----------------------------------------------------------------

    def directory_changed(self) -> None:
        """Send the directory to all hosts, once for all changes of this loop iteration."""
        if not self._directory_scheduled:
            self._directory_scheduled = True
            self._control.loop.call_soon(self._publish_scheduled)

    def _publish_scheduled(self) -> None:
        if self._directory_scheduled:  # Otherwise a copy of the whole was wanted meanwhile.
            self.publish()

    def publish(self) -> None:
        """Send the directory to all hosts now."""
        self._directory_scheduled = False
        self.directory_version += 1
        change: DirectoryPatched | DirectoryChanged
        if self._has_published:
            change = self._patch()
            self._control.directory.patch(change)
            self._control.membership.patch(change.places, change.places_gone, change.newest_slot)
        else:
            # The hosts of an earlier root have that root's directory.
            self._has_published = True
            change = self._publish_whole()
        self._places = self.table.places()
        self.table.changed = Changed()
        for slot in self.table.reached():
            self._control.tell(Address(slot.number, CONTROL_CELL), change)

    def _publish_whole(self) -> DirectoryChanged:
        table, change = self.table, self._whole()
        self._control.directory.replace(
            change.version,
            table.names,
            table.offers,
            table.sizes,
            table.shared(),
            table.routings,
        )
        self._control.membership.update(change.places, change.newest_slot)
        return change

    def _patch(self) -> DirectoryPatched:
        """The changes since the last version, which is the one of this host's own copy."""
        table, before = self.table, self._places
        changed, places = table.changed, table.places()
        return self._control.directory.changes_to(
            self.directory_version,
            {name: table.names.get(name) for name in changed.names},
            {name: table.offers.get(name, ()) for name in changed.contracts},
            {where: table.sizes.get(where, 0) for where in changed.sizes},
            {name: table.routings.get(name) for name in changed.contracts},
            table.shared(),
            places={slot: at for slot, at in places.items() if before.get(slot) != at},
            places_gone=[slot for slot in before if slot not in places],
            newest_slot=table.newest_slot,
        ).model_copy(update={"fence": table.fence_floor()})

    async def published(self) -> None:
        """Wait until this host's copy is up to date, and the others are on their way."""
        if self._directory_scheduled:
            await asyncio.sleep(0)  # `_publish` was scheduled before this.

    def directory(self) -> DirectoryChanged:
        """The whole directory, as a message to hosts; the next change is one of this copy."""
        if self._has_published and self._has_changed():
            self.publish()
        return self._whole()

    def _has_changed(self) -> bool:
        table, changed = self.table, self.table.changed
        return (
            bool(changed.names or changed.contracts or changed.sizes)
            or table.places() != self._places
            or table.shared() != self._control.directory.hosts
        )

    def _whole(self) -> DirectoryChanged:
        return DirectoryChanged(
            version=self.directory_version,
            hosts=self.table.shared(),
            names={name: (where.slot, where.cell) for name, where in self.table.names.items()},
            offers={
                name: tuple((where.slot, where.cell) for where in places)
                for name, places in self.table.offers.items()
            },
            sizes={str(where): size for where, size in self.table.sizes.items()},
            routings=dict(self.table.routings),
            places=self.table.places(),
            newest_slot=self.table.newest_slot,
            fence=self.table.fence_floor(),
        )


def _with_places(request: Spawn, placed: Sequence[Placed]) -> Spawn:
    """Write the places of keyed actors into their routing, and deal out their shares."""
    places: dict[str, list[tuple[int, int]]] = {}
    for offer in request.offers:
        if offer.routing is not None:
            slot, batch = placed[offer.part]
            places.setdefault(offer.routing, []).append((slot.number, batch.first + offer.offset))
    texts = {}
    for text, rows in places.items():
        routing = Routing.from_text(text)
        if routing.kind is RoutingKind.KEYED:
            owners = deal([None] * len(routing.owners), range(len(rows)))
            texts[text] = replace(routing, places=tuple(rows), owners=owners).to_text()
    if not texts:
        return request
    offers = tuple(
        offer.model_copy(update={"routing": texts.get(offer.routing or "", offer.routing)})
        for offer in request.offers
    )
    return request.model_copy(update={"offers": offers})


def _with_holders(request: Spawn, placed: Sequence[Placed]) -> Spawn:
    """Write the places of a tree's placed children into its parts."""
    parts = list(request.parts)
    for number, part in enumerate(parts):
        if part.holders:
            places = tuple((placed[i][0].number, placed[i][1].first) for i in part.holders)
            parts[number] = part.model_copy(update={"places": places})
            placed[number][1].places = places
    return request.model_copy(update={"parts": tuple(parts)})


@contextlib.contextmanager
def _naming(field: str) -> Iterator[None]:
    """Name `field` in errors about a placement."""
    try:
        yield
    except CallboardError as error:
        if not field:
            raise
        data = error.to_data()
        details = {**data["details"], "field": field}
        named = {**data, "message": f"{field}: {error.message}", "details": details}
        raise error_from_data(named) from error


def _host_of(data: dict[str, Any] | None) -> HostSpec:
    if data is None:
        raise SpecError("an isolated actor without its host.", advice="Fill SpawnPart.host.")
    return HostSpec.from_data(data)
