"""A projection: the changes of a read model's rows by each event.

    class Balances(Projection[int]):
        name = "balances"

        @projects
        def deposited(self, rows: Rows[int], event: Deposited) -> None:
            rows[event.account] = rows.get(event.account, 0) + event.amount

A row is plain data, or a contract: `Projection[Balance]` says which. Only assigned or deleted rows
are written: changing a row in place does nothing. A method may be called again for an event whose
transaction failed, so it must change nothing but rows.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

import msgpack

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry
from callboard.messages.core.errors import SpecError, UsageError
from callboard.messages.core.names import check_name

from ..codec import Event
from ..folds import FunctionT, contracts_of, marked, methods_of
from .rows import row_contract

__all__ = ["FOLD_ROW", "Projection", "RowCodec", "Rows", "projects"]

RowT = TypeVar("RowT")

FOLD_ROW: Final = ""
"""The key of the row with the version of the projection. `Rows` refuses this key."""

RESERVED: Final = ("consumers/", "callboard.")
"""The first characters of the models of groups of consumers, and of Callboard's own."""


def projects(function: FunctionT) -> FunctionT:
    """Mark a method that folds an event into rows: (self, rows, event)."""
    return marked(function, "projects")


class RowCodec(Generic[RowT]):
    """Encodes rows to bytes and decodes them: plain data, or one contract. For one thread."""

    def __init__(self, row: type[Contract] | None) -> None:
        self._row = row
        registry = ContractRegistry()
        self._build = None if row is None else registry.learn(row).build
        self._codec = Codec(registry)

    def encode(self, row: RowT) -> bytes:
        """The bytes of a row. Raises `InvalidMessage` or `TypeError` for a row without encoding."""
        if self._row is None:
            packed: bytes = msgpack.packb(row)
            return packed
        if not isinstance(row, self._row):
            raise TypeError(f"a row is a {type(row).__qualname__}, not a {self._row.__qualname__}")
        body, buffers = self._codec.encode(row)
        if buffers:
            raise TypeError("a row holds an array, which it must not")
        return body

    def decode(self, data: bytes) -> RowT:
        """The row in these bytes."""
        if self._build is None:
            return cast("RowT", msgpack.unpackb(data, strict_map_key=False))
        return cast("RowT", self._codec.decode(data, self._build))


class Rows(Generic[RowT]):
    """The rows of a read model while events are folded: a mapping that records changes.

    It fetches rows that are not in memory one by one, and keeps the `cached_max` rows that were
    used last. While all rows of a new model are in memory, it fetches nothing.
    """

    def __init__(
        self,
        codec: RowCodec[RowT],
        fetch: Callable[[str], bytes | None],
        cached_max: int,
    ) -> None:
        self._codec = codec
        self._fetch = fetch
        self._cached_max = cached_max
        self._rows: OrderedDict[str, RowT | None] = OrderedDict()
        self._changed: set[str] = set()
        self._is_complete = False
        self.is_checking = False
        """Whether assigning a row encodes it, which finds the event of a wrong row."""

    def get(self, key: str, default: RowT | None = None) -> RowT | Any:
        """The row of this key, as the earlier events left it, or the default."""
        rows = self._rows
        if key in rows:
            row = rows[key]
        elif self._is_complete or not key:
            row = None
        else:
            data = self._fetch(key)
            row = rows[key] = None if data is None else self._codec.decode(data)
        return default if row is None else row

    def __getitem__(self, key: str) -> RowT:
        row = self.get(key)
        if row is None:
            raise KeyError(key)
        return cast("RowT", row)

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __setitem__(self, key: str, row: RowT) -> None:
        if not key or row is None:
            raise UsageError(
                f"the row {key!r} is set to {row!r}.",
                advice="Use a key that is not empty; delete a row with `del`.",
            )
        if self.is_checking:
            self._codec.encode(row)
        self._rows[key] = row
        self._changed.add(key)

    def __delitem__(self, key: str) -> None:
        if not key:
            raise UsageError("the row '' is deleted.", advice="Use a key that is not empty.")
        self._rows[key] = None
        self._changed.add(key)

    def changes(self) -> dict[str, bytes | None]:
        """The changes since the last `keep`, for the store."""
        rows, encode = self._rows, self._codec.encode
        return {key: None if (row := rows[key]) is None else encode(row) for key in self._changed}

    def keep(self) -> None:
        """Keep the rows after their changes were stored."""
        rows = self._rows
        for key in self._changed:
            if self._is_complete and rows[key] is None:
                del rows[key]
            else:
                rows.move_to_end(key)
        self._changed.clear()
        while len(rows) > self._cached_max:
            self._is_complete = False
            rows.popitem(last=False)

    def forget(self, *, is_empty: bool = False) -> None:
        """Drop all rows from memory; with `is_empty`, the store has no rows either."""
        self._rows.clear()
        self._changed.clear()
        self._is_complete = is_empty


class Projection(Generic[RowT]):
    """Folds events into the rows of a read model.

    `name` is the model's name. Raise `version` when the fold changes. With `reads_all` (the
    default) the projector reads every event of the log, so that its codec finds unknown ones;
    without it, only the kinds that have methods. A known event without a method changes
    nothing. Rows of `Projection[Row]` are contracts when `Row` is one, otherwise plain data; `row`
    names the contract for a class that cannot. Raises `SpecError` for a wrong name, a type of rows
    that no store keeps, and wrong methods.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    row: ClassVar[type[Contract] | None] = None
    reads_all: ClassVar[bool] = True

    def __init__(self) -> None:
        # An @ stands before the numbers of rebuilt models.
        given = getattr(type(self), "name", None)
        where = f"{type(self).__qualname__}.name is"
        name = check_name(where, given, without="@", field="name")
        if name.startswith(RESERVED):
            raise SpecError(
                f"{type(self).__qualname__}.name is {name!r}.",
                advice=f"Callboard's own models begin with {' or '.join(RESERVED)}.",
                field="name",
            )
        row_contract(type(self), Projection)
        methods = methods_of(type(self), "projects", 2, 1)
        self.contracts: Final = tuple(contracts_of(methods))
        """The contracts of the events that have methods."""
        self._table: Final[dict[str, Callable[..., None]]] = {
            kind: function for kind, (function, _) in methods.items()
        }

    @classmethod
    def row_codec(cls) -> "RowCodec[RowT]":
        """The codec of its rows. Raises `SpecError` for a type of rows that no store keeps."""
        return RowCodec(row_contract(cls, Projection))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of events that have methods, sorted."""
        return tuple(sorted(self._table))

    def on_unknown(self, rows: Rows[RowT], event: Event) -> None:
        """Handle an event that the codec does not know (`Unknown.KEEP`); by default, ignore it."""

    def fold(self, rows: Rows[RowT], events: Iterable[Event]) -> None:
        """Fold some events into rows."""
        table = self._table
        for event in events:
            body = event.body
            if body is None:
                self.on_unknown(rows, event)
                continue
            function = table.get(event.recorded.kind)
            if function is not None:
                function(self, rows, body)
