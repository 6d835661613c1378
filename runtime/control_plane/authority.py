"""The authority of a root: whether it may act, or a newer root may have taken its place. Pure.

A root in a driver is the only one of its system, and always has authority. A detached root can be
replaced while it still runs: its node is cut off, the cluster takes it for dead, and starts another
one. So each root claims an epoch in the ledger, and asks the ledger again and again whether its
claim is still there and the newest.

| state | event | next | action |
|---|---|---|---|
| (new) | the ledger has its claim, and all earlier roots have surely ended | lapsed | asks |
| (new) | the ledger has its claim, and an earlier root may still act | waiting | asks |
| waiting | `WAIT_S` after the claim | held or lapsed | |
| lapsed | confirmed | held | acts until `AUTHORITY_S` after it *asked* |
| held | confirmed | held | acts for longer |
| held | no confirmation in time | lapsed | does not act |
| lapsed | for `END_S` | over | its process ends |
| any | the ledger has a newer claim, or not this one any more | over | its process ends |

Invariants: the authority that a confirmation gives begins when the root asked, so an answer that
was long under way gives less; nothing brings back an authority that is over; two roots never have
authority at the same time. The last one holds because a confirmation for the old root was asked for
before the new one's claim was answered, and `AUTHORITY_S` of the slowest clock is shorter than
`WAIT_S` of the fastest: rates may differ from each other by 15 %. The clock also
counts the time of a suspended machine, where the platform has such a clock.
"""

import math
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

__all__ = [
    "AUTHORITY_S",
    "CONFIRM_EVERY_S",
    "END_S",
    "UNLIMITED",
    "WAIT_S",
    "Authority",
    "AuthorityCore",
    "DriverAuthority",
    "Standing",
]

AUTHORITY_S: Final = 3.0
"""How long a root may act after it has asked for a confirmation that it got."""
WAIT_S: Final = 3.5
"""How long a new root waits after its claim, when an earlier one may still act."""
CONFIRM_EVERY_S: Final = 0.5
"""The time between two confirmations."""
END_S: Final = 15.0
"""How long a root without authority waits for a confirmation before its process ends."""


class Standing(Enum):
    """The states of a root's authority."""

    WAITING = "waiting"
    HELD = "held"
    LAPSED = "lapsed"
    OVER = "over"


class AuthorityCore:
    """The authority of one root; times are of its own clock, in seconds, which never goes back."""

    def __init__(self, claimed_s: float, *, is_alone: bool) -> None:
        """`claimed_s` is the time at which the ledger had the claim, for sure.

        `is_alone` says that the process of the earlier root, if any, has surely ended.
        """
        self.acts_from_s: Final = claimed_s if is_alone else claimed_s + WAIT_S
        """From then on no earlier root can act."""
        self._until_s = -math.inf
        self._last_s = self.acts_from_s
        """The end of the last authority, from which `END_S` counts."""
        self._is_over = False

    def confirmed(self, asked_s: float) -> None:
        """The ledger has this root's claim as the newest; the question began at `asked_s`."""
        self._until_s = max(self._until_s, asked_s + AUTHORITY_S)
        self._last_s = max(self._last_s, self._until_s)

    def refused(self) -> None:
        """The ledger has a newer claim, or not this one."""
        self._is_over = True

    def standing(self, now: float) -> Standing:
        """Its state at this time. `OVER` stays, once it has been returned."""
        if self._is_over or now >= self._last_s + END_S:
            self._is_over = True
            return Standing.OVER
        if now < self.acts_from_s:
            return Standing.WAITING
        return Standing.HELD if now < self._until_s else Standing.LAPSED

    def may_act(self, now: float) -> bool:
        """Whether the root may start, stop, renew and write at this time."""
        return self.standing(now) is Standing.HELD

    def renews_until_s(self, now: float) -> float:
        """The time until which the root may renew leases; `-inf` without authority."""
        return self._until_s if self.may_act(now) else -math.inf


class Authority(Protocol):
    """The authority of a root, as the control plane uses it."""

    @property
    def acts_from_s(self) -> float:
        """The time of the root's own clock from which on no earlier root acts; `-inf` for none."""

    def may_act(self) -> bool:
        """Whether the root may act now. Any thread may ask."""

    def renews_until_s(self) -> float:
        """The time of the root's own clock until which it may renew leases. Any thread may ask."""

    async def held(self) -> None:
        """Return as soon as the root may act; never once its authority is over."""

    async def check(self) -> None:
        """Like `held`, for a request that somebody waits for.

        Raises `ClusterError` when the root has no authority for too long.
        """


class DriverAuthority:
    """The authority of a root in a driver: no other root can take its place.

    It renews leases only until the time that `renews_until_s` gives.
    """

    acts_from_s = -math.inf

    def __init__(self, renews_until_s: Callable[[], float]) -> None:
        self._renews_until_s = renews_until_s

    def may_act(self) -> bool:
        """True: see `Authority`."""
        return True

    def renews_until_s(self) -> float:
        """See `Authority`."""
        return self._renews_until_s()

    async def held(self) -> None:
        """Return at once."""

    async def check(self) -> None:
        """Return at once."""


UNLIMITED: Final[Authority] = DriverAuthority(lambda: math.inf)
"""The authority of a root that nothing limits."""
