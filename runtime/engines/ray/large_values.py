"""Large values through Ray's object store: written once, read in place, never copied."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import ray
import ray.exceptions

from callboard.messages.core.errors import PayloadLost

__all__ = ["RayLargeValues"]

FETCH_TIMEOUT_S: Final = 60.0


class RayLargeValues:
    """A `LargeValueStore` on Ray's object store."""

    def put(self, body: bytes, buffers: Sequence[Any]) -> Any:
        """Store a message; as arrays, its parts stay out of Ray's pickle."""
        parts = [np.frombuffer(part, dtype=np.uint8) if part else b"" for part in (body, *buffers)]
        return ray.put(parts)

    async def get(self, reference: Any) -> tuple[bytes, Sequence[Any]]:
        """Fetch a stored message; its buffers are views of shared memory."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                body, *buffers = await reference
        except (ray.exceptions.RayError, TimeoutError) as error:
            raise PayloadLost(
                f"a large value is lost: {type(error).__name__}.",
                advice="Ask again: the sender, or the node with the value, has died.",
            ) from error
        return bytes(body), [memoryview(part) for part in buffers]
