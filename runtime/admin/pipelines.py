"""Answers about pipelines and their dead letters, from the stores that a process knows."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from callboard.actors.pipelines.letters import DeadRow
from callboard.actors.pipelines.running.stored import PipelineStore
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.stores import ReadModelStore

from .pipeline_views import (
    DiscardLetters,
    LettersDiscarded,
    LettersPage,
    LettersReplayed,
    LetterView,
    PipelineStanding,
    PipelinesView,
    QueryLetters,
    QueryPipelines,
    ReplayLetters,
    ResumeStoppedPipeline,
    StoppedPipelineResumed,
)

__all__ = ["PipelineQueries", "standing_of"]

PAGE_BYTES_MAX: Final = 700_000
SCANNED_MAX: Final = 10_000
"""Letters that one request compares with its filter; then its page ends early."""
AT_ONCE: Final = 500


class PipelineQueries:
    """Answers the requests of `pipeline_views.py`, in threads. The stores are open."""

    def __init__(self, stores: Sequence[ReadModelStore]) -> None:
        self._stores: Final = tuple(stores)
        self._by_request: Final[Mapping[type, Callable[[Any], Contract]]] = {
            QueryPipelines: self._pipelines,
            QueryLetters: self._letters,
            ReplayLetters: self._replay,
            DiscardLetters: self._discard,
            ResumeStoppedPipeline: self._resume,
        }

    async def answer(self, request: Request[Any]) -> Any:
        """The reply to a request. Raises `UsageError`, and what the stores raise."""
        return await asyncio.to_thread(self._by_request[type(request)], request)

    def _known(self) -> dict[str, PipelineStore]:
        return {
            name: PipelineStore(store, name)
            for store in self._stores
            for name in PipelineStore.names(store)
        }

    def _one(self, name: str) -> PipelineStore:
        known = self._known()
        if name not in known:
            raise UsageError(
                f"there is no pipeline {name!r}.",
                advice=f"There are: {', '.join(sorted(known)[:AT_ONCE]) or 'none'}.",
            )
        return known[name]

    def _chosen(self, name: str) -> dict[str, PipelineStore]:
        known = {name: self._one(name)} if name else self._known()
        return dict(sorted(known.items()))

    def _pipelines(self, request: QueryPipelines) -> PipelinesView:
        return PipelinesView(
            items=tuple(standing_of(store) for store in self._chosen(request.pipeline).values())
        )

    def _letters(self, request: QueryLetters) -> LettersPage:
        if request.numbers:
            found = self._one(request.pipeline).letters_of(request.numbers)
            return LettersPage(
                items=tuple(_view(request.pipeline, *each, is_cut=False) for each in found)
            )
        items: list[LetterView] = []
        size, scanned = 0, 0
        name, after = request.after or ("", 0)
        for pipeline, store in self._chosen(request.pipeline).items():
            if pipeline < name:
                continue
            after = after if pipeline == name else 0
            while page := store.letters(after, AT_ONCE):
                for number, letter in page:
                    if len(items) == request.limit or size > PAGE_BYTES_MAX:
                        return LettersPage(items=tuple(items), next=(pipeline, after))
                    scanned += 1
                    if scanned > SCANNED_MAX:
                        return LettersPage(items=tuple(items), next=(pipeline, after))
                    after = number
                    if not request.stage or letter.stage == request.stage:
                        is_cut = len(letter.original) > PAGE_BYTES_MAX // 4
                        view = _view(pipeline, number, letter, is_cut=is_cut)
                        size += len(json.dumps(view.original))
                        items.append(view)
        return LettersPage(items=tuple(items))

    def _replay(self, request: ReplayLetters) -> LettersReplayed:
        numbers = tuple(sorted(set(request.numbers)))
        self._one(request.pipeline).replay(numbers)
        return LettersReplayed(numbers=numbers)

    def _discard(self, request: DiscardLetters) -> LettersDiscarded:
        numbers = tuple(sorted(set(request.numbers)))
        self._one(request.pipeline).discard(numbers)
        return LettersDiscarded(numbers=numbers)

    def _resume(self, request: ResumeStoppedPipeline) -> StoppedPipelineResumed:
        return StoppedPipelineResumed(was_stopped=self._one(request.pipeline).resume())


def standing_of(store: PipelineStore) -> PipelineStanding:
    """What its store has of a pipeline. Raises what the store raises."""
    stored = store.load()
    status, account = stored.status, stored.account
    return PipelineStanding(
        name=store.name,
        state=status.state.value,
        reason=status.reason,
        version=status.version,
        source=status.source,
        sink=status.sink,
        position=status.position,
        batches=status.batches,
        committed_at=status.committed_at,
        behind=None if status.behind < 0 else status.behind,
        account=None if account is None else account.to_data(),
        problems=() if account is None else tuple(account.problems()),
    )


def _view(pipeline: str, number: int, letter: DeadRow, *, is_cut: bool) -> LetterView:
    return LetterView(
        pipeline=pipeline,
        number=number,
        stage=letter.stage,
        at=letter.at,
        attempt=letter.attempt,
        schema_version=letter.schema_version,
        place=f"{letter.source}:{letter.position}",
        execution=letter.execution,
        reasons=tuple(letter.reasons),
        original=None if is_cut else letter.to_data()["original"],
        is_cut=is_cut,
    )
