"""A batch: rows or columns that go through the stages of a pipeline together.

The mechanism does not look inside. It counts rows, and remembers for each row which row of the
source's batch it was, so that a dead letter can have the original bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError

from .tables import columns_of, is_table, joined_tables, row_of_table, table_of, taken

__all__ = ["MADE", "Columns", "DataBatch", "Origins", "Rows", "joined", "rows_of"]

Rows: TypeAlias = tuple[Any, ...]
Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]
Origins: TypeAlias = npt.NDArray[np.int64]

MADE: Final = -1
"""The origin of a row that a stage has made of several others, or of rows of earlier batches."""


@final
class DataBatch:
    """Rows as a tuple (mappings, contracts, bytes), or as columns of equal length; never changed.

    A table of Arrow is columns as well. It stays one until a stage makes other columns of it.
    """

    __slots__ = ("_columns", "data", "originals", "origins", "places", "position", "rows", "source")

    def __init__(
        self,
        data: Any,
        rows: int,
        *,
        source: str = "",
        position: int = 0,
        originals: Sequence[bytes] | None = None,
        origins: Origins | None = None,
    ) -> None:
        self.data: Any = data
        self.rows = rows
        self.source = source
        """Where the rows come from."""
        self.position = position
        """The place of the first row in its source."""
        self.originals = originals
        """The rows as the source had them; None when they are the rows themselves."""
        self.origins = origins
        """For each row its place in the source's batch; None while no row is missing."""
        self.places: Sequence[int] | None = None
        """In a source's batch: where each row is in the source, if not one after the other."""
        self._columns: Columns | None = None

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Any],
        *,
        source: str = "",
        position: int = 0,
        originals: Sequence[bytes] | None = None,
        places: Sequence[int] | None = None,
    ) -> Self:
        """A batch of rows. Raises `UsageError` when `originals` are more or fewer."""
        if originals is not None and len(originals) != len(rows):
            raise UsageError(
                f"a batch of {len(rows)} rows has {len(originals)} originals.",
                advice="Give one for each row, or none.",
            )
        taken = tuple(rows)
        batch = cls(taken, len(taken), source=source, position=position, originals=originals)
        batch.places = places
        return batch

    def place_of(self, origin: int) -> int:
        """Where a row of a source's batch is in its source."""
        return self.position + origin if self.places is None else self.places[origin]

    @classmethod
    def of_columns(cls, columns: Columns, *, source: str = "", position: int = 0) -> Self:
        """A batch of columns. Raises `UsageError` unless all have one dimension and one length."""
        lengths = {name: column.shape for name, column in columns.items()}
        found = set(lengths.values())
        if len(found) > 1 or any(len(shape) != 1 for shape in found):
            raise UsageError(
                f"the columns of a batch have the shapes {lengths}.",
                advice="Give columns of one dimension and one length.",
            )
        rows = next(iter(found))[0] if found else 0
        return cls(dict(columns), rows, source=source, position=position)

    @classmethod
    def of_table(cls, table: Any, *, source: str = "", position: int = 0) -> Self:
        """A batch of a table of Arrow: of pyarrow, polars, or with `__arrow_c_stream__`.

        Raises `UsageError` for anything else, and without pyarrow and polars.
        """
        if not is_table(table):
            raise no_content(table)
        data = table_of(table)
        return cls(data, rows_of(data), source=source, position=position)

    @property
    def is_rows(self) -> bool:
        """Whether it has rows, and not columns."""
        return type(self.data) is tuple

    @property
    def columns(self) -> Columns:
        """Its columns, by name; those of a table of Arrow as numpy has them."""
        if isinstance(self.data, Mapping):
            return self.data
        if self._columns is None:
            assert is_table(self.data), "a batch of rows has no columns"
            self._columns = columns_of(self.data)
        return self._columns

    def __len__(self) -> int:
        return self.rows

    def with_data(self, data: Any) -> "DataBatch":
        """The same rows, changed: as many, in the same order."""
        data = _content(data)
        return DataBatch(
            data,
            rows_of(data),
            source=self.source,
            position=self.position,
            originals=self.originals,
            origins=self.origins,
        )

    def made(self, data: Any) -> "DataBatch":
        """Other rows, which a stage has made of these and perhaps of earlier ones."""
        data = _content(data)
        rows = rows_of(data)
        return DataBatch(
            data,
            rows,
            source=self.source,
            position=self.position,
            origins=np.full(rows, MADE, np.int64),
        )

    def take(self, places: "npt.NDArray[np.integer[Any]] | Sequence[int]") -> "DataBatch":
        """The rows at these places, in this order; a row may be taken more than once."""
        chosen = np.asarray(places, np.int64)
        data: Any
        if type(self.data) is tuple:
            data = tuple([self.data[place] for place in chosen.tolist()])
        elif isinstance(self.data, Mapping):
            data = {name: column[chosen] for name, column in self.data.items()}
        elif is_table(self.data):
            data = taken(self.data, chosen)
        else:
            data = self.data.take(chosen)
        return DataBatch(
            data,
            len(chosen),
            source=self.source,
            position=self.position,
            originals=self.originals,
            origins=chosen if self.origins is None else self.origins[chosen],
        )

    def kept(self, mask: "npt.NDArray[np.bool_]") -> "DataBatch":
        """The rows where the mask is true."""
        if mask.all():
            return self
        return self.take(np.flatnonzero(mask))

    def part(self, start: int, stop: int) -> "DataBatch":
        """The rows from `start` to before `stop`."""
        return self.take(np.arange(start, min(stop, self.rows)))

    def origin(self, row: int) -> int:
        """The place of a row in the source's batch, or `MADE`."""
        return row if self.origins is None else int(self.origins[row])

    def row(self, place: int) -> Any:
        """One row: of columns a mapping of plain values."""
        if type(self.data) is tuple:
            return self.data[place]
        if isinstance(self.data, Mapping):
            return {name: _plain(column[place]) for name, column in self.data.items()}
        return row_of_table(self.data, place)

    def split(self, key_of: Callable[[Any], str]) -> "dict[str, DataBatch]":
        """The rows by a key, each part in the order of the batch."""
        places: dict[str, list[int]] = {}
        for place in range(self.rows):
            places.setdefault(key_of(self.row(place)), []).append(place)
        if len(places) == 1:
            return {next(iter(places)): self}
        return {key: self.take(some) for key, some in places.items()}


