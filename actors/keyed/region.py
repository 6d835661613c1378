"""The key region: one host's part of a kind of keyed actors, and its activations.

The key region's cell handles nothing: it passes each message to the activation of its key by
reference, with the asker and the deadline. A stable hash over the key regions that existed when
the kind was made chooses the region of a key. Addresses name slots, so a key stays at its address
when its host is replaced, and the links cut off an old process of the slot. Keys of a kind with
shares move when hosts come and go; `handover.py` says how.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final, assert_never

from callboard.messages.control.spec import Intensity, Restart, SupervisorSpec
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStopped,
    CallboardError,
    MailboxFull,
    StateConflict,
)
from callboard.messages.core.ref import Address
from callboard.messages.storage.errors import WriterFenced
from callboard.messages.storage.keyed_stores import MemoryStore

from ..kernel.actor import Actor, Behaviour, Overflow, behaviour_of
from ..kernel.asks import Ask
from ..kernel.cell import Cell, Lifecycle, Recipe, message_of
from ..kernel.directory.routing import key_text, share_of
from ..kernel.failures import start_failed_error, text_of
from ..kernel.flow_key import FlowKey
from ..kernel.lifecycle.mailbox_policy import apply_restart_policy
from ..kernel.ports import CellDispatcher, CellHost
from .activation import Activation, KeyedPlan
from .actor import contract_offered
from .core import (
    Activate,
    Deliver,
    Effect,
    Fail,
    KeyRegionCore,
    KeyRegionLimits,
    Refuse,
    Renew,
    Save,
    State,
    Stop,
)
from .handover import OwnShares, ReleaseShare
from .states import States

__all__ = ["KeyRegion", "KeyedRecipe"]

LOGGER: Final = logging.getLogger("callboard.keyed")
TICK_MIN_S: Final = 0.01
TICK_MAX_S: Final = 1.0
STOPS_AT_ONCE: Final = 64
"""Activations that stop and save at the same time when their key region stops."""
LAST_SAVES_S: Final = 10.0
"""How long a stopping key region retries saves that its store refuses."""


class KeyRegionActor(Actor):
    """The key region's own actor, which handles nothing."""

    supervision: ClassVar[SupervisorSpec] = SupervisorSpec(
        intensity=Intensity(restarts=10_000, period_s=10.0)
    )
    """Activations fail independently; the back-off keeps a crash loop slow."""

    def __init__(self, plan: KeyedPlan) -> None:
        self.plan = plan


class KeyedRecipe(Recipe):
    """How to make a key region."""

    __slots__ = ("plan",)

    def __init__(self, plan: KeyedPlan) -> None:
        super().__init__(KeyRegionActor, (plan,), None, plan.kind)
        self.plan = plan

    def make_cell(self, number: int, host: CellHost[Cell]) -> "KeyRegion":
        """Make the cell that receives all messages for the keys of the host."""
        return KeyRegion(number, self, behaviour_of(KeyRegionActor), host.dispatcher)


