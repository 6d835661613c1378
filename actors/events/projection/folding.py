"""The blocking half of a projector: folds a page of events into changes of rows, and stores them.

Only the projector's thread uses it. The events before one that cannot be folded are folded all
the same: the result is the longest prefix that works, and the error of the next event.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from callboard.messages.core.errors import CallboardError, StoreFailed
from callboard.messages.storage.events import RecordedEvent
from callboard.messages.storage.stores import ReadModelStore

from ..codec import Event, EventCodec
from ..errors import ProjectionChanged, ProjectionFailed
from .projection import FOLD_ROW, Projection, Rows

__all__ = ["Folded", "ModelFold", "next_model"]


class Folded(NamedTuple):
    """The changes of a read model by some events."""

    before: int
    """The position that the model must have before these changes."""
    after: int
    """The position of the model after these changes."""
    changes: dict[str, bytes | None]
    failed: ProjectionFailed | None
    """The error of the event after `after`; None when all events were folded."""


class ModelFold:
    """One read model, with some of its rows in memory."""

    def __init__(
        self,
        projection: Projection[Any],
        store: ReadModelStore,
        codec: EventCodec,
        rows_cached_max: int,
    ) -> None:
        self.model = projection.name
        self.is_shadow = False
        self._projection: Final = projection
        self._store = store
        self._codec = codec
        self._at = 0
        self._rows: Rows[Any] = Rows(projection.row_codec(), self._fetch, rows_cached_max)

    def _fetch(self, key: str) -> bytes | None:
        return self._store.get_many(self.model, (key,))[0]

    def open(self, model: str) -> int:
        """Begin, or begin again, at the stored state of a model; gives its position.

        Raises `ProjectionChanged` when another version of the projection made the model.
        """
        self.model = model
        position = self._store.position(model)
        self._rows.forget(is_empty=position == 0)
        if position:
            version = self.version_of(model)
            if version != self._projection.version:
                raise ProjectionChanged(
                    f"the read model {model!r} is of version {version} of its projection; this "
                    f"is version {self._projection.version}.",
                    advice="Build a new model with Projector(..., shadow=True), then promote it.",
                    model=model,
                )
        return position

    def version_of(self, model: str) -> int | None:
        """The version of the projection that made a model; None for a new model."""
        data = self._store.get_many(model, (FOLD_ROW,))[0]
        return None if data is None else int(msgpack.unpackb(data))

    def open_shadow(self) -> int:
        """Begin a shadow build, or go on with it; gives its position.

        The first call drops a shadow build of another version. A model that was promoted
        meanwhile is no shadow any more.
        """
        meaning = self._store.meaning(self._projection.name)
        if not self.is_shadow:
            self.is_shadow = True
            self.model = next_model(meaning)
            if self.version_of(self.model) not in (None, self._projection.version):
                self._store.drop(self.model)
        self.is_shadow = self.model != meaning
        return self.open(self.model)

    def fold(self, before: int, page: Sequence[RecordedEvent], seen: int) -> Folded:
        """Fold a page, which covers the log up to `seen`. Raises what the store raises."""
        version = {} if before else {FOLD_ROW: msgpack.packb(self._projection.version)}
        changes: dict[str, bytes | None] = {}
        failed: ProjectionFailed | None = None
        self._rows.is_checking = False
        while True:
            try:
                self._projection.fold(self._rows, self._decoded(page))
                changes = self._rows.changes()
                break
            except StoreFailed:
                self._rows.forget()
                raise
            except BaseException as error:
                # In this thread only users' methods raise what is no `Exception`.
                self._rows.forget(is_empty=before == 0)
                if not self._rows.is_checking:
                    # Again, with a check of each row: any event may have set a row that cannot
                    # be encoded.
                    self._rows.is_checking = True
                    continue
                if not page:
                    raise
                failed = _failure(self._projection, page[self._at], error)
                page = page[: self._at]
        after = seen if failed is None else max(before, failed.details["position"] - 1)
        return Folded(before, after, {**version, **changes}, failed)

    def _decoded(self, page: Sequence[RecordedEvent]) -> Iterator[Event]:
        decode = self._codec.decode
        for self._at, recorded in enumerate(page):
            event = decode(recorded)
            if event is not None:
                yield event

    def apply(self, folded: Folded) -> bool:
        """Store the changes; False if another projector has. Raises what the store raises."""
        try:
            applied = self._store.apply(self.model, folded.before, folded.after, folded.changes)
        except BaseException:
            self._rows.forget()
            raise
        if applied:
            self._rows.keep()
        else:
            self._rows.forget()
        return applied


def next_model(model: str) -> str:
    """The name of the model that replaces this one."""
    name, _, number = model.partition("@")
    return f"{name}@{int(number or 1) + 1}"


def _failure(
    projection: Projection[Any], recorded: RecordedEvent, error: BaseException
) -> ProjectionFailed:
    why = error.message if isinstance(error, CallboardError) else repr(error)
    failed = ProjectionFailed(
        f"the projection {projection.name!r} v{projection.version} cannot fold the event at "
        f"position {recorded.position} ({recorded.kind!r} v{recorded.schema} of stream "
        f"{recorded.stream!r}): {why}",
        advice="Correct the projection, and start its projector again; all earlier events are in "
        "the read model.",
        position=recorded.position,
        kind=recorded.kind,
        stream=recorded.stream,
    )
    failed.__cause__ = error
    return failed
