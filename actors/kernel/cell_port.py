"""The port of a cell, for parts of the kernel that cells import: notices, timers, contexts."""

import enum
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Restart, StopTimeout

from .asks import Ask
from .snapshot import Snapshot
from .spawnable import Spawnable

__all__ = ["BehaviourPort", "CellPort", "Lifecycle"]


class Lifecycle(enum.IntEnum):
    """The state of a cell."""

    STARTING = 0
    RUNNING = 1
    STOPPING = 2
    STOPPED = 3


class BehaviourPort(Protocol):
    """The handlers and limits of an actor class."""

    @property
    def actor(self) -> type[Any]:
        """The class."""

    @property
    def handlers(self) -> Mapping[type, Any]:
        """Its dispatch table."""

    @property
    def trap_exits(self) -> bool:
        """Whether the end of a linked actor reaches it as a message."""

    @property
    def attempts_max(self) -> int:
        """How many incarnations a message may crash."""

    @property
    def stash_messages(self) -> int:
        """How many messages it may put aside."""

    def find(self, contract: type) -> object | None:
        """The handler of a contract that has no row of its own."""


class CellPort(Protocol):
    """One actor's place on a host."""

    @property
    def id(self) -> int:
        """Its number on its host."""

    @property
    def path(self) -> str:
        """Its path in the tree of its host."""

    @property
    def behaviour(self) -> BehaviourPort:
        """The behaviour of its actor's class."""

    @property
    def lifecycle(self) -> Lifecycle:
        """Its state."""

    @property
    def incarnation(self) -> int:
        """The number of its incarnation; each start makes a new one."""

    @property
    def fence(self) -> int:
        """The fencing token of its incarnation."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The configuration of its next message."""

    @property
    def has_actor(self) -> bool:
        """Whether it has an incarnation, which may still be starting."""

    @property
    def is_full(self) -> bool:
        """Whether its mailbox is at its limit."""

    def put_notice(self, notice: Ask) -> bool:
        """Put a notice into the mailbox, full or not; False when the actor ends."""

    def put_first(self, items: Sequence[Any]) -> None:
        """Put messages before the waiting ones; the caller schedules the cell."""

    def schedule(self) -> None:
        """Queue it if it has messages and may handle one."""

    def exit(self, reason: Exit) -> None:
        """End its running actor with this reason; its supervisor decides what follows."""

    def stop_self(self, reason: Exit) -> None:
        """Stop it after the message that it handles."""

    def child_numbers(self) -> Sequence[int]:
        """Its living children, in the order of their start."""

    def spawn_child(
        self,
        actor: Spawnable[Any],
        name: str | None,
        restart: Restart,
        stop_timeout: StopTimeout | None,
    ) -> Awaitable[int]:
        """Start a child and wait until it runs; returns its number."""

    def stop_child(self, number: int) -> Awaitable[None]:
        """Stop a child in order, and wait until it has stopped."""
