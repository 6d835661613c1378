"""The cell of one key's actor: it restores its state before the first message, and saves it."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, StateConflict
from callboard.messages.storage.errors import WriterFenced
from callboard.messages.storage.keyed_stores import KeyedStore

from ..kernel.actor import Behaviour
from ..kernel.cell import Cell, Lifecycle, Recipe
from ..kernel.context import Context
from ..kernel.monitors.notices import is_notice
from ..kernel.ports import CellDispatcher
from ..kernel.timers import is_timer_notice
from .actor import KeyedActor
from .states import States

__all__ = ["Activation", "KeyOwner", "KeyedPlan"]

LOGGER: Final = logging.getLogger("callboard.keyed")
LAST_SAVE_RETRY: Final = Backoff(min_s=0.05, max_s=1.0)


@dataclass(frozen=True, slots=True)
class KeyedPlan:
    """The settings of a kind of keyed actors.

    `store` keeps the states: a `KeyedStore`, of which each host gets a copy, or a client of a
    `StoreActor`; with None, the memory of each host. The key region passivates an activation
    that has been idle for `idle_s`, when a host needs more than `active_max`, or when its
    process uses more than `memory_bytes_max`. It saves the state then, and in an orderly stop.
    After kill -9 of a host its keys have the state of their last save: `save_every` messages
    and `save_after_s` bound the loss.
    """

    actor: type[Any]
    args: tuple[Any, ...]
    keywords: dict[str, Any] | None
    kind: str
    store: KeyedStore | None
    idle_s: float
    active_max: int
    memory_bytes_max: int | None
    save_every: int | None
    save_after_s: float | None
    shares: int = 0
    """The shares of the keys, which move to hosts that come later; 0 for keys that never move."""


class KeyOwner(Protocol):
    """The owner of one host's activations; see `KeyRegion`."""

    @property
    def id(self) -> int:
        """The number of its cell."""

    @property
    def plan(self) -> KeyedPlan:
        """The settings of their kind."""

    @property
    def dispatcher(self) -> CellDispatcher[Cell]:
        """The dispatcher that runs them."""

    @property
    def states(self) -> States:
        """Loads and saves their states."""

    def now(self) -> float:
        """The host's time."""

    def refuse_message(self, cell: "Activation", item: Any) -> None:
        """Refuse a message whose activation has just ended."""

    def did_not_start(self, cell: "Activation", error: BaseException) -> None:
        """Note that the state or the start hook of an activation failed."""

    def busy(self, cell: "Activation") -> None:
        """Note that an activation handles messages, whichever way they came."""

    def idle(self, cell: "Activation") -> None:
        """Note that an activation is idle."""

    def may_save(self, cell: "Activation") -> bool:
        """Whether it may save again: False for a while after a failed save."""

    def save(self, cell: "Activation") -> bool:
        """Begin to save the state of a quiet activation; False when that is not possible now."""

    def requeue(self, cell: "Activation", items: list[Any]) -> bool:
        """Keep the messages of an ending activation for the next one; False when there is none."""

    def activation_gone(self, cell: "Activation") -> None:
        """Note that an activation has ended."""

    def held_for(self, key: str) -> Sequence[Any]:
        """The messages that wait for the activation of a key."""

    def has_given_up(self) -> bool:
        """Whether the region has stopped trying to save states."""


