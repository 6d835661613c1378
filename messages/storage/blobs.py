"""Blobs, for values that are too large for an event, and the port of their store.

A blob is named by its content: equal blobs are stored once, and a changed one is detected.
An event keeps a reference; the blob is durable before the event is.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, Self

from ..core.errors import StoreFailed
from .errors import StoreDamaged

__all__ = ["BLOB_DIGEST_BYTES", "BlobDamaged", "BlobGone", "BlobRef", "BlobStore", "StoredBlob"]

BLOB_DIGEST_BYTES: Final = 32


class BlobGone(StoreFailed):
    """The store does not have the blob: it was deleted, or it is in another store."""

    code = "blob_gone"


class BlobDamaged(StoreDamaged):
    """The content of a blob does not match its name."""

    code = "blob_damaged"


class BlobRef(NamedTuple):
    """The name of a blob: the digest and the size of its content."""

    digest: bytes
    size_bytes: int

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Self:
        """The name of the blob that these parts form."""
        digest, size = hashlib.blake2b(digest_size=BLOB_DIGEST_BYTES), 0
        for part in parts:
            digest.update(part)
            size += len(part)
        return cls(digest.digest(), size)

    def check(self, data: bytes, where: str) -> None:
        """Raises `BlobDamaged` when `data` is not the content of this blob."""
        if len(data) != self.size_bytes or type(self).of((data,)) != self:
            raise BlobDamaged(
                f"{where}: the blob {self.digest.hex()[:16]} has changed: it has {len(data)} of "
                f"{self.size_bytes} bytes, or other bytes.",
                advice="Restore it from a backup; without it, a resume runs its sub-task again.",
            )


class StoredBlob(NamedTuple):
    """A blob in the listing of its store."""

    digest: bytes
    size_bytes: int
    stored_at: float
    """When it was last stored, in seconds since 1970; 0.0 if unknown."""


class BlobStore(Protocol):
    """A store of blobs. Every method blocks; any number of threads may call them at once.

    Every method raises what an `EventStore` raises, and has changed nothing then.
    """

    @property
    def name(self) -> str:
        """The kind and the place of the store, for people."""

    def put(self, parts: Sequence[bytes]) -> tuple[BlobRef, bool]:
        """Store the blob that these parts form, durably on return. Also gives whether it is new."""

    def get(self, ref: BlobRef) -> bytes:
        """The content of a blob. Raises `BlobGone`, `BlobDamaged`."""

    def blobs(self) -> Iterator[StoredBlob]:
        """All blobs in the store."""

    def drop(self, digests: Iterable[bytes]) -> None:
        """Delete these blobs; one that does not exist is no error."""

    def sweep(self, before: float) -> int:
        """Delete unfinished blobs that were begun before that time; gives their number."""
