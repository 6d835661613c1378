"""A ledger in Ray's own key-value store. It outlives every process but the cluster's head.

With a fault-tolerant head (Ray's `RAY_REDIS_ADDRESS`) it outlives the head too.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import ray.exceptions
from ray.experimental import internal_kv

from callboard.messages.core.errors import ClusterError

__all__ = ["LEDGER_NAMESPACE", "RayLedger"]

LEDGER_NAMESPACE: Final = b"callboard"
store: Final[Any] = internal_kv
"""Untyped in Ray."""


class RayLedger:
    """The entries of one system; see `Ledger`."""

    def __init__(self, system: str) -> None:
        self._prefix = f"{system}/".encode()

    async def write(self, entries: Mapping[str, bytes | None]) -> None:
        """Write entries one after the other, in a thread: each waits for a millisecond."""
        await asyncio.to_thread(self._write, dict(entries))

    def _write(self, entries: Mapping[str, bytes | None]) -> None:
        try:
            for key, value in entries.items():
                name = self._prefix + key.encode()
                if value is None:
                    store._internal_kv_del(name, namespace=LEDGER_NAMESPACE)  # noqa: SLF001 - Ray's name for it
                else:
                    store._internal_kv_put(name, value, namespace=LEDGER_NAMESPACE)  # noqa: SLF001 - as above
        except (ray.exceptions.RayError, RuntimeError, OSError) as error:
            raise _unreachable(error) from error

    async def read(self) -> dict[str, bytes]:
        """Read all entries of the system."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        try:
            for name in store._internal_kv_list(self._prefix, namespace=LEDGER_NAMESPACE):  # noqa: SLF001 - as above
                value = store._internal_kv_get(name, namespace=LEDGER_NAMESPACE)  # noqa: SLF001 - as above
                if value is not None:
                    found[bytes(name)[len(self._prefix) :].decode()] = bytes(value)
        except (ray.exceptions.RayError, RuntimeError, OSError) as error:
            raise _unreachable(error) from error
        return found

    async def add(self, key: str, value: bytes) -> bool:
        """See `RootLedger`: the control store adds an entry in one step."""
        return await asyncio.to_thread(self._add, key, value)

    def _add(self, key: str, value: bytes) -> bool:
        name = self._prefix + key.encode()
        try:
            exists: bool = store._internal_kv_put(  # noqa: SLF001 - Ray's name for it
                name, value, overwrite=False, namespace=LEDGER_NAMESPACE
            )
        except (ray.exceptions.RayError, RuntimeError, OSError) as error:
            raise _unreachable(error) from error
        return not exists

    async def read_some(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See `RootLedger`."""
        return await asyncio.to_thread(self._read_some, keys)

    def _read_some(self, keys: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        try:
            for key in keys:
                name = self._prefix + key.encode()
                value = store._internal_kv_get(name, namespace=LEDGER_NAMESPACE)  # noqa: SLF001 - as above
                if value is not None:
                    found[key] = bytes(value)
        except (ray.exceptions.RayError, RuntimeError, OSError) as error:
            raise _unreachable(error) from error
        return found

    @staticmethod
    async def systems() -> list[str]:
        """The names of all systems that have entries in the cluster."""
        return await asyncio.to_thread(_systems)

    async def erase(self) -> None:
        """Delete all entries of the system."""
        await asyncio.to_thread(self._erase)

    def _erase(self) -> None:
        try:
            store._internal_kv_del(self._prefix, del_by_prefix=True, namespace=LEDGER_NAMESPACE)  # noqa: SLF001 - as above
        except (ray.exceptions.RayError, RuntimeError, OSError) as error:
            raise _unreachable(error) from error


def _systems() -> list[str]:
    try:
        names = store._internal_kv_list(b"", namespace=LEDGER_NAMESPACE)  # noqa: SLF001 - Ray's name for it
    except (ray.exceptions.RayError, RuntimeError, OSError) as error:
        raise _unreachable(error) from error
    return sorted({bytes(name).decode().partition("/")[0] for name in names})


def _unreachable(error: BaseException) -> ClusterError:
    return ClusterError(
        f"the key-value store of the cluster's head cannot be used: {error!r}.",
        advice="Run `ray status` to see whether the head node lives.",
    )
