"""The query side of a projection: rows by key and by prefix, through a cache.

A cached row has in its first eight bytes the position that its model had before the read, so
that a cache that keeps the newest value orders the rows. The rows that a page has changed leave
the cache after the page's transaction, before `wait_for` returns for it. A row that was read
before the transaction and arrives late does not enter the cache. This holds for projectors that
have these queries. Changes of another process are seen when the row's time to live is over, or
after `wait_for`, which excludes older rows; a cache that deletes keys on other nodes too (the
tiers with Redis) shows them sooner.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Generic, Self, TypeVar

from callboard.messages.core.errors import CallboardError, DeadlineExceeded, UsageError
from callboard.messages.core.names import escaped
from callboard.messages.core.timeouts import checked_timeout
from callboard.messages.storage.stores import Cache, ReadModelStore

from ...journal.position import Position
from ...kernel.threads import ThreadRunner
from .projection import Projection, RowCodec

__all__ = ["Queries"]

RowT = TypeVar("RowT")
POSITION_BYTES: Final = 8
TTL_S: Final = 60.0
MEANING_S: Final = 1.0
POLL_S: Final = 0.02
"""The time between two reads of the stored position without a projector here, in seconds."""
NOTIFIED_POLL_S: Final = 0.25
"""The same with a projector that notifies: another process may have taken over."""
READERS: Final = 2


class Queries(Generic[RowT]):
    """Reads the live model of a projection. Belongs to one event loop.

    `ttl_s` is how long a row stays in the cache, in seconds. For up to `meaning_s` seconds after
    another process has promoted a model, rows of the earlier model may be served. Every method
    raises what the store raises; a cache never raises.
    """

    def __init__(
        self,
        projection: Projection[RowT] | type[Projection[RowT]],
        store: ReadModelStore,
        *,
        cache: Cache | None = None,
        ttl_s: float = TTL_S,
        meaning_s: float = MEANING_S,
    ) -> None:
        self.name: Final = projection.name
        self.from_cache = 0
        """The number of rows that came from the cache."""
        self.from_store = 0
        """The number of rows that were read from the store."""
        self._store = store
        self._codec: RowCodec[RowT] = projection.row_codec()
        self._cache = cache
        self._ttl_s = ttl_s
        self._meaning_s = meaning_s
        self._threads = ThreadRunner(f"query-{projection.name}", READERS)
        self._model: str | None = None
        self._model_known_s = 0.0
        self._floor = 0
        """Cached rows from before this position of the model are not served."""
        self._notified = Position(-1)
        """The position of the model by its projector's notifications; -1 without a projector."""
        self._stopped: CallboardError | None = None
        """The error that stopped its projector; None while one works, or none is here."""
        self._loading: dict[int, set[str]] = {}
        """For each read of the store under way: the keys that changed meanwhile."""

    # --- reading ---------------------------------------------------------------------------

    async def get(self, key: str) -> RowT | None:
        """The row of a key; None when there is none."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[str]) -> list[RowT | None]:
        """The rows of these keys, None for a missing row; raises `UsageError` for an empty key.

        Reads the cache in one batch, then the rest from the store.
        """
        if not all(keys):
            raise UsageError("a key of a row is empty.", advice="Ask only for other keys.")
        rows: dict[str, bytes] = {}
        model = await self._meaning()
        if self._cache is not None:
            names = [_name(model, key) for key in keys]
            for key, cached in zip(keys, await self._cache.get_many(names), strict=True):
                if cached is not None and _position(cached) >= self._floor:
                    rows[key] = cached[POSITION_BYTES:]
        missing = [key for key in dict.fromkeys(keys) if key not in rows]
        self.from_cache += len(rows)
        if missing:
            self.from_store += len(missing)
            rows |= await self._load(missing)
        decode = self._codec.decode
        return [decode(rows[key]) if key in rows else None for key in keys]

    async def _load(self, keys: Sequence[str]) -> dict[str, bytes]:
        touched: set[str] = set()
        self._loading[id(touched)] = touched
        try:
            model, position, rows = await self._threads.call(self._read, keys)
            self._set_model(model)
            if self._cache is None:
                return rows
            stamp = position.to_bytes(POSITION_BYTES, "big")
            kept = {key: stamp + row for key, row in rows.items() if key not in touched}
            if kept and "" not in touched:
                await self._cache.set_many(
                    {_name(model, key): row for key, row in kept.items()}, self._ttl_s
                )
                late = kept.keys() & touched
                if late:
                    await self._cache.delete_many([_name(model, key) for key in late])
            return rows
        finally:
            del self._loading[id(touched)]

    def _read(self, keys: Sequence[str]) -> tuple[str, int, dict[str, bytes]]:
        """In a thread: the model, its position before the read or earlier, and the rows."""
        store = self._store
        while True:
            model = store.meaning(self.name)
            position = store.position(model)
            found = store.get_many(model, keys)
            # A model that was dropped meanwhile has no rows: the name refers to another one.
            if None not in found or store.meaning(self.name) == model:
                there = {k: row for k, row in zip(keys, found, strict=True) if row is not None}
                return model, position, there

    async def items(
        self, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, RowT]]:
        """Keys with the prefix and their rows, sorted by key, those after `after`.

        Always from the store. For the next page, give the last key as `after`.
        """
        found = await self._threads.call(self._items, prefix, after, limit)
        return [(key, self._codec.decode(row)) for key, row in found]

    def _items(self, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        while True:
            model = self._store.meaning(self.name)
            # One more than `limit`: the row with the projection's version may be among them.
            found = self._store.items(model, prefix, after=after, limit=limit + 1)
            if self._store.meaning(self.name) == model:
                return [(key, row) for key, row in found if key][:limit]

    async def position(self) -> int:
        """The position of the last event that is in the model."""
        return await self._threads.call(
            lambda: self._store.position(self._store.meaning(self.name))
        )

    async def wait_for(self, position: int, timeout_s: float) -> None:
        """Wait until the event at a position is in the model; later reads show it.

        Use it to read your own write: give the position that the append returned. Raises
        `DeadlineExceeded` after `timeout_s` seconds; and the error that stopped the projector of
        these queries, at once, unless another projector has the event in the model.
        """
        checked_timeout(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                while (notified := self._notified.value) < position:
                    if await self.position() >= position:
                        # Older rows may still be in the cache.
                        self._floor = max(self._floor, position)
                        return
                    if self._stopped is not None:
                        raise self._stopped
                    poll_s = POLL_S if notified < 0 else NOTIFIED_POLL_S
                    await self._notified.wait(notified + 1, poll_s)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the read model {self.name!r} has not reached position {position} within "
                f"{timeout_s} s.",
                advice="Check that its projector runs; see its statistics.",
            ) from None

    async def _meaning(self) -> str:
        now_s = asyncio.get_running_loop().time()
        if self._model is None or now_s - self._model_known_s >= self._meaning_s:
            self._set_model(await self._threads.call(self._store.meaning, self.name))
        assert self._model is not None
        return self._model

    def _set_model(self, model: str) -> None:
        self._model = model
        self._model_known_s = asyncio.get_running_loop().time()

    # --- notifications of a projector ------------------------------------------------------

    async def applied(self, model: str, position: int, keys: Sequence[str] | None) -> None:
        """See `Follows`."""
        self._stopped = None
        for touched in self._loading.values():
            touched.update(("",) if keys is None else keys)
        if keys is None:
            self._floor = max(self._floor, position)
        elif self._cache is not None and keys:
            await self._cache.delete_many([_name(model, key) for key in keys])
        self._notified.move(position)

    async def promoted(self, model: str, position: int) -> None:
        """See `Follows`."""
        self._set_model(model)
        await self.applied(model, position, None)

    def stopped(self, error: CallboardError) -> None:
        """See `Follows`."""
        self._stopped = error
        self._notified.wake()

    async def close(self) -> None:
        """End its threads. The owner of the cache and the store closes them."""
        self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()


def _name(model: str, key: str) -> str:
    return f"{escaped(model)}/{key}"


def _position(cached: bytes) -> int:
    return int.from_bytes(cached[:POSITION_BYTES], "big")
