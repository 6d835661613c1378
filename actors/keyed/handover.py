"""Shares of keys that move from host to host: who owns one, releases it, and takes it over.

The directory says which key region owns a share, and which one had it before. The new owner asks
the earlier one to release the share before it activates a key of it:

    earlier owner          the root             new owner
    active  <------------ directory ----------> owns the share, activates nothing
    stops and saves <-------------------------- ReleaseShare, at the first message of a key
    released  ---- ShareReleased -------------> activates keys, from the store

A message that comes to a region which does not own its key goes on to the owner.

A region that has released a share activates none of its keys until a directory says that it owns
the share, and the directory is at least as new as that of the region that asked. The directory
comes with a floor for fencing tokens: the new owner's are higher than the earlier one's. So a store
that compares tokens refuses an earlier owner that does not answer and goes on.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorNotFound, CallboardError, HostLost
from callboard.messages.core.ref import Address

from ..kernel.asks import Ask
from ..kernel.cell import Cell
from ..kernel.directory.routing import Shares
from ..kernel.ports import CellHost

__all__ = ["RELEASE_S", "OwnShares", "ReleaseShare", "ShareReleased"]

Fails: TypeAlias = Callable[[Any, CallboardError], None]
LOGGER: Final = logging.getLogger("callboard.keyed")
RELEASE_S: Final = 10.0
"""How long a new owner waits for the earlier one. Then it goes on, with a higher fencing token."""
AGAIN_S: Final = 0.05
PASS_S: Final = 0.01
"""How long a message for another region waits here: the directory may be on its way to one of both.
"""
PASSING_MAX: Final = 10_000
"""Messages that go on from one region to others at the same time."""


class ShareReleased(Contract, name="callboard.keyed.share_released"):
    """No key of the share is active in the region, and none will be."""


class ReleaseShare(Request[ShareReleased], name="callboard.keyed.release_share"):
    """Release a share of keys; the new owner's host sends this to that of the earlier owner."""

    cell: int
    """The key region."""
    share: int
    shares: int
    """The number of all shares."""
    version: int
    """The version of the directory that names the new owner."""


class OwnShares:
    """The shares of one key region."""

    def __init__(self, host: CellHost[Cell], cell: int, contract: str) -> None:
        """`contract` is one that the keyed actors handle."""
        self._host = host
        self._here: Final = Address(host.slot, cell)
        self._contract: Final = contract
        self._given: Final[dict[int, int]] = {}
        """For each released share the version of the directory that names its new owner."""
        self._taken: Final[dict[int, tuple[Shares, asyncio.Task[None]]]] = {}
        """For each share that was taken over, the shares of that time, and the way to get it."""
        self._checked: Shares | None = None
        self._passing = 0

    def _shares(self) -> Shares | None:
        return self._host.directory.shares(self._contract)

    def owner(self, key: str) -> Address | None:
        """The owner of a key; None while that is not known here."""
        shares = self._shares()
        if shares is None:
            return None
        owner, given = shares.owner(key), self._given.get(shares.share_of(key), 0)
        return None if owner == self._here and given > self._host.directory.version else owner

    def owns(self, key: str) -> bool:
        """Whether the key belongs to this region."""
        return self.owner(key) == self._here

    def moved(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that have another owner now; none if nothing has changed since."""
        shares = self._shares()
        if shares is None or shares is self._checked:
            return []
        self._checked = shares
        return [key for key in keys if shares.owner(key) != self._here]

    def give(self, request: ReleaseShare) -> None:
        """Activate no key of a share, until a newer directory says otherwise."""
        known = self._given.get(request.share, 0)
        self._given[request.share] = max(known, request.version)

    def pass_on(self, key: str, item: Any, takes: Callable[[Any], None], fails: Fails) -> None:
        """Give a message for a key of another region to it, a moment later.

        `takes` gets the item if the key belongs here by then, and `fails` gets it with the error
        when it cannot go on.
        """
        if self._passing >= PASSING_MAX:
            fails(item, self._no_room(key))
            return
        self._passing += 1
        self._host.run_task(self._pass_on(key, item, takes, fails))

    async def _pass_on(
        self, key: str, item: Any, takes: Callable[[Any], None], fails: Fails
    ) -> None:
        try:
            is_ask = type(item) is Ask
            until_s = item.deadline_s if is_ask else self._host.now() + RELEASE_S
            await asyncio.sleep(PASS_S)
            # The region has released the key, and its directory is on its way.
            while (owner := self.owner(key)) is None and self._host.now() < until_s:  # noqa: ASYNC110
                await asyncio.sleep(PASS_S)
            left_s = until_s - self._host.now()
            if owner == self._here:
                takes(item)
            elif owner is None or left_s <= 0.0:
                fails(item, self._no_room(key))
            elif is_ask:
                item.reply(await self._host.ask(owner, item.message, left_s))
            else:
                self._host.tell(owner, item)
        except CallboardError as error:
            fails(item, error)
        finally:
            self._passing -= 1

    def _no_room(self, key: str) -> ActorNotFound:
        return ActorNotFound(
            f"the key {key!r} is on its way to another host than {self._here.slot}.",
            advice="Send the message again.",
            may_have_run=False,
        )

    async def take_over(self, key: str) -> None:
        """Wait until the earlier owner of a key has released its share, or is gone."""
        shares = self._shares()
        if shares is None or shares.before(key) == self._here:
            return
        share = shares.share_of(key)
        known, task = self._taken.get(share, (None, None))
        if task is None or known is not shares:
            asks = self._ask(shares.before(key), share, len(shares))
            task = self._host.start_task(asks)
            self._taken[share] = shares, task
        await asyncio.shield(task)

    async def _ask(self, before: Address, share: int, shares: int) -> None:
        host = self._host
        until_s = host.now() + RELEASE_S
        while (left_s := until_s - host.now()) > 0.0:
            request = ReleaseShare(
                cell=before.cell, share=share, shares=shares, version=host.directory.version
            )
            try:
                await host.ask(Address(before.slot, CONTROL_CELL), request, left_s)
            except HostLost:
                return  # Its process has ended, or the slot is gone: nothing of it is active.
            except CallboardError as error:
                LOGGER.info("share %d of %s is asked for again: %s", share, self._contract, error)
                await asyncio.sleep(AGAIN_S)
            else:
                return
        LOGGER.warning(
            "share %d of %s is taken over without an answer of %s; its fencing token is higher.",
            share, self._contract, before,
        )  # fmt: skip
