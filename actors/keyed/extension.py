"""The part of keyed actors in each host: it releases shares for their new owners."""

import asyncio
from typing import Final

from ..kernel.actor import handler
from ..kernel.cell import Cell
from ..kernel.host.extension import Extension
from ..kernel.ports import RoleHost
from .handover import RELEASE_S, ReleaseShare, ShareReleased
from .region import KeyRegion

__all__ = ["KeyHandover"]


class KeyHandover(Extension):
    """Releases shares of the key regions of one host."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self._host: Final = host

    @handler
    async def release(self, request: ReleaseShare) -> ShareReleased:
        """Release a share. A region that is not there has none."""
        region = self._host.cells.get(request.cell)
        if isinstance(region, KeyRegion):
            async with asyncio.timeout(RELEASE_S):
                await region.release(request)
        return ShareReleased()
