"""The cell of one key's actor: it has its state before its first message, and saves it."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final, Protocol

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, StateConflict
from callboard.messages.storage.keyed_stores import KeyedStore

from ..kernel.actor import Behaviour
from ..kernel.cell import Cell, Lifecycle, Recipe
from ..kernel.context import Context
from ..kernel.failures import is_being_cancelled
from ..kernel.ports import CellDispatcher
from .actor import KeyedActor
from .states import States

__all__ = ["Activation", "KeyOwner", "KeyedPlan"]

LOGGER: Final = logging.getLogger("callboard.keyed")
LAST_SAVE_RETRY: Final = Backoff(min_s=0.05, max_s=1.0)


@dataclass(frozen=True, slots=True)
class KeyedPlan:
    """What a key region keeps, and how.

    `store` keeps the states: a `KeyedStore`, of which each host gets a copy, or the way to a
    `StoreActor`; None: each host's own memory. An activation is put away when it has been
    idle for `idle_s`, when more than `active_max` of a host are wanted, or when its process
    is over `memory_bytes_max`. States are saved then, and when the system stops in order.
    After kill -9 of a host its keys have the state of their last save: `save_every` messages
    and `save_after_s` bound what is lost.
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


class KeyOwner(Protocol):
    """What has the activations of one host's keys; see `KeyRegion`."""

    @property
    def id(self) -> int:
        """The number of its cell."""

    @property
    def plan(self) -> KeyedPlan:
        """How they are kept."""

    @property
    def dispatcher(self) -> CellDispatcher[Cell]:
        """What runs them."""

    @property
    def states(self) -> States:
        """The way to their store."""

    def now(self) -> float:
        """The host's time."""

    def refuse_late(self, cell: "Activation", item: Any) -> None:
        """A message whose activation has just ended."""

    def did_not_start(self, cell: "Activation", error: BaseException) -> None:
        """The state or the start hook of an activation failed."""

    def idle(self, cell: "Activation") -> None:
        """An activation has handled everything."""

    def may_save(self, cell: "Activation") -> bool:
        """Whether its last save is not known to have just failed."""

    def save(self, cell: "Activation") -> bool:
        """Save the state of a quiet activation; False: not now."""

    def take_back(self, cell: "Activation", items: list[Any]) -> bool:
        """Keep what an activation that ends has not handled; False when nobody ever will."""

    def activation_gone(self, cell: "Activation") -> None:
        """An activation has ended."""

    def gives_up(self) -> bool:
        """Whether nothing is saved any more."""


class Activation(Cell):
    """The cell of one key's actor while that is active."""

    __slots__ = (
        "failure",
        "key",
        "pausing",
        "region",
        "saved_s",
        "saving",
        "unsaved",
        "version",
    )

    def __init__(self, number: int, region: KeyOwner, key: str, behaviour: Behaviour) -> None:
        plan = region.plan
        recipe = Recipe(plan.actor, plan.args, plan.keywords, key)
        super().__init__(number, recipe, behaviour, region.dispatcher)
        self.region = region
        self.key = key
        self.version = 0
        self.unsaved = 0
        """Messages taken since the last save."""
        self.saved_s = region.now()
        self.pausing = False
        """Whether it takes no message, so that its state can be saved when it is quiet."""
        self.saving = False
        """Whether its state is being saved, and it takes no message."""
        self.failure: CallboardError | None = None
        """Why it did not start, or is renewed."""

    def take(self) -> Any:
        """The next message, unless the state is to be saved before it."""
        if self.saving:
            return None
        if self.unsaved and (self.pausing or self._save_is_due()):
            self.pausing = True
            return None
        item = super().take()
        if item is not None:
            self.unsaved += 1
        return item

    def give(self, item: Any) -> None:
        """Take what the key region has held, full or not: it was accepted already."""
        if not self.put_notice(item):
            self.region.refuse_late(self, item)

    def end_turn(self) -> None:
        """A worker has served it: save, go on, or be idle."""
        if self.lifecycle == Lifecycle.RUNNING:
            if self.saving:
                return
            if self.pausing:
                if not self.is_quiet:
                    return  # The last one saves.
                if self.region.save(self):
                    return
                self.pausing = False
        super().end_turn()
        self.look_whether_idle()

    def wake(self) -> None:
        """It runs, perhaps again, or may do more at once."""
        self.pausing = False
        super().wake()
        self.look_whether_idle()

    def drain(self) -> list[Any]:
        """What waits in one that ends is for the key's next activation."""
        items = super().drain()
        if self.lifecycle >= Lifecycle.STOPPING and self.region.take_back(self, items):
            return []
        return items

    def on_removed(self) -> None:
        """It is gone."""
        self.region.activation_gone(self)

    async def run_started(self, ctx: Context) -> None:
        """Give the actor its state before its own hook runs."""
        try:
            await self.region.states.restore(self)
            await super().run_started(ctx)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if not is_being_cancelled(error):
                self.region.did_not_start(self, error)
            raise

    async def run_stopping(self, ctx: Context, reason: Exit) -> Exit:
        """Let the actor's own hook run, then save what is not saved yet."""
        outcome = await super().run_stopping(ctx, reason)
        assert self.actor is not None
        if type(self.actor).stopping is not KeyedActor.stopping:
            self.unsaved += 1  # The hook may have changed it.
        failures = 0
        while self.unsaved and not self.region.gives_up():
            try:
                await self.region.states.write(self)
            except StateConflict as error:
                LOGGER.warning("%s is thrown away: %s", self.path, error)
                return outcome
            except CallboardError as error:
                # Until the stop timeout, which belongs to whoever stops it.
                LOGGER.warning("%s is not saved, and stops: %s", self.path, error)
                failures += 1
                await asyncio.sleep(LAST_SAVE_RETRY.delay_s(failures))
        if self.unsaved:
            LOGGER.error("%s has stopped and is not saved.", self.path)
        return outcome

    def look_whether_idle(self) -> None:
        """Tell the key region when nothing is left to do; save what is due."""
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
