"""Performs moves: one step at a time, each recorded in the catalogue before the next begins.

The shell of `core.py`. Everything blocks: an owner calls it in a thread. After a crash, any step
may be done once more, also by another process: names of targets belong to one move only, objects
are never overwritten, and the catalogue refuses a process with an older fencing token.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, assert_never

from callboard.messages.core.errors import CallboardError, SpecError, StoreFailed
from callboard.messages.storage.errors import StoreDamaged, WriterFenced

from .catalogue import Catalogue
from .content import Content
from .core import MoveLimits, Step, next_step
from .moves import Move, MoveState
from .objects import ObjectMissing, ObjectStore
from .segments import Segment, SegmentState, digest_of, segment_name

__all__ = ["Failure", "Mover"]

LOGGER: Final = logging.getLogger("callboard.storage")


class Failure(NamedTuple):
    """A move that could not go on; it is tried again in the next round."""

    move: Move
    error: CallboardError


class Mover:
    """Performs the moves of one owner's datasets."""

    def __init__(
        self,
        catalogue: Catalogue,
        stores: Mapping[str, ObjectStore],
        content: Content,
        *,
        fence: int = 0,
        limits: MoveLimits | None = None,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        """`stores` are the object stores by the names of their locations."""
        self._catalogue = catalogue
        self._stores = stores
        self._content = content
        self._fence = fence
        self._limits = limits or MoveLimits()
        self._wall_time = wall_time
        self.counts: Final[Counter[str]] = Counter()
        """What was done: moves by their last state, `redone`, `failed`, rows and bytes."""
        self.refused: Final[dict[int, str]] = {}
        """Why the rules refused deletions in the last round, by the numbers of the moves."""

    def round(self) -> list[Failure]:
        """Let all open moves go on as far as they can, within the limit of steps.

        Raises `WriterFenced`. Other errors end a move's turn, not the round.
        """
        failures: list[Failure] = []
        self.refused.clear()
        steps = self._limits.steps
        for begun in self._catalogue.open_moves():
            move = begun
            try:
                while steps > 0 and self.next_step(move) not in (Step.WAIT, Step.NONE):
                    steps -= 1
                    move = self.step(move)
            except WriterFenced:
                raise
            except CallboardError as error:
                self.counts["failed"] += 1
                failures.append(Failure(move, error))
                LOGGER.warning("move %d of %s: %s", move.number, move.block, error)
                if len(failures) >= self._limits.failures:
                    break  # The store is away: each further move would wait for it as well.
        return failures

    def next_step(self, move: Move) -> Step:
        """The next step of a move, now."""
        return next_step(move, self._wall_time(), self._limits)

    def step(self, move: Move) -> Move:
        """Perform one step, and record it; gives the move in its new state."""
        match self.next_step(move):
            case Step.COPY:
                after = self._copy(move)
            case Step.VERIFY:
                after = self._verify(move) if move.target is not None else self._check(move)
            case Step.SWITCH:
                return self._switch(move)
            case Step.DELETE:
                return self._delete(move)
            case Step.WAIT | Step.NONE:
                return move
            case unreachable:
                assert_never(unreachable)
        self._record(after)
        return after

    def _record(self, move: Move) -> None:
        self._catalogue.advance(self._fence, move)
        if move.state is MoveState.ABANDONED:
            self.counts["abandoned"] += 1
            LOGGER.warning("move %d of %s is given up: %s", move.number, move.block, move.reason)

    # --- the steps -------------------------------------------------------------------------------

    def _copy(self, move: Move) -> Move:
        # The stamp first: rows that change during the copy change the stamp, and are copied again.
        stamp = "" if move.sources else self._catalogue.stamp(move.block)
        sources = self._sources(move)
        if sources is None or not (move.sources or stamp):
            return move.to(MoveState.ABANDONED, reason="its rows are not there any more")
        encoded = self._content.encode(move, sources)
        if encoded is None:
            return move.to(MoveState.ABANDONED, reason="it has no rows")
        digest = digest_of(encoded.data)
        target = Segment(
            segment_name(move.block.dataset, move.number, digest),
            digest,
            encoded.block,
            encoded.rows,
            len(encoded.data),
            move.location,
        )
        self._store(move.location).put(target.name, encoded.data)
        return move.to(MoveState.COPIED, target=target, stamp=stamp)

    def _sources(self, move: Move) -> list[tuple[Segment, bytes]] | None:
        """The sources with their contents; None when one is not live."""
        found = {segment.name: segment for segment in self._catalogue.find(move.sources)}
        read: list[tuple[Segment, bytes]] = []
        for name in move.sources:
            segment = found.get(name)
            if segment is None or segment.state is not SegmentState.LIVE:
                return None
            data = self._store(segment.location).get(name)
            if digest_of(data) != segment.digest:
                self._catalogue.mark(self._fence, name, SegmentState.CORRUPT)
                raise _damaged(segment)
            read.append((segment, data))
        return read

    def _verify(self, move: Move) -> Move:
        target = move.target
        assert target is not None
        problem = self._problem_of(target)
        if problem:
            return self._again(move, problem)
        return move.to(MoveState.VERIFIED)

    def _problem_of(self, target: Segment) -> str:
        try:
            data = self._store(target.location).get(target.name)
            if digest_of(data) != target.digest:
                return "its target has another content than was written"
            rows = self._content.count(target.block.dataset, data)
        except (ObjectMissing, StoreDamaged) as error:
            return f"its target does not read back: {error.message}"
        return "" if rows == target.rows else f"its target has {rows} of {target.rows} rows"

    def _again(self, move: Move, reason: str) -> Move:
        """Back to the plan, unless that was so too often."""
        if move.tries + 1 >= self._limits.tries:
            return move.to(MoveState.ABANDONED, reason=f"{reason}, {move.tries + 1} times")
        self.counts["redone"] += 1
        return move.to(MoveState.PLANNED, target=None, stamp="", tries=move.tries + 1)

    def _check(self, move: Move) -> Move:
        stamp = "" if move.sources else self._catalogue.stamp(move.block)
        sources = self._sources(move)
        if sources is None or not (move.sources or stamp):
            return move.to(MoveState.ABANDONED, reason="its rows are not there any more")
        refusal = self._content.refusal(move, sources)
        if refusal:
            self.counts["refused"] += 1
            self.refused[move.number] = refusal
            return move.to(MoveState.ABANDONED, reason=refusal)
        return move.to(MoveState.VERIFIED, stamp=stamp)

    def _switch(self, move: Move) -> Move:
        switched = self._catalogue.switch(
            self._fence, move.to(MoveState.SWITCHED, switched_at=self._wall_time())
        )
        if switched is None:
            after = self._again(move, "its sources have changed")
            self._record(after)
            return after
        self.counts["switched"] += 1
        if switched.target is not None:
            self.counts["rows"] += switched.target.rows
            self.counts["bytes"] += switched.target.size_bytes
        return switched

    def _delete(self, move: Move) -> Move:
        for segment in self._catalogue.find(move.sources):
            store = self._store(segment.location)
            store.delete([segment.name])
            if store.head(segment.name) is not None:
                raise StoreFailed(
                    f"{store.name}: {segment.name} is still there after its deletion.",
                    advice="Check that nothing restores it. Callboard tries again.",
                )
        after = move.to(MoveState.DELETED)
        self._catalogue.finish(self._fence, after)
        self.counts["deleted"] += 1
        return after

    def _store(self, location: str) -> ObjectStore:
        try:
            return self._stores[location]
        except KeyError:
            raise SpecError(
                f"no object store is configured for the location {location!r}.",
                advice=f"Configure it; known are {', '.join(sorted(self._stores)) or 'none'}.",
            ) from None


def _damaged(segment: Segment) -> StoreDamaged:
    return StoreDamaged(
        f"the segment {segment.name} has another content than was written.",
        advice="Restore its file from a backup. Nothing removes it until then.",
    )
