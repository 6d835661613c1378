"""What the controller of roll-outs, the distributors of hosts, targets and users say."""

from typing import Literal

from pydantic import Field

from callboard.messages.core.contract import Contract, Request

from .events import Joined
from .plan import RolloutPlan
from .states import RolloutState, WaveStep
from .verdicts import Verdict

__all__ = [
    "AnnounceTargets",
    "ChangeRollout",
    "ComponentContent",
    "ConfigurationJoined",
    "ConfigurationTaken",
    "FetchComponent",
    "JoinConfiguration",
    "JoinTargets",
    "ObserveTargets",
    "OfferVersion",
    "ProposeRollout",
    "QueryRollouts",
    "ReportAlert",
    "ReportHealth",
    "RolloutView",
    "RolloutsPage",
    "TakeConfiguration",
    "TargetsAnnounced",
    "TargetsWanted",
    "VersionAnswered",
]

TARGETS_MAX = 20_000
CONTENT_BYTES_MAX = 2**20


# --- on one host ------------------------------------------------------------------------------


class ConfigurationTaken(Contract, name="callboard.configuration.taken"):
    """Whether an actor takes a snapshot."""

    refusal: str = ""
    """Why it does not; empty if it does."""


class TakeConfiguration(
    Request[ConfigurationTaken], name="callboard.configuration.take_configuration"
):
    """Take the snapshot that the distributor has put down for this actor."""

    version: str


class ConfigurationJoined(Contract, name="callboard.configuration.joined"):
    """The version that an actor starts with; empty for none."""

    version: str


class JoinConfiguration(
    Request[ConfigurationJoined], name="callboard.configuration.join_configuration"
):
    """An actor starts; the reply comes once it has its configuration, or there is none for it."""

    cell: int


# --- between a host and the controller ----------------------------------------------------------


class TargetsWanted(Contract, name="callboard.configuration.targets_wanted"):
    """Those of the targets that get an offer next."""

    targets: tuple[str, ...]


class JoinTargets(Request[TargetsWanted], name="callboard.configuration.join_targets"):
    """Targets have started on a host."""

    host: int
    targets: tuple[Joined, ...] = Field(max_length=TARGETS_MAX)


class TargetsAnnounced(Contract, name="callboard.configuration.targets_announced"):
    """All targets of a host join again."""

    targets: int


class AnnounceTargets(Request[TargetsAnnounced], name="callboard.configuration.announce_targets"):
    """Let all targets of a host join again."""


class VersionAnswered(Contract, name="callboard.configuration.version_answered"):
    """What the targets of a host say to an offer; who is not named is not there any more."""

    acked: tuple[str, ...] = ()
    nacked: tuple[tuple[str, str, str | None], ...] = ()
    """Names, why they refuse, and the version that stays active."""
    timed_out: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class OfferVersion(Request[VersionAnswered], name="callboard.configuration.offer_version"):
    """Some targets of a host should take a version."""

    nonce: int
    component: str
    version: str
    targets: tuple[str, ...] = Field(max_length=TARGETS_MAX)
    timeout_s: float = Field(gt=0.0)


class ComponentContent(Contract, name="callboard.configuration.component_content"):
    """The content of a version."""

    content: bytes


class FetchComponent(Request[ComponentContent], name="callboard.configuration.fetch_component"):
    """Get the content of a version."""

    version: str


class ReportHealth(Contract, name="callboard.configuration.report_health"):
    """A host is alive; of its targets it names each once under a version, and those not well."""

    host: int
    healthy: tuple[str, ...] = ()
    unhealthy: tuple[str, ...] = ()


# --- of users -----------------------------------------------------------------------------------


class RolloutView(Contract, name="callboard.configuration.rollout_view"):
    """A roll-out as it is now."""

    rollout: str
    """Its id."""
    package: str
    """The name that all versions of the package share."""
    version: str
    """The version of the package."""
    components: dict[str, str]
    """For each component its version."""
    state: RolloutState
    """Where it is."""
    step: WaveStep
    """Where its newest wave is."""
    wave: int
    """The newest wave that has the version, from 0; -1 for none."""
    waves: int
    """How many waves there are."""
    verdict: Verdict | None
    """The verdict of the last window; None before it."""
    reason: str
    """Why it is where it is."""
    author: str
    """Who has proposed it."""
    approved_by: tuple[str, ...]
    """Who has agreed."""
    since: float
    """When it made its last step, in seconds since 1970."""
    targets: int
    """The targets bound to its components."""
    by_state: dict[str, int]
    """How many of them are in each state."""
    active: int
    """How many of them have its version."""
    problems: dict[str, str]
    """The first targets that refused it, and why."""


class ProposeRollout(Request[RolloutView], name="callboard.configuration.propose_rollout"):
    """Begin a roll-out; a repetition with the same id changes nothing."""

    rollout: str
    """A new id; each attempt has its own."""
    package: str
    """The name that all versions of the package share."""
    version: str
    """The version of the package, for people."""
    contents: dict[str, bytes] = Field(default_factory=dict)
    """The content of each component; a stored one need not be given."""
    components: dict[str, str] = Field(default_factory=dict)
    """The versions of components whose content is stored."""
    plan: RolloutPlan = RolloutPlan()
    """Its waves, deadlines and checks."""
    author: str
    """Who proposes it; somebody else approves."""
    reason: str = ""
    """Why, for people."""
    touches: tuple[str, ...] = ()
    """What it changes that may need an approval."""
    at_once: bool = False
    """Whether all targets get it at once, judged by their health alone."""


class ChangeRollout(Request[RolloutView], name="callboard.configuration.change_rollout"):
    """Approve, pause, resume or abort a roll-out."""

    rollout: str
    """Its id."""
    change: Literal["approve", "pause", "resume", "abort"]
    """What to do."""
    by: str
    """Who does it."""
    reason: str = ""
    """Why, for people."""


class RolloutsPage(Contract, name="callboard.configuration.rollouts_page"):
    """Roll-outs, the newest first."""

    rollouts: tuple[RolloutView, ...]
    """The roll-outs."""


class QueryRollouts(Request[RolloutsPage], name="callboard.configuration.query_rollouts"):
    """Get one roll-out, or the newest ones."""

    rollout: str = ""
    """The id of one; empty for the newest ones."""
    limit: int = Field(default=20, ge=1, le=200)
    """How many at most."""


class ObserveTargets(Contract, name="callboard.configuration.observe_targets"):
    """Observations of one check: calls of targets, or probes."""

    check: str
    """The name of the check in the plan."""
    targets: tuple[tuple[str, int, int], ...] = Field(max_length=TARGETS_MAX)
    """The name of a target, how many observations were bad, and how many there were."""


class ReportAlert(Contract, name="callboard.configuration.report_alert"):
    """An alert fires, or has ended."""

    alert: str
    """Its name, as a plan names it."""
    is_firing: bool
    """Whether it fires."""
