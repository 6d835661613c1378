"""Deliberate defects of roll-outs."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.configuration.rollout.book import Rollout, RolloutBook, Target
from callboard.actors.configuration.rollout.core import RolloutCore
from callboard.actors.configuration.rollout.events import OffersAnswered, TargetsJoined
from callboard.actors.configuration.rollout.judging import Judges
from callboard.actors.configuration.rollout.verdicts import Verdict

from .mutation import Mutation

__all__ = ["ROLLOUTS"]

Right = Callable[..., Any]


def _all_at_once(_: Right) -> Right:
    def holds(rollout: Rollout, _name: str) -> bool:
        return rollout.wave >= 0

    return holds


def _refusal_forgotten(right: Right) -> Right:
    def nacked(book: RolloutBook, event: OffersAnswered, name: str, *rest: Any) -> None:
        right(book, event, name, *rest)
        book.targets[name].refused.clear()

    return nacked


def _no_queue(_: Right) -> Right:
    def holders(_core: RolloutCore, _rollout: Rollout) -> list[Rollout]:
        return []

    return holders


def _always_pass(_: Right) -> Right:
    def verdict(_judges: Judges, _rollout: Rollout) -> tuple[Verdict, str]:
        return Verdict.PASS, ""

    return verdict


def _blind(_: Right) -> Right:
    def refused(_judges: Judges, _rollout: Rollout) -> str:
        return ""

    return refused


def _further_back(right: Right) -> Right:
    def nacked(book: RolloutBook, event: OffersAnswered, name: str, *rest: Any) -> None:
        right(book, event, name, *rest)
        for rollout in book.active.values():
            rollout.failed_back.clear()

    return nacked


def _restart_unseen(right: Right) -> Right:
    def joined(book: RolloutBook, event: TargetsJoined) -> None:
        before = {name: each.active for name, each in book.targets.items()}
        right(book, event)
        for name, *_ in event.targets:
            target: Target = book.targets[name]
            target.active = before.get(name, target.active)

    return joined


ROLLOUTS: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "all_at_once": Mutation(
            "a version goes to all targets with its first wave",
            Rollout, "holds", _all_at_once, "configuration",
        ),
        "refusal_forgotten": Mutation(
            "a target gets a version again that it has refused",
            RolloutBook, "_nacked", _refusal_forgotten, "configuration",
        ),
        "rollouts_do_not_queue": Mutation(
            "two packages change one component at the same time",
            RolloutCore, "_holders", _no_queue, "configuration",
        ),
        "refusals_do_not_count": Mutation(
            "a roll-out goes on although targets refuse it",
            Judges, "_refused", _blind, "configuration",
        ),
        "health_does_not_count": Mutation(
            "a version goes on under which targets are unhealthy",
            Judges, "_unwell", _blind, "configuration",
        ),
        "no_data_passes": Mutation(
            "a window without data passes",
            Judges, "verdict", _always_pass, "configuration",
        ),
        "further_back": Mutation(
            "a roll-back goes on although targets refuse the version from before",
            RolloutBook, "_nacked", _further_back, "configuration",
        ),
        "restart_unseen": Mutation(
            "a target that was made again counts as if it still had its version",
            RolloutBook, "_joined", _restart_unseen, "configuration",
        ),
    }
)  # fmt: skip
"""The defects by name."""
