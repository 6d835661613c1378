"""The events of roll-outs, as the journal keeps them. A fold over them gives the state of now.

`at` is in seconds since 1970. Versions are digests; the empty one means no configuration.
"""

from pydantic import Field

from callboard.messages.core.contract import Contract

from .plan import RolloutPlan
from .states import RolloutState, WaveStep
from .verdicts import Verdict

__all__ = [
    "EVENTS",
    "Joined",
    "OffersAnswered",
    "OffersMade",
    "PackageProposed",
    "RolloutMoved",
    "TargetsGone",
    "TargetsJoined",
    "TargetsLost",
]

Joined = tuple[str, str, str, str]
"""The name of a target, its type, the component that it is bound to, and its active version."""


class PackageProposed(Contract, name="callboard.configuration.package_proposed"):
    """A roll-out begins its life as a draft."""

    at: float
    rollout: str
    package: str
    """The name that all versions of a package share."""
    version: str
    components: dict[str, str]
    """For each component of the package its version."""
    plan: RolloutPlan
    author: str
    reason: str = ""
    touches: tuple[str, ...] = ()
    """What it changes that may need an approval."""
    at_once: bool = False
    """Whether all targets get it at once, judged by their health alone."""


class RolloutMoved(Contract, name="callboard.configuration.rollout_moved"):
    """A roll-out has made a step."""

    at: float
    rollout: str
    state: RolloutState
    step: WaveStep = WaveStep.NONE
    wave: int = -1
    """The newest wave that has the new version, from 0; -1 for none."""
    verdict: Verdict | None = None
    reason: str = ""
    by: str = ""
    """Who has caused it; empty for the controller itself."""


class TargetsJoined(Contract, name="callboard.configuration.targets_joined"):
    """Targets have started on a host, or have come back."""

    at: float
    host: int
    targets: tuple[Joined, ...]


class TargetsGone(Contract, name="callboard.configuration.targets_gone"):
    """Targets have ended for good."""

    at: float
    targets: tuple[str, ...]


class TargetsLost(Contract, name="callboard.configuration.targets_lost"):
    """A host with all its targets does not answer any more."""

    at: float
    host: int


class OffersMade(Contract, name="callboard.configuration.offers_made"):
    """One version of one component goes to some targets, in this order."""

    at: float
    nonce: int
    component: str
    version: str
    targets: tuple[str, ...]


class OffersAnswered(Contract, name="callboard.configuration.offers_answered"):
    """Some targets have answered an offer, or have not."""

    at: float
    version: str
    acked: tuple[str, ...] = ()
    draining: tuple[str, ...] = ()
    nacked: tuple[tuple[str, str, str | None], ...] = ()
    """Names, why they refuse, and the version that stays active; None if nobody knows."""
    timed_out: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = Field(default=())


EVENTS = (
    PackageProposed, RolloutMoved, TargetsJoined, TargetsGone, TargetsLost, OffersMade,
    OffersAnswered,
)  # fmt: skip
