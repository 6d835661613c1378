"""Deliberate defects of aggregators."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.metrics.aggregation.shard import Shard
from callboard.actors.metrics.aggregation.storage import ThreadStorage
from callboard.actors.metrics.windows.core import ShardWindows
from callboard.runtime.control_plane.spreading import Spreading

from .mutation import Mutation

__all__ = ["WINDOWS"]


def _answered_too_early(right: Any) -> Any:
    async def store(self: Any, commit: Any) -> bool:
        self._under_way = asyncio.ensure_future(right(self, commit))
        return True

    return store


def _last_change_forgotten(right: Any) -> Any:
    def restore(self: Any, state: bytes, log: Any) -> None:
        right(self, state, tuple(log)[:-1])

    return restore


def _not_restored(_right: Any) -> Any:
    async def restore(self: Any) -> None:
        self._waiting_points = self._committing_points = 0

    return restore


def _closed_windows_lost(right: Any) -> Any:
    async def commit(self: Any, *args: Any, **options: Any) -> None:
        options["windows"] = options.get("windows", ())[1:]
        await right(self, *args, **options)

    return commit


def _never_spread(_right: Any) -> Any:
    async def spread(_self: Any) -> None:
        return

    return spread


WINDOWS: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "answered_too_early": Mutation(
            "an aggregator answers before its commit is durable",
            Shard, "_store", _answered_too_early, "aggregators",
        ),
        "last_change_forgotten": Mutation(
            "an aggregator that restores its windows leaves out the last change",
            ShardWindows, "restore", _last_change_forgotten, "aggregators",
        ),
        "not_restored": Mutation(
            "an aggregator goes on after a commit of unknown outcome",
            Shard, "_restore_when_possible", _not_restored, "aggregators",
        ),
        "closed_windows_lost": Mutation(
            "the finest windows that have closed are not stored",
            ThreadStorage, "commit", _closed_windows_lost, "aggregators",
        ),
        "never_spread": Mutation(
            "shards stay where they are when a host joins",
            Spreading, "spread", _never_spread, "aggregators",
        ),
    }
)  # fmt: skip
"""The defects by name."""
