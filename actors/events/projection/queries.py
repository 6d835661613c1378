"""The query side of a projection: rows by key and by prefix, through a cache.

A cached row carries the position that its model had before it was read, in its first eight
bytes, so that a cache in which the newest wins orders them. The rows a page has changed leave
the cache after its transaction, before `wait_for` tells of it; a row that was read before the
transaction and comes late does not enter. That holds for the projectors that were given these
queries. What another process applies is seen when the row's time to live is over, or by
`wait_for`, behind which no older row is served; a cache that tells other nodes of what is
deleted (the tiers with Redis) brings it sooner.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Generic, Self, TypeVar

from callboard.messages.core.errors import DeadlineExceeded, UsageError
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
"""How often the store is asked for the position where no projector tells it."""
TOLD_POLL_S: Final = 0.25
"""The same where one does: another process may have taken over."""
READERS: Final = 2


class Queries(Generic[RowT]):
    """Reads the model that a projection's name means. Belongs to one event loop.

    `ttl_s` is how long a row stays in the cache; for up to `meaning_s` after another process
    has promoted to another model, the earlier one's rows may be served. Raises, everywhere,
    what the store raises; a cache never fails.
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
        """Rows that came from the cache; `from_store`: rows that were asked of the store."""
        self.from_store = 0
        self._store = store
        self._codec: RowCodec[RowT] = RowCodec(projection.row)
        self._cache = cache
        self._ttl_s = ttl_s
        self._meaning_s = meaning_s
        self._threads = ThreadRunner(f"query-{projection.name}", READERS)
        self._model: str | None = None
        self._model_known_s = 0.0
        self._floor = 0
        """No cached row that was read before the model had this position is served."""
        self._told = Position(-1)
        """The position of the model as its projector here says it; -1 without one."""
        self._loading: dict[int, set[str]] = {}
        """For each read of the store under way: the keys that have changed meanwhile."""

    # --- reading ---------------------------------------------------------------------------

    async def get(self, key: str) -> RowT | None:
        """The row of a key."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[str]) -> list[RowT | None]:
        """The rows of these keys: first from the cache in one batch, the others from the store."""
        if not all(keys):
            raise UsageError("a row is asked for with an empty key.", advice="No row has it.")
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
            self._means(model)
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
            # A model that was dropped in between has no rows; then the name means another one.
            if None not in found or store.meaning(self.name) == model:
                there = {k: row for k, row in zip(keys, found, strict=True) if row is not None}
                return model, position, there

    async def items(
        self, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, RowT]]:
        """Rows whose keys have the prefix, in the order of the keys, behind `after`.

        Always from the store. The last key of a page is the next one's `after`.
        """
        found = await self._threads.call(self._items, prefix, after, limit)
        return [(key, self._codec.decode(row)) for key, row in found]

    def _items(self, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        while True:
            model = self._store.meaning(self.name)
            # One more than asked: the row of the projection's version may be among them.
            found = self._store.items(model, prefix, after=after, limit=limit + 1)
            if self._store.meaning(self.name) == model:
                return [(key, row) for key, row in found if key][:limit]

    async def position(self) -> int:
        """The position of the last event that is in the model."""
        return await self._threads.call(
            lambda: self._store.position(self._store.meaning(self.name))
        )

    async def wait_for(self, position: int, timeout_s: float) -> None:
        """Wait until an event is in the model; what is read afterwards has it.

        So one reads what one has written: give the position that the append has told. Raises
        `DeadlineExceeded`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while (told := self._told.value) < position:
                    if await self.position() >= position:
                        # The rows that this has changed may still be in the cache.
                        self._floor = max(self._floor, position)
                        return
                    await self._told.wait(told + 1, POLL_S if told < 0 else TOLD_POLL_S)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the read model {self.name!r} has not come to position {position} within "
                f"{timeout_s} s."
            ) from None

    async def _meaning(self) -> str:
        now_s = asyncio.get_running_loop().time()
        if self._model is None or now_s - self._model_known_s >= self._meaning_s:
            self._means(await self._threads.call(self._store.meaning, self.name))
        assert self._model is not None
        return self._model

    def _means(self, model: str) -> None:
        self._model = model
        self._model_known_s = asyncio.get_running_loop().time()

    # --- what a projector tells ------------------------------------------------------------

    async def applied(self, model: str, position: int, keys: Sequence[str] | None) -> None:
        """See `Follows`."""
        for touched in self._loading.values():
            touched.update(("",) if keys is None else keys)
        if keys is None:
            self._floor = max(self._floor, position)
        elif self._cache is not None and keys:
            await self._cache.delete_many([_name(model, key) for key in keys])
        self._told.move(position)

    async def promoted(self, model: str, position: int) -> None:
        """See `Follows`."""
        self._means(model)
        await self.applied(model, position, None)

    async def close(self) -> None:
        """Let go of its threads; the cache and the store are their owner's to close."""
        self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()


def _name(model: str, key: str) -> str:
    return f"{model}/{key}"


def _position(cached: bytes) -> int:
    return int.from_bytes(cached[:POSITION_BYTES], "big")