def rows_of(data: Any) -> int:
    """The number of rows. Raises `UsageError` for columns of different lengths."""
    if type(data) is tuple:
        return len(data)
    if isinstance(data, Mapping):
        lengths = {len(column) for column in data.values()}
        if len(lengths) > 1:
            raise UsageError(
                f"columns have {sorted(lengths)} values.", advice="Return columns of one length."
            )
        return lengths.pop() if lengths else 0
    found = getattr(data, "height" if hasattr(data, "height") else "num_rows", None)
    if isinstance(found, int):
        return found
    raise no_content(data)


def no_content(data: Any) -> UsageError:
    """The error for something that is neither rows nor columns."""
    return UsageError(
        f"a {type(data).__name__} is no content of a batch.",
        advice="Use a tuple of rows, a mapping of columns, or a table of Arrow.",
    )


def _content(data: Any) -> Any:
    """What a stage has made, as a batch keeps it."""
    return table_of(data) if type(data) is not tuple and is_table(data) else data


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def joined(parts: Sequence[DataBatch]) -> DataBatch:
    """The rows of several parts of one batch, in their order."""
    first = parts[0]
    if len(parts) == 1:
        return first
    data: Any
    if all(type(part.data) is tuple for part in parts):
        data = tuple([row for part in parts for row in part.data])
    elif all(isinstance(part.data, Mapping) for part in parts):
        data = {name: np.concatenate([part.data[name] for part in parts]) for name in first.data}
    elif all(type(part.data) is type(first.data) and is_table(part.data) for part in parts):
        data = joined_tables([part.data for part in parts])
    elif not any(part.is_rows for part in parts):
        return joined([part.with_data(part.columns) for part in parts])
    else:
        raise UsageError(
            "the parts of a batch are rows and columns.", advice="Return one kind from a stage."
        )
    origins = np.concatenate(
        [np.arange(part.rows) if part.origins is None else part.origins for part in parts]
    )
    return DataBatch(
        data,
        len(origins),
        source=first.source,
        position=first.position,
        originals=first.originals,
        origins=origins,
    )
