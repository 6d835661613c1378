"""What a commit stores of the rows that leave a pipeline, and which rows cannot be stored.

A row that the sink cannot take is no reason to stop: it is refused by the last stage, whose
policy decides.
"""

from typing import Final, cast

from ..batch import DataBatch
from ..core import BatchRun
from ..errors import StageOutputRefused
from .outgoing import encode_batch
from .ports import InsideSink, OutsideSink, PipelineSink
from .stored import Changes, out_key

__all__ = ["Output"]


class Output:
    """The rows of one pipeline for its store."""

    def __init__(self, sink: PipelineSink) -> None:
        is_inside = hasattr(sink, "changes")
        self.inside: Final = cast("InsideSink", sink) if is_inside else None
        """The sink, if the rows stay in the store of the pipeline."""
        self.outside: Final = None if is_inside else cast("OutsideSink", sink)
        """The sink, if the rows leave the store."""
        self._last: tuple[DataBatch, int, Changes] | None = None

    def changes(self, batch: DataBatch, number: int) -> Changes:
        """What to store of a batch. Raises `StageOutputRefused` when a row cannot be stored."""
        last = self._last
        if last is not None and last[0] is batch and last[1] == number:
            return last[2]
        if not batch.rows:
            return {}
        if self.inside is None:
            found: Changes = {out_key(number): encode_batch(batch)}
        else:
            found = dict(self.inside.changes(batch, number))
        self._last = (batch, number, found)
        return found

    def check(self, run: BatchRun, number: int) -> None:
        """Let the last stage of a run refuse the rows that cannot be stored."""
        if run.error is not None or run.retry is not None:
            return
        try:
            self.changes(run.batch, number)
        except StageOutputRefused as error:
            if run.batch.is_rows:
                run.refuse_output(self._wrong(run.batch, number), error)
            else:
                run.stop(error)

    def _wrong(self, batch: DataBatch, number: int) -> list[tuple[int, tuple[str, ...]]]:
        wrong: list[tuple[int, tuple[str, ...]]] = []
        for place in range(batch.rows):
            try:
                self.changes(batch.take((place,)), number)
            except StageOutputRefused as error:
                wrong.append((place, (error.message,)))
        return wrong