class KeyRegion(Cell):
    """The cell that receives all messages for the keys of one host."""

    __slots__ = (
        "_cells",
        "_core",
        "_gives_up_at_s",
        "_room_waiters",
        "_shares",
        "_timer",
        "plan",
        "states",
    )

    def __init__(
        self,
        number: int,
        recipe: KeyedRecipe,
        behaviour: Behaviour,
        dispatcher: CellDispatcher[Cell],
    ) -> None:
        super().__init__(number, recipe, behaviour, dispatcher)
        self.free = 0  # The dispatcher never schedules it.
        self.plan: Final = recipe.plan
        plan = recipe.plan
        store = MemoryStore() if plan.store is None else plan.store
        self.states = States(dispatcher.host, plan.kind, store)
        self._timer: asyncio.TimerHandle | None = None
        self._room_waiters: dict[str, list[tuple[Contract, Callable[[], None]]]] = {}
        """Senders that wait for room at keys that are not active."""
        self._gives_up_at_s: float | None = None
        self._cells: dict[str, Activation] = {}
        held_max = behaviour_of(plan.actor).mailbox_messages
        self._core = KeyRegionCore(KeyRegionLimits(plan.active_max, plan.idle_s, held_max))
        self._shares: OwnShares | None = None
        if plan.shares:
            name = contract_offered(behaviour_of(plan.actor))
            self._shares = OwnShares(dispatcher.host, number, name)

    def now(self) -> float:
        """The host's time."""
        return self.dispatcher.loop.time()

    @property
    def keys_active(self) -> int:
        """The number of keys with an activation, starting and ending ones included."""
        return self._core.active

    # --- messages -------------------------------------------------------------------------

    def put(self, item: Any) -> None:
        """Give a message to the activation of its key; see `Cell.put`.

        For a tell it also raises `InvalidMessage` for a bad key, and `ActorNotFound` for a key
        of another host.
        """
        if self.lifecycle != Lifecycle.RUNNING:
            super().put(item)  # It keeps the message until it runs, or refuses it.
            return
        try:
            self._take(item, comes_over_link=False)
        except CallboardError as error:
            if type(item) is not Ask:
                raise
            item.fail(error)

    def arrive(self, item: Any) -> bool:
        """Like `put`; it pauses a sender that may wait for a key with too many messages."""
        if self.lifecycle != Lifecycle.RUNNING:
            return super().arrive(item)
        try:
            return self._take(item, comes_over_link=True)
        except CallboardError as error:
            reason = "mailbox_full" if isinstance(error, MailboxFull) else "refused"
            self.fail(item, error, reason)
            return False

    def _take(self, item: Any, *, comes_over_link: bool) -> bool:
        key = key_text(message_of(item), self.plan.actor.key)
        core = self._core
        if core.state_of(key) is None and not self._owns(key, item):
            return False
        may_wait = self._lets_senders_wait and (comes_over_link or type(item) is Ask)
        in_mailbox = self._mailbox_size(key)
        effects = core.message_arrived(
            key, item, self.now(), may_wait=may_wait, in_mailbox=in_mailbox
        )
        if effects and type(effects[0]) is Deliver:
            cell = self._cells[key]
            is_over = False
            if comes_over_link:
                is_over = cell.arrive(item)
            else:
                cell.put(item)
            if not cell.queued and type(item) is Ask:
                self.host.circles.suspect(item, cell)
            return is_over
        self._perform(effects)
        if type(item) is Ask:
            self.host.circles.suspect(item, self)
        return comes_over_link and self._lets_senders_wait and self._is_over(key)

    @property
    def _lets_senders_wait(self) -> bool:
        return behaviour_of(self.plan.actor).overflow is Overflow.WAIT

    def _is_over(self, key: str) -> bool:
        core = self._core
        return core.state_of(key) is not State.ACTIVE and core.is_full(key, self._mailbox_size(key))

    def _mailbox_size(self, key: str) -> int:
        cell = self._cells.get(key)
        return 0 if cell is None or cell.mailbox is None else len(cell.mailbox)

    def has_room_for(self, message: Contract) -> bool:
        """Whether the activation of its key has room, or will have once it is active."""
        if self.lifecycle != Lifecycle.RUNNING:
            return super().has_room_for(message)
        try:
            key = key_text(message, self.plan.actor.key)
        except CallboardError:
            return True  # `put` raises the error.
        if self._core.state_of(key) is State.ACTIVE:
            return self._cells[key].has_room()
        return not self._lets_senders_wait or not self._is_over(key)

    def flow_key_of(self, message: Contract) -> FlowKey:
        """The flow key of the message's key, so that a full key delays no other key."""
        if self.lifecycle != Lifecycle.RUNNING:
            return super().flow_key_of(message)
        return FlowKey.of(message, self.plan.actor.key)

    def when_room(self, message: Contract, callback: Callable[[], None]) -> None:
        """Call `callback` once the message's key has room, or will never have any."""
        if self.lifecycle != Lifecycle.RUNNING:
            super().when_room(message, callback)
            return
        key = key_text(message, self.plan.actor.key)
        if self._core.state_of(key) is State.ACTIVE:
            self._cells[key].when_room(message, callback)
        else:
            self._room_waiters.setdefault(key, []).append((message, callback))

    def _release(self, key: str) -> None:
        """Notify the room waiters of a key that may have room now, or is absent."""
        if self._core.state_of(key) is not None and self._is_over(key):
            return  # Held messages come first.
        for message, callback in self._room_waiters.pop(key, ()):
            cell = self._cells.get(key)
            if cell is not None and cell.is_full:
                cell.when_room(message, callback)
            else:
                callback()

    @property
    def is_blocked(self) -> bool:
        """False: the cell of the key decides."""
        return False

    @property
    def is_reentrant(self) -> bool:
        """Whether the keyed actors are."""
        return behaviour_of(self.plan.actor).reentrant

    def is_handled_by(self, cell: Cell, message: Contract) -> bool:
        """Whether `cell` is the activation of the message's key."""
        return cell is self._cells.get(key_text(message, self.plan.actor.key))

    def handled_at_once(self, message: Contract) -> int:
        """How many messages the actor of one key may handle."""
        return behaviour_of(self.plan.actor).concurrency

    def held_for(self, key: str) -> Sequence[Any]:
        """The messages that wait for the activation of a key."""
        return self._core.held_for(key)

    @property
    def is_quiet(self) -> bool:
        """True: a key region runs no handler itself."""
        return True

    def wake(self) -> None:
        """The region runs: it may activate keys from now on."""
        self.host.spawner.learn(behaviour_of(self.plan.actor))
        waiting = self._take_all()
        self._cells = {}
        self._core = KeyRegionCore(self._core.limits)
        for item in waiting:
            try:
                self.put(item)
            except CallboardError as error:
                self.fail(item, error, "refused")
        self._release_all()  # After the older messages.

    def drain(self) -> list[Any]:
        """Return all messages that wait for an activation."""
        items = self._take_all()
        self._release_all()
        return items

    def _take_all(self) -> list[Any]:
        return [*self._core.drain(), *super().drain()]

    def _release_all(self) -> None:
        for key in list(self._room_waiters):
            self._release(key)
        if self.room_waiters is not None:
            self.notify_room_waiters()

    def end_turn(self) -> None:
        """Never called: a key region has no turn of its own."""

    def _owns(self, key: str, item: Any) -> bool:
        """Whether the key is of this region; a message for a key that has moved goes on."""
        if self._shares is not None:
            is_own = self._shares.owns(key)
            if not is_own:
                self._shares.pass_on(key, item, self.put, self._refuse)
            return is_own
        owner = self.host.directory.route(message_of(item))
        here = Address(self.host.slot, self.id)
        if isinstance(owner, Address) and owner != here:
            raise ActorNotFound(
                f"{self.path} at {here} does not own this key: {owner} does.",
                advice="Send the message without a reference: the key finds its actor.",
                may_have_run=False,
            )
        return True

    def _refuse(self, item: Any, error: CallboardError) -> None:
        self.fail(item, error, "refused")

    def fail(self, item: Any, error: CallboardError, reason: str) -> None:
        """Fail a message that no activation handles."""
        if type(item) is Ask:
            item.fail(error)
        else:
            self.dispatcher.dead_letters.dead(reason, self.path, item, error)

    def refuse_message(self, cell: Activation, item: Any) -> None:
        """Refuse a message whose activation has just ended."""
        self.fail(item, _stopped_error(cell.path), "actor_stopped")

    # --- the core's effects -----------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        host = self.host
        for effect in effects:
            match effect:
                case Deliver(key, item):
                    self._cells[key].deliver(item)
                case Activate(key):
                    host.run_task(self._activate(key))
                case Save(key):
                    cell = self._cells[key]
                    cell.saving = True
                    host.run_task(self._save(cell))
                case Stop(key):
                    host.children_of(self).remove(self._cells[key])
                case Renew(key):
                    self._renew(self._cells[key])
                case Refuse(key):
                    raise self._full(key)
                case Fail(key, items):
                    raise AssertionError(key, items)  # Only `_activate` gets it.
                case _:
                    assert_never(effect)
        if self._timer is None and self._core.active:
            self._set_timer()

    def _renew(self, cell: Activation) -> None:
        if cell.lifecycle == Lifecycle.RUNNING:
            assert cell.failure is not None
            apply_restart_policy(cell)
            self.host.termination.actor_failed(cell, cell.failure)

    def _full(self, key: str) -> MailboxFull:
        return MailboxFull(
            f"too many messages wait for the activation of {self.path}/{key}.",
            advice="Use send or ask, which wait; raise mailbox_messages or active_max; slow down.",
            may_have_run=False,
        )

    def _set_timer(self) -> None:
        plan = self.plan
        shortest_s = min(plan.idle_s, plan.save_after_s or plan.idle_s)
        wait_s = min(TICK_MAX_S, max(TICK_MIN_S, shortest_s / 4.0))
        self._timer = self.dispatcher.loop.call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.lifecycle != Lifecycle.RUNNING:
            return
        limit = self.plan.memory_bytes_max
        vitals = self.host.meters.vitals
        is_over = limit is not None and vitals().memory_bytes > limit
        if self._shares is not None:
            for key in self._shares.moved(self._cells):
                self.host.run_task(self._stop_each(iter((self._cells[key],))))
        if self.plan.save_after_s is not None:
            for cell in [cell for cell in self._cells.values() if cell.unsaved]:
                cell.check_idle()
        self._perform(self._core.tick(self.now(), is_over_memory=is_over))
        for key in [key for key in self._room_waiters if self._core.state_of(key) is None]:
            self._release(key)
        if self._timer is None and self._room_waiters:
            self._set_timer()

    # --- activations ------------------------------------------------------------------------

    async def _activate(self, key: str) -> None:
        entries = self.host.spawner
        behaviour = behaviour_of(self.plan.actor)
        cell: Activation | None = None
        try:
            if self._shares is not None:
                await self._shares.take_over(key)
                if not self._shares.owns(key):
                    raise _stopped_error(f"{self.path}/{key}")
            begun = entries.begin_cell(
                lambda number: Activation(number, self, key, behaviour), self, Restart.TRANSIENT
            )
            assert isinstance(begun, Activation)
            cell = self._cells[key] = begun
            await entries.outcome(cell)
            if self._cells.get(key) is not cell:
                raise _stopped_error(cell.path)
        except CallboardError as error:
            failure = cell.failure if cell is not None and cell.failure is not None else error
            if cell is None or self._cells.get(key) is cell:
                self._cells.pop(key, None)
            if self.lifecycle == Lifecycle.RUNNING:
                self._activation_failed(key, failure)
        else:
            if self.lifecycle == Lifecycle.RUNNING:
                self._perform(self._core.activated(key, self.now()))
                self._release(key)

    def _activation_failed(self, key: str, error: CallboardError) -> None:
        failure, *effects = self._core.activation_failed(key, self.now())
        assert isinstance(failure, Fail)
        for item in failure.items:
            if self._shares is not None and not self._shares.owns(key):
                self._shares.pass_on(key, item, self.put, self._refuse)
            else:
                self.fail(item, error, "activation_failed")
        self._perform(effects)
        self._release(key)

    def did_not_start(self, cell: Activation, error: BaseException) -> None:
        """The state or the start hook of an activation failed: its key becomes absent.

        The same holds for an active key that crashed: the next message tries again, not a timer.
        """
        failure = error if isinstance(error, CallboardError) else start_failed_error(cell, error)
        cell.failure = failure
        if (
            self._core.state_of(cell.key) is State.ACTIVATING
            or self.lifecycle >= Lifecycle.STOPPING
        ):
            return  # `_activate` fails the waiting messages, or has done so.
        for item in Cell.drain(cell):
            self.fail(item, failure, "activation_failed")
        self.dispatcher.loop.call_soon(self._give_up, cell)

    def _give_up(self, cell: Activation) -> None:
        if self._cells.get(cell.key) is cell and cell.lifecycle == Lifecycle.STARTING:
            self.host.children_of(self).remove(cell)

    def idle(self, cell: Activation) -> None:
        """Note that an activation is idle."""
        was_used, cell.was_used, cell.is_busy = cell.was_used, False, False
        self._perform(self._core.actor_idle(cell.key, self.now(), was_used=was_used))

    def busy(self, cell: Activation) -> None:
        """Note that an activation handles messages, whichever way they came."""
        if self._cells.get(cell.key) is cell:
            self._core.actor_busy(cell.key)

    def may_save(self, cell: Activation) -> bool:
        """Whether it may save again: False for a while after a failed save."""
        entry = self._core.entries.get(cell.key)
        return entry is not None and self.now() >= entry.retry_s

    def save(self, cell: Activation) -> bool:
        """Begin to save the state of a quiet activation; False when that is not possible now."""
        self._perform(self._core.save(cell.key, self.now()))
        return cell.saving

    async def _save(self, cell: Activation) -> None:
        core, finish = self._core, self._core.save_succeeded
        try:
            await self.states.write(cell)
        except (StateConflict, WriterFenced) as error:
            # A fenced one is renewed in vain: its next incarnation cannot load, and the key ends.
            LOGGER.error("%s ends, and is loaded again: %s", cell.path, error)  # noqa: TRY400 - no traceback
            cell.failure = error
            finish = core.save_conflicted
        except BaseException as error:
            if self.host.ends_task(error):
                raise
            LOGGER.warning(
                "%s could not save its state, stays active and tries again: %s",
                cell.path,
                error if isinstance(error, CallboardError) else text_of(error),
            )
            finish = core.save_failed
        cell.saving = False
        cell.pausing = False
        if self._cells.get(cell.key) is not cell or self.lifecycle != Lifecycle.RUNNING:
            return
        if cell.lifecycle != Lifecycle.RUNNING and finish == core.save_succeeded:
            finish = core.save_failed  # It crashed meanwhile; its next incarnation stays active.
        self._perform(finish(cell.key, self.now()))
        self._release(cell.key)
        cell.schedule()
        cell.check_idle()

    def requeue(self, cell: Activation, items: list[Any]) -> bool:
        """Keep the messages of an ending activation for the next one; False when there is none."""
        if self.lifecycle != Lifecycle.RUNNING or self._cells.get(cell.key) is not cell:
            return False
        if self._core.state_of(cell.key) is None:
            return False
        self._core.messages_returned(cell.key, items)
        return True

    def activation_gone(self, cell: Activation) -> None:
        """Note that an activation has ended: its key is absent now."""
        if self._cells.get(cell.key) is not cell:
            return
        del self._cells[cell.key]
        if self.lifecycle == Lifecycle.RUNNING:
            self._perform(self._core.actor_ended(cell.key, self.now()))
            if self._core.state_of(cell.key) is None:
                self._release(cell.key)

    async def release(self, request: ReleaseShare) -> None:
        """Stop the activations of a share in order, and start no others."""
        assert self._shares is not None, "only keys in shares move"
        self._shares.give(request)
        while cells := [
            cell
            for key, cell in self._cells.items()
            if share_of(key, request.shares) == request.share
        ]:
            await asyncio.gather(*(self._stop_each(iter((cell,))) for cell in cells))
            await asyncio.sleep(0)

    # --- the end ----------------------------------------------------------------------------

    def has_given_up(self) -> bool:
        """Whether the region has stopped trying to save states."""
        return self._gives_up_at_s is not None and self.now() >= self._gives_up_at_s

    async def before_children_stop(self) -> None:
        """Stop all activations, many at a time: each may wait for the store."""
        self._gives_up_at_s = self.now() + LAST_SAVES_S
        pending = reversed(list(self._cells.values()))
        await asyncio.gather(*(self._stop_each(pending) for _ in range(STOPS_AT_ONCE)))

    async def _stop_each(self, pending: Iterator[Activation]) -> None:
        for cell in pending:
            with contextlib.suppress(ActorNotFound):
                await self.stop_child(cell.id)


def _stopped_error(path: str) -> ActorStopped:
    return ActorStopped(
        f"{path} stopped before it handled the message.",
        advice="Send it again: it activates the key.",
        may_have_run=False,
    )