class Activation(Cell):
    """The cell of one key's actor while the key is active."""

    __slots__ = (
        "failure",
        "is_busy",
        "key",
        "pausing",
        "region",
        "saved_s",
        "saving",
        "unsaved",
        "version",
        "was_used",
    )

    def __init__(self, number: int, region: KeyOwner, key: str, behaviour: Behaviour) -> None:
        plan = region.plan
        recipe = Recipe(plan.actor, plan.args, plan.keywords, key)
        super().__init__(number, recipe, behaviour, region.dispatcher)
        self.region = region
        self.key = key
        self.version = 0
        self.unsaved = 0
        """Messages since the last save."""
        self.is_busy = False
        """Whether it has taken a message since it was idle."""
        self.was_used = True
        """Whether it has had other messages than those of its timers since it was idle."""
        self.saved_s = region.now()
        self.pausing = False
        """Whether it takes no message, so that it becomes quiet and can save."""
        self.saving = False
        """Whether a save is running, and it takes no message."""
        self.failure: CallboardError | None = None
        """The error of its failed start, or of the save that renews it."""

    def take(self) -> Any:
        """The next message, unless a save comes before it."""
        if self.saving:
            return None
        if self.unsaved and (self.pausing or self._save_is_due()):
            self.pausing = True
            return None
        item = super().take()
        if item is not None:
            self.unsaved += 1
            if not self.is_busy:
                self.is_busy = True
                self.region.busy(self)
            if not self.was_used and not is_timer_notice(item):
                self.was_used = True
        return item

    def deliver(self, item: Any) -> None:
        """Take a message that the key region has held, even when full: it was accepted."""
        if not self.put_notice(item):
            self.region.refuse_message(self, item)

    def end_turn(self) -> None:
        """End a worker's turn: save, continue, or become idle."""
        if self.lifecycle == Lifecycle.RUNNING:
            if self.saving:
                return
            if self.pausing:
                if not self.is_quiet:
                    return  # The last worker saves.
                if self.region.save(self):
                    return
                self.pausing = False
        super().end_turn()
        self.check_idle()

    def wake(self) -> None:
        """It runs, perhaps again, or has more workers now."""
        self.pausing = False
        super().wake()
        self.check_idle()

    def drain(self) -> list[Any]:
        """Empty the mailbox; an ending activation leaves its messages to the next one."""
        items = super().drain()
        if self.lifecycle >= Lifecycle.STOPPING:
            # Notices, as those of its timers, end with it, and activate no other one.
            notices = [item for item in items if is_notice(item)]
            if self.region.requeue(self, [item for item in items if not is_notice(item)]):
                return notices
        return items

    def on_removed(self) -> None:
        """It has ended."""
        self.region.activation_gone(self)

    def waiting_for_start(self) -> Sequence[Any]:
        """The messages that the key region holds for it."""
        return (*self.region.held_for(self.key), *super().waiting_for_start())

    async def run_started(self, ctx: Context) -> None:
        """Restore the state before the actor's own hook runs."""
        try:
            await self.region.states.restore(self)
            await super().run_started(ctx)
        except BaseException as error:
            if not self.host.termination.ends_start(self, error):
                self.region.did_not_start(self, error)
            raise

    async def run_stopping(self, ctx: Context, reason: Exit) -> Exit:
        """Run the actor's own hook, then save unsaved changes."""
        outcome = await super().run_stopping(ctx, reason)
        assert self.actor is not None
        if type(self.actor).stopping is not KeyedActor.stopping:
            self.unsaved += 1  # The hook may have changed the state.
        failures = 0
        while self.unsaved and not self.region.has_given_up():
            try:
                await self.region.states.write(self)
            except (StateConflict, WriterFenced) as error:
                LOGGER.warning("%s loses its last changes: %s", self.path, error)
                return outcome
            except CallboardError as error:
                # Again and again: the stop timeout of the key region ends this.
                LOGGER.warning(
                    "%s could not save its state while it stops, and tries again: %s",
                    self.path,
                    error,
                )
                failures += 1
                await asyncio.sleep(LAST_SAVE_RETRY.delay_s(failures))
        if self.unsaved:
            LOGGER.error("%s has stopped without saving its last changes.", self.path)
        return outcome

    def check_idle(self) -> None:
        """Notify the key region when it is idle; save when a save is due."""
        if self.lifecycle != Lifecycle.RUNNING or self.saving or self.mailbox or not self.is_quiet:
            return
        if self.unsaved and self._save_is_due():
            self.region.save(self)
        elif not self.dispatcher.stashes.size(self):
            self.region.idle(self)

    def _save_is_due(self) -> bool:
        plan = self.region.plan
        return (
            (plan.save_every is not None and self.unsaved >= plan.save_every)
            or (
                plan.save_after_s is not None
                and self.region.now() - self.saved_s >= plan.save_after_s
            )
        ) and self.region.may_save(self)
