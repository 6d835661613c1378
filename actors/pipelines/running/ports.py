"""Ports of pipelines: where rows come from, and where they go."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..batch import DataBatch

__all__ = ["Delivery", "InsideSink", "OutsideSink", "PipelineSink", "PipelineSource", "SourcePage"]


class SourcePage(NamedTuple):
    """Rows from a source, and the position after them."""

    batch: DataBatch
    """The rows; it may be empty."""
    position: Any
    """Plain values that say where the next page begins."""
    is_end: bool = False
    """Whether no further row will ever come."""


class PipelineSource(Protocol):
    """A source of rows that can be read again from a position.

    A page that was read twice from one position may end elsewhere, but its rows are the same.
    """

    @property
    def name(self) -> str:
        """Its place, for people and dead letters."""

    async def open(self) -> None:
        """Open it. Raises what the place raises."""

    async def read(self, after: Any, rows_max: int, wait_s: float) -> SourcePage:
        """The rows after a position, at most `rows_max`; None is the beginning.

        Waits up to `wait_s` seconds for the first row; then the page may be empty.
        """

    async def behind(self, after: Any) -> int | None:
        """The number of rows after a position, as far as it is known."""

    async def close(self) -> None:
        """Release it; may be called twice."""


class InsideSink(Protocol):
    """A sink in the pipeline's store: rows and the source's position are one transaction."""

    @property
    def name(self) -> str:
        """Its place, for people."""

    def changes(self, batch: DataBatch, number: int) -> Mapping[str, bytes | None]:
        """The rows to store, by key, for the batch with this number. Pure."""


class Delivery(NamedTuple):
    """Rows for a sink outside the store. Repeated after a crash, with the same rows."""

    pipeline: str
    """The name of the pipeline."""
    number: int
    """The number of the batch: grows with each delivery of the pipeline."""
    batch: DataBatch
    """The rows."""
    fence: int
    """The fencing token of the pipeline's incarnation; 0 without one."""


class OutsideSink(Protocol):
    """A sink outside the store, idempotent by the number of the batch.

    The pipeline stores outgoing rows with the position of the source, and delivers them in order,
    until the sink has them.
    """

    @property
    def name(self) -> str:
        """Its place, for people."""

    async def open(self) -> None:
        """Open it. Raises what the place raises."""

    async def deliver(self, delivery: Delivery) -> None:
        """Store the rows durably; changes nothing if this number was delivered before."""

    async def close(self) -> None:
        """Release it; may be called twice."""


PipelineSink: TypeAlias = InsideSink | OutsideSink
