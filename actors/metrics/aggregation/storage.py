"""The hot store on an event loop: in threads of this process, or behind an actor elsewhere."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from callboard.messages.core.contract import Request
from callboard.messages.core.errors import error_from_data
from callboard.messages.core.ref import Ref

from ...kernel.threads import ThreadRunner
from ..ports import Extent, HotStorage, ShardState, WindowReader
from ..rows import WindowRows
from ..series import Matcher, SeriesKey
from .messages import (
    ClaimShard,
    CommitShard,
    PackShard,
    ReadClaimed,
    ReadExtents,
    ReadSeries,
    ReadShards,
    ReadWindows,
    ShardCommitted,
    StageCommit,
    matchers_text,
)
from .packed import pack_windows, series_from, unpack_windows

__all__ = ["RemoteStorage", "ShardStorage", "ThreadStorage", "commit_parts", "slices"]

ReplyT = TypeVar("ReplyT")
ReturnT = TypeVar("ReturnT")
READERS: Final = 2
CLOSE_S: Final = 10.0
PART_BYTES: Final = 16 * 2**20
"""The most bytes of one message to or from the store: a message has at most 64 MiB."""
TIMEOUT_S: Final = 30.0


class ShardStorage(WindowReader, Protocol):
    """The hot store, as aggregators and queries use it. All methods raise the store's errors."""

    async def claim(self, shard: int, fence: int) -> ShardState:
        """See `MetricsStorage.claim`."""

    async def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> None:
        """See `MetricsStorage.commit`."""

    async def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """See `HotStorage.pack`."""

    async def shards(self) -> Sequence[int]:
        """See `MetricsStorage.shards`."""


class ThreadStorage:
    """A store whose calls run in threads of this process: writes in one, reads in a few others."""

    def __init__(self, store: HotStorage) -> None:
        self.store: Final = store
        self._writer = ThreadRunner("metrics-write")
        self._readers = ThreadRunner("metrics-read", READERS)

    async def open(self) -> None:
        """Open the store. Raises what it raises."""
        await self._writer.call(self.store.open)

    async def close(self) -> None:
        """Close the store, after the writes under way."""
        await self._writer.finish(self.store.close, CLOSE_S)
        self._readers.close()

    async def claim(self, shard: int, fence: int) -> ShardState:
        """See `MetricsStorage.claim`."""
        return await self._writer.call(self.store.claim, shard, fence)

    async def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> None:
        """See `MetricsStorage.commit`."""
        commit = functools.partial(
            self.store.commit, shard, fence, log=log, state=state, windows=windows
        )
        await self._writer.call(commit)

    async def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """See `HotStorage.pack`."""
        return await self._writer.call(self.store.pack, shard, before_ns, blocks_max)

    async def shards(self) -> Sequence[int]:
        """See `MetricsStorage.shards`."""
        return await self._read(self.store.shards)

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        return await self._read(self.store.extents)

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        return await self._read(self.store.series, matchers, from_ns, to_ns, limit)

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        return await self._read(self.store.windows, matchers, width_ns, from_ns, to_ns, limit)

    async def _read(self, read: Callable[..., ReturnT], *arguments: Any) -> ReturnT:
        return await self._readers.call(read, *arguments)


# --- behind an actor --------------------------------------------------------------------------


def slices(data: bytes) -> Iterator[bytes]:
    """The data in parts that fit messages; at least one, which may be empty."""
    for at in range(0, max(1, len(data)), PART_BYTES):
        yield data[at : at + PART_BYTES]


def commit_parts(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The values that `data` joins. Raises `ValueError` when the sizes do not fit."""
    if sum(sizes) != len(data) or min(sizes, default=0) < 0:
        raise ValueError(f"{len(data)} bytes, where {sum(sizes)} are announced")
    parts, at = [], 0
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    return parts


class RemoteStorage:
    """A store behind a `MetricsStoreActor`, on any host. It belongs to one event loop."""

    def __init__(self, ref: Ref[Any], *, timeout_s: float = TIMEOUT_S) -> None:
        self._ref = ref
        self._timeout_s = timeout_s

    async def claim(self, shard: int, fence: int) -> ShardState:
        """See `MetricsStorage.claim`."""
        claimed = await self._ask(ClaimShard(shard=shard, fence=fence))
        data, total = claimed.data, sum(claimed.sizes)
        parts = [data]
        at = len(data)
        while at < total:
            read = await self._ask(ReadClaimed(shard=shard, fence=fence, at=at))
            parts.append(read.data)
            at += len(read.data)
        state, *log = commit_parts(b"".join(parts), claimed.sizes)
        return ShardState(state, tuple(log))

    async def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> None:
        """See `MetricsStorage.commit`."""
        values = [log, state or b"", *map(pack_windows, windows)]
        *first, last = slices(b"".join(values))
        for number, data in enumerate(first):
            staged = StageCommit(shard=shard, fence=fence, number=number, data=data)
            _check(await self._ask(staged))
        committed = await self._ask(
            CommitShard(
                shard=shard,
                fence=fence,
                staged=len(first),
                data=last,
                sizes=tuple(map(len, values)),
                has_state=state is not None,
            )
        )
        _check(committed)

    async def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """See `HotStorage.pack`."""
        request = PackShard(shard=shard, before_ns=before_ns, blocks_max=blocks_max)
        return (await self._ask(request)).blocks

    async def shards(self) -> Sequence[int]:
        """See `MetricsStorage.shards`."""
        return (await self._ask(ReadShards())).shards

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        return (await self._ask(ReadExtents())).extents_by_width()

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        request = ReadSeries(
            matchers=matchers_text(matchers), from_ns=from_ns, to_ns=to_ns, limit=limit
        )
        return tuple(map(series_from, (await self._ask(request)).series))

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        request = ReadWindows(
            matchers=matchers_text(matchers),
            width_ns=width_ns,
            from_ns=from_ns,
            to_ns=to_ns,
            limit=limit,
        )
        return unpack_windows((await self._ask(request)).data)

    async def _ask(self, request: Request[ReplyT]) -> ReplyT:
        return await self._ref.ask(request, timeout_s=self._timeout_s)


def _check(committed: ShardCommitted) -> None:
    if committed.failure is not None:
        raise error_from_data(committed.failure)
