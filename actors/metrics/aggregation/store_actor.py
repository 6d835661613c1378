"""The actor that keeps the windows of all shards, on the machine of the store's file."""

from collections.abc import Callable
from typing import ClassVar, Final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.errors import ActorStopped, InvalidMessage, StoreFailed
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable, WriterFenced

from ...kernel.actor import Actor, OnError, handler
from ...kernel.context import Context
from ..ports import HotStorage
from .messages import (
    ClaimShard,
    CommitShard,
    ExtentsRead,
    PackShard,
    ReadClaimed,
    ReadExtents,
    ReadSeries,
    ReadShards,
    ReadWindows,
    SeriesRead,
    ShardClaimed,
    ShardCommitted,
    ShardPacked,
    ShardsRead,
    StageCommit,
    WindowsRead,
    matchers_of,
)
from .packed import pack_windows, series_text, unpack_windows
from .storage import PART_BYTES, ThreadStorage, commit_parts, slices

__all__ = ["MetricsStoreActor"]

STAGED_BYTES_MAX: Final = 2**30
"""The bytes of commits that are under way in parts, of all shards."""


class MetricsStoreActor(Actor):
    """Keeps and reads the windows of all shards in one store.

    The actor calls `make_store` on its host: the store must be reachable from there.
    """

    concurrency: ClassVar[int] = 64
    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(self, make_store: Callable[[], HotStorage]) -> None:
        self._make_store = make_store
        self._storage: ThreadStorage | None = None
        self._claimed: Final[dict[int, tuple[int, bytes]]] = {}
        """What the last claim of each shard has found, while it is being read."""
        self._staged: Final[dict[int, tuple[int, list[bytes]]]] = {}
        """For each shard the fencing token, and the parts of its next commit."""

    async def started(self, ctx: Context) -> None:
        """Open the store."""
        storage = ThreadStorage(self._make_store())
        try:
            await storage.open()
        except BaseException:
            await storage.close()
            raise
        self._storage = storage

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Close the store, after the commits under way."""
        if self._storage is not None:
            await self._storage.close()

    def _open(self) -> ThreadStorage:
        if self._storage is None:
            raise ActorStopped("the store of metrics is not open.", may_have_run=False)
        return self._storage

    # --- aggregators --------------------------------------------------------------------------

    @handler
    async def claim(self, request: ClaimShard) -> ShardClaimed:
        """Claim a shard. Raises what `MetricsStorage.claim` raises."""
        state, log = await self._open().claim(request.shard, request.fence)
        self._staged.pop(request.shard, None)
        data = b"".join((state, *log))
        first = next(slices(data))
        if len(first) < len(data):
            self._claimed[request.shard] = (request.fence, data)
        return ShardClaimed(sizes=(len(state), *map(len, log)), data=first)

    @handler
    async def read_claimed(self, request: ReadClaimed) -> WindowsRead:
        """Read on in what a claim has found."""
        fence, data = self._claimed.get(request.shard, (0, b""))
        if fence != request.fence or not 0 <= request.at < len(data):
            raise _gone(request.shard)
        end = request.at + PART_BYTES
        if end >= len(data):
            del self._claimed[request.shard]
        return WindowsRead(data=data[request.at : end])

    @handler
    async def stage(self, request: StageCommit) -> ShardCommitted:
        """Keep a part of a commit."""
        if request.number == 0:
            self._staged[request.shard] = (request.fence, [])
        fence, parts = self._staged.get(request.shard, (0, []))
        staged = sum(len(part) for _, kept in self._staged.values() for part in kept)
        if staged + len(request.data) > STAGED_BYTES_MAX:
            self._staged.pop(request.shard, None)
            return _failed(
                StoreUnavailable(
                    "the store of metrics has too many large commits under way.",
                    advice="Callboard tries again.",
                    may_have_run=False,
                )
            )
        if fence != request.fence or len(parts) != request.number:
            return _failed(_gone(request.shard))
        parts.append(request.data)
        return ShardCommitted()

    @handler
    async def commit(self, request: CommitShard) -> ShardCommitted:
        """Commit. Raises what `MetricsStorage.commit` raises."""
        parts: list[bytes] = []
        if request.staged:
            fence, parts = self._staged.pop(request.shard, (0, []))
            if fence != request.fence or len(parts) != request.staged:
                return _failed(_gone(request.shard))
        try:
            values = commit_parts(b"".join((*parts, request.data)), request.sizes)
            log, state, *windows = values
        except ValueError as error:
            raise InvalidMessage(f"a commit of shard {request.shard} has {error}.") from error
        try:
            await self._open().commit(
                request.shard,
                request.fence,
                log=log,
                state=state if request.has_state else None,
                windows=[unpack_windows(data) for data in windows],
            )
        except StoreFailed as error:
            if error.may_have_run or isinstance(error, WriterFenced | StoreDamaged):
                raise
            return _failed(error)
        return ShardCommitted()

    @handler
    async def pack(self, request: PackShard) -> ShardPacked:
        """Pack stored windows."""
        blocks = await self._open().pack(request.shard, request.before_ns, request.blocks_max)
        return ShardPacked(blocks=blocks)

    # --- queries ------------------------------------------------------------------------------

    @handler
    async def shards(self, request: ReadShards) -> ShardsRead:
        """The shards that were ever claimed."""
        del request
        return ShardsRead(shards=tuple(await self._open().shards()))

    @handler
    async def extents(self, request: ReadExtents) -> ExtentsRead:
        """The time that the windows of each width cover."""
        del request
        found = await self._open().extents()
        return ExtentsRead(extents=tuple((width, *extent) for width, extent in found.items()))

    @handler
    async def series(self, request: ReadSeries) -> SeriesRead:
        """The series of stored windows."""
        found = await self._open().series(
            matchers_of(request.matchers), request.from_ns, request.to_ns, request.limit
        )
        return SeriesRead(series=tuple(map(series_text, found)))

    @handler
    async def windows(self, request: ReadWindows) -> WindowsRead:
        """Stored windows."""
        found = await self._open().windows(
            matchers_of(request.matchers),
            request.width_ns,
            request.from_ns,
            request.to_ns,
            request.limit,
        )
        return WindowsRead(data=pack_windows(found))


def _failed(error: StoreFailed) -> ShardCommitted:
    return ShardCommitted(failure=error.to_data())


def _gone(shard: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"the store of metrics has lost a part of a long message of shard {shard}.",
        advice="Callboard tries again from the beginning.",
        may_have_run=False,
    )
