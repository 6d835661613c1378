"""What is too large for an event: blobs by what is in them, and the port of their store.

A blob is named by its content, so two that are equal are one, and one that was changed on the
disk is known. An event keeps the reference; the blob is durable before the event is.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, Self

from ..core.errors import StoreFailed
from .errors import StoreDamaged

__all__ = ["BLOB_DIGEST_BYTES", "BlobDamaged", "BlobGone", "BlobRef", "BlobStore", "StoredBlob"]

BLOB_DIGEST_BYTES: Final = 32


class BlobGone(StoreFailed):
    """A blob is not in its store: somebody has deleted it, or it is another store."""

    code = "blob_gone"


class BlobDamaged(StoreDamaged):
    """A blob's content is not what its name says."""

    code = "blob_damaged"


class BlobRef(NamedTuple):
    """Names a blob by its content."""

    digest: bytes
    size_bytes: int

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Self:
        """The name of what these parts are together."""
        digest, size = hashlib.blake2b(digest_size=BLOB_DIGEST_BYTES), 0
        for part in parts:
            digest.update(part)
            size += len(part)
        return cls(digest.digest(), size)

    def check(self, data: bytes, where: str) -> None:
        """Raises `BlobDamaged` when `data` is something else."""
        if len(data) != self.size_bytes or type(self).of((data,)) != self:
            raise BlobDamaged(
                f"{where}: the blob {self.digest.hex()[:16]} is not what was stored: it has "
                f"{len(data)} bytes of {self.size_bytes}, or others.",
                advice="Put it back from a backup; a resume runs its sub-task again without it.",
            )


class StoredBlob(NamedTuple):
    """A blob as its store lists it."""

    digest: bytes
    size_bytes: int
    stored_at: float
    """When it was last stored, in seconds since 1970; 0.0 is long ago."""


class BlobStore(Protocol):
    """Keeps blobs. Every method blocks: it is called in a thread, by any number at once.

    Raises, everywhere, what an `EventStore` raises: nothing has been changed then.
    """

    @property
    def name(self) -> str:
        """What it is, for people."""

    def put(self, parts: Sequence[bytes]) -> tuple[BlobRef, bool]:
        """Keep what these parts are together, durably on return; whether it was new."""

    def get(self, ref: BlobRef) -> bytes:
        """The content, as it was stored. Raises `BlobGone`, `BlobDamaged`."""

    def blobs(self) -> Iterator[StoredBlob]:
        """All that are here."""

    def drop(self, digests: Iterable[bytes]) -> None:
        """Forget these; one that is not here is no error."""

    def sweep(self, before: float) -> int:
        """Throw away what writers that died before that moment had begun; how much that was."""
