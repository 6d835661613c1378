"""A cell as the parts of the kernel below it see it: notices, timers, stashes, ties, contexts."""

import enum
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Restart, StopTimeout

from .asks import Ask
from .spawnable import Spawnable

__all__ = ["BehaviourPort", "CellPort", "Lifecycle"]


class Lifecycle(enum.IntEnum):
    """What state a cell is in."""

    STARTING = 0
    RUNNING = 1
    STOPPING = 2
    STOPPED = 3


class BehaviourPort(Protocol):
    """What an actor class does, as far as its handlers and limits are looked at."""

    @property
    def actor(self) -> type[Any]:
        """The class."""

    @property
    def handlers(self) -> Mapping[type, Any]:
        """Its dispatch table."""

    @property
    def trap_exits(self) -> bool:
        """Whether the end of a linked actor is a message to it."""

    @property
    def attempts_max(self) -> int:
        """How many incarnations a message may crash."""

    @property
    def stash_messages(self) -> int:
        """How many messages it may put aside."""

    def find(self, contract: type) -> object | None:
        """The handler of a contract whose own row is missing."""


class CellPort(Protocol):
    """One actor's place on a host."""

    @property
    def id(self) -> int:
        """Its number on its host."""

    @property
    def path(self) -> str:
        """Where it is in the tree of its host."""

    @property
    def behaviour(self) -> BehaviourPort:
        """What its actor does."""

    @property
    def lifecycle(self) -> Lifecycle:
        """What state it is in."""

    @property
    def incarnation(self) -> int:
        """How often its actor was made."""

    @property
    def has_actor(self) -> bool:
        """Whether an incarnation is there, which may still be starting."""

    @property
    def is_full(self) -> bool:
        """Whether its mailbox is at its limit."""

    def put_notice(self, notice: Ask) -> bool:
        """Take a notice, full or not; False when the actor ends."""

    def put_first(self, items: Sequence[Any]) -> None:
        """Put messages in front of those that wait; the caller schedules."""

    def schedule(self) -> None:
        """Queue it if it has work and may do it."""

    def exit(self, reason: Exit) -> None:
        """Let its running actor end like this; its supervisor decides."""

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
        """Start a child and wait until it runs; gives its number."""

    def stop_child(self, number: int) -> Awaitable[None]:
        """Stop a child in order, and wait until it has stopped."""
