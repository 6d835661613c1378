"""The restart rules: whether a child restarts after its exit, and its siblings with it."""

from collections.abc import Iterable
from typing import TypeVar, assert_never

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Restart, Strategy

__all__ = ["restart_group", "restarts_after"]

ItemT = TypeVar("ItemT")


def restarts_after(restart: Restart, exit_: Exit) -> bool:
    """Whether a child with this restart type starts again after `exit_`."""
    match restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return exit_.is_abnormal
        case Restart.TEMPORARY:
            return False
        case _:
            assert_never(restart)


def restart_group(strategy: Strategy, ended: ItemT, newest_first: Iterable[ItemT]) -> list[ItemT]:
    """The children to stop and start again because `ended` did, in start order.

    `newest_first` is every child in reverse start order. Read from that end, a group costs
    O(its members), not O(all children).
    """
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return [ended]
        case Strategy.ONE_FOR_ALL:
            group = list(newest_first)
        case Strategy.REST_FOR_ONE:
            group = []
            for child in newest_first:
                group.append(child)
                if child is ended:
                    break
        case _:
            assert_never(strategy)
    group.reverse()
    return group
