"""The authority of a detached root, which it confirms at its ledger; see `authority.py`."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from callboard.messages.core.errors import ClusterError

from ..control_plane.authority import AUTHORITY_S, CONFIRM_EVERY_S, AuthorityCore, Standing
from ..control_plane.records import CLAIM
from .ports import RootLedger

__all__ = ["Claim", "RootAuthority", "claim_epoch"]

LOGGER: Final = logging.getLogger("callboard.root")
CLAIM_RETRY_S: Final = 0.5


class Claim(NamedTuple):
    """A root's claim of an epoch, as the ledger has it."""

    epoch: int
    value: bytes
    """Its process, and what tells it apart from all others."""
    earlier: tuple[bytes, ...]
    """The claims of the roots before it that the ledger has."""


async def claim_epoch(
    ledger: RootLedger, newest: int, claimed: Sequence[int], value: bytes
) -> Claim:
    """Claim the first epoch above `newest` that is free, however long that takes.

    `claimed` has the epochs of the claims that the ledger has.
    """
    epoch, before = newest + 1, list(claimed)
    while True:
        try:
            key = f"{CLAIM}{epoch}"
            # After a lost answer the entry is there, with this value.
            if not await ledger.add(key, value) and await _read(ledger, key) != value:
                before.append(epoch)
                epoch += 1
                continue
            found = await ledger.read_some([f"{CLAIM}{other}" for other in before])
            return Claim(epoch, value, tuple(found.values()))
        except ClusterError as error:
            LOGGER.warning("the epoch is claimed again: %s", error)
            await asyncio.sleep(CLAIM_RETRY_S)


async def _read(ledger: RootLedger, key: str) -> bytes | None:
    return (await ledger.read_some([key])).get(key)


class RootAuthority:
    """See `Authority`. `on_over` is called once, with the reason, when the process must end.

    `claimed_s` and `is_alone`: see `AuthorityCore`.
    """

    def __init__(
        self,
        ledger: RootLedger,
        claim: Claim,
        clock: Callable[[], float],
        claimed_s: float,
        on_over: Callable[[str], None],
        *,
        is_alone: bool,
    ) -> None:
        self.epoch: Final = claim.epoch
        self._ledger = ledger
        self._own, self._value = f"{CLAIM}{claim.epoch}", claim.value
        self._next = f"{CLAIM}{claim.epoch + 1}"
        self.clock: Final = clock
        """The clock of all times here; it also counts the time of a suspended machine."""
        self._on_over = on_over
        self._core = AuthorityCore(claimed_s, is_alone=is_alone)
        self._waiting: list[asyncio.Future[None]] = []
        self._reason = "its ledger has not confirmed it for too long"
        self._keeping: Final = asyncio.ensure_future(self._keep())

    @property
    def acts_from_s(self) -> float:
        """See `Authority`."""
        return self._core.acts_from_s

    def may_act(self) -> bool:
        """See `Authority`."""
        return self._core.may_act(self.clock())

    def renews_until_s(self) -> float:
        """See `Authority`."""
        return self._core.renews_until_s(self.clock())

    async def held(self) -> None:
        """See `Authority`."""
        while not self.may_act():
            changed = asyncio.get_running_loop().create_future()
            self._waiting.append(changed)
            await changed

    async def check(self) -> None:
        """See `Authority`."""
        try:
            async with asyncio.timeout(AUTHORITY_S):
                await self.held()
        except TimeoutError:
            raise ClusterError(
                "this root may not act now: the cluster's control store has not confirmed that it "
                "is the newest root of its system.",
                advice="Try again: its node may be cut off, or another root is taking over.",
            ) from None

    def close(self) -> None:
        """Confirm no more: the system ends, and its ledger is erased."""
        self._keeping.cancel()

    async def _keep(self) -> None:
        core, standing = self._core, Standing.WAITING
        while standing is not Standing.OVER:
            asked_s = self.clock()
            with contextlib.suppress(TimeoutError, ClusterError):
                async with asyncio.timeout(AUTHORITY_S):
                    self._take(await self._ledger.read_some([self._own, self._next]), asked_s)
            before, standing = standing, core.standing(self.clock())
            if standing is not before:
                level = logging.WARNING if standing is Standing.LAPSED else logging.INFO
                LOGGER.log(level, "the authority of this root is %s", standing.value)
            waiting, self._waiting = self._waiting, []
            for changed in waiting:
                if not changed.done():
                    changed.set_result(None)
            if standing is not Standing.OVER:
                await asyncio.sleep(CONFIRM_EVERY_S)
        self._on_over(self._reason)

    def _take(self, found: Mapping[str, bytes], asked_s: float) -> None:
        if self._next in found:
            self._reason = "a newer root has taken its place"
        elif found.get(self._own) != self._value:
            self._reason = "its ledger was erased, or belongs to another system"
        else:
            self._core.confirmed(asked_s)
            return
        self._core.refused()
