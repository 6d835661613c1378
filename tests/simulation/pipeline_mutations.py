"""Deliberate defects of pipelines: the scenario `pipelines` must find each of them."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.pipelines.accounts import PipelineAccount
from callboard.actors.pipelines.core import BatchRun
from callboard.actors.pipelines.running.commits import Commits
from callboard.actors.pipelines.running.delivery import Deliverer
from callboard.actors.pipelines.running.stored import PipelineStore

from .mutation import Mutation

__all__ = ["PIPELINES"]


def _position_not_committed(right: Any) -> Any:
    async def commit(self: Any, changes: Any, status: Any) -> bool:
        position = self.status.position
        is_stored: bool = await right(self, changes, replace(status, position=position))
        return is_stored

    return commit


def _outgoing_forgotten(_right: Any) -> Any:
    def restore(self: Any, outgoing: Any) -> None:
        self.delivered = {n: rows for n, rows in self.delivered.items() if n in outgoing}

    return restore


def _any_commit_accepted(_right: Any) -> Any:
    def commit(self: Any, _before: int, changes: Any) -> Any:
        now = self.store.position(self.model)
        return self.store.apply(self.model, now, now + 1, changes)

    return commit


def _letter_not_counted(right: Any) -> Any:
    def finish(self: Any) -> Any:
        pending = self._pipeline.account.letters_pending
        result = right(self)
        if result.letters:
            self._pipeline.account.letters_pending = pending
        return result

    return finish


def _cleared_twice(right: Any) -> Any:
    def deliver(self: Any, rows: int) -> None:
        right(self, rows)
        self.delivered += 1

    return deliver


PIPELINES: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "position_not_committed": Mutation(
            "a batch is stored without the position after it",
            Commits, "commit", _position_not_committed, "pipelines",
        ),
        "outgoing_forgotten": Mutation(
            "after a failure, what is on its way to the sink is forgotten",
            Deliverer, "restore", _outgoing_forgotten, "pipelines",
        ),
        "any_commit_accepted": Mutation(
            "a commit does not name the one before it",
            PipelineStore, "commit", _any_commit_accepted, "pipelines",
        ),
        "letter_not_counted": Mutation(
            "a dead letter is stored and not counted",
            BatchRun, "finish", _letter_not_counted, "pipelines",
        ),
        "delivered_too_often": Mutation(
            "a row too many counts as delivered",
            PipelineAccount, "deliver", _cleared_twice, "pipelines",
        ),
    }
)  # fmt: skip
