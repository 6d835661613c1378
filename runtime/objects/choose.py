"""Object stores by their URL: a folder, or S3, GCS, Azure and memory."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from callboard.actors.metrics.tiers.ports import WindowFormat
from callboard.actors.storage.objects import ObjectStore
from callboard.messages.core.errors import SpecError

__all__ = ["DATA_EXTRA", "object_store", "window_format"]

DATA_EXTRA = "Install the extra: pip install 'callboard[data]'."


def object_store(url: str, *, durability: str = "full", **options: Any) -> ObjectStore:
    """The object store at a URL, not yet opened. Raises `SpecError`.

    A path or `file:///path` is a folder. `s3://bucket/prefix`, `gs://`, `az://` and `memory:///`
    need the extra `data`; `options` are those of the package obstore.
    """
    if not url.strip() or "\0" in url:
        raise SpecError(
            "the URL of an object store is empty, or has a NUL character.",
            advice="Name a folder, or s3://bucket/prefix.",
        )
    from .local import LocalObjectStore

    if url.startswith("file://"):
        return LocalObjectStore(Path(unquote(urlsplit(url).path)), durability=durability)
    if "://" not in url:
        return LocalObjectStore(url, durability=durability)
    try:
        from .remote import RemoteObjectStore
    except ImportError as error:
        raise SpecError(
            f"the object store {url.partition('://')[0]}:// needs the package obstore ({error}).",
            advice=DATA_EXTRA,
        ) from error
    return RemoteObjectStore(url, **options)


def window_format() -> WindowFormat:
    """The format of segments of windows: Parquet. Raises `SpecError` without the extra `data`."""
    try:
        from .parquet import ParquetWindows
    except ImportError as error:
        raise SpecError(
            f"segments in Parquet need the package duckdb ({error}).", advice=DATA_EXTRA
        ) from error
    return ParquetWindows()
