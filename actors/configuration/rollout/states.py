"""The states of a roll-out and of its targets, and the steps between them.

| from | what happens | to |
|---|---|---|
| draft | validation has ended | validated, rejected |
| validated | enough principals agree, or none need to | approved |
| approved | the versions of now are stored | backed up |
| backed up | no other roll-out has one of its components | rolling |
| rolling, offering | each target of the wave has answered, or cannot be reached | settling |
| settling | the time to settle is over | judging |
| judging | the verdict is pass | baking |
| judging | the verdict is inconclusive, no data or error | paused |
| baking | the time to bake is over | the next wave's offering, or succeeded |
| rolling, paused | a verdict is fail, a deadline has passed, somebody aborts | rolling back |
| paused | somebody resumes | rolling, as it was; judging begins again |
| rolling back | each reachable target has the version from before | rolled back |
| rolling back | a target refuses the version from before, or time is up | roll-back failed |
| roll-back failed | somebody resumes | rolling back |
| draft, validated, approved, backed up | a deadline has passed, somebody aborts | rejected |
| any before succeeded, roll-back failed | a newer version of the package begins | superseded |

Each state but the last ones has a deadline. Where a roll-back has failed, targets keep what they
have until somebody resumes it, takes another version back at once, or rolls out a newer one. Checks
count in each step of rolling and while it is paused. `STEPS` and `WAVE_STEPS` are this table as
data; a step that is not in them is a defect.
"""

import enum
from collections.abc import Mapping
from typing import Final

__all__ = ["ACTIVE", "ENDED", "STEPS", "WAVE_STEPS", "RolloutState", "TargetState", "WaveStep"]


@enum.unique
class RolloutState(enum.StrEnum):
    """Where a roll-out is."""

    DRAFT = "draft"
    VALIDATED = "validated"
    REJECTED = "rejected"
    APPROVED = "approved"
    BACKED_UP = "backed_up"
    ROLLING = "rolling"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    SUPERSEDED = "superseded"


@enum.unique
class WaveStep(enum.StrEnum):
    """Where the newest wave of a roll-out is."""

    NONE = ""
    """No wave has begun, or the roll-out goes back."""
    OFFERING = "offering"
    SETTLING = "settling"
    JUDGING = "judging"
    BAKING = "baking"


@enum.unique
class TargetState(enum.StrEnum):
    """How a target stands to its newest offer."""

    UNKNOWN = "unknown"
    """It has joined, and needs no offer or waits for one."""
    OFFERED = "offered"
    """An offer is outstanding."""
    ACKED = "acked"
    """The version that was offered is active."""
    NACKED = "nacked"
    """It has refused, and the version from before stays active."""
    TIMED_OUT = "timed_out"
    """Its host answers, and the target did not: what is active is not known."""
    UNREACHABLE = "unreachable"
    """Its host did not answer: what is active is not known."""
    DRAINING = "draining"
    """The version is active, and older work goes on under the version from before."""


_S: Final = RolloutState
STEPS: Final[Mapping[RolloutState, frozenset[RolloutState]]] = {
    _S.DRAFT: frozenset({_S.VALIDATED, _S.REJECTED, _S.SUPERSEDED}),
    _S.VALIDATED: frozenset({_S.APPROVED, _S.REJECTED, _S.SUPERSEDED}),
    _S.APPROVED: frozenset({_S.BACKED_UP, _S.REJECTED, _S.SUPERSEDED}),
    _S.BACKED_UP: frozenset({_S.ROLLING, _S.SUCCEEDED, _S.REJECTED, _S.SUPERSEDED}),
    _S.ROLLING: frozenset({_S.ROLLING, _S.PAUSED, _S.SUCCEEDED, _S.ROLLING_BACK, _S.SUPERSEDED}),
    _S.PAUSED: frozenset({_S.ROLLING, _S.ROLLING_BACK, _S.SUPERSEDED}),
    _S.ROLLING_BACK: frozenset(
        {_S.ROLLING_BACK, _S.ROLLED_BACK, _S.ROLLBACK_FAILED, _S.SUPERSEDED}
    ),
    _S.ROLLBACK_FAILED: frozenset({_S.ROLLING_BACK, _S.SUPERSEDED}),
    _S.REJECTED: frozenset(),
    _S.SUCCEEDED: frozenset(),
    _S.ROLLED_BACK: frozenset(),
    _S.SUPERSEDED: frozenset(),
}
"""The steps of a roll-out. Only one without targets goes from backed up to succeeded."""

WAVE_STEPS: Final[Mapping[WaveStep, frozenset[WaveStep]]] = {
    WaveStep.NONE: frozenset({WaveStep.OFFERING}),
    WaveStep.OFFERING: frozenset({WaveStep.SETTLING}),
    WaveStep.SETTLING: frozenset({WaveStep.JUDGING}),
    WaveStep.JUDGING: frozenset({WaveStep.JUDGING, WaveStep.BAKING}),
    WaveStep.BAKING: frozenset({WaveStep.OFFERING, WaveStep.JUDGING}),
}
"""The steps of waves while rolling. After a restart of the controller, judging begins again."""

ACTIVE: Final = frozenset({_S.ROLLING, _S.PAUSED, _S.ROLLING_BACK, _S.ROLLBACK_FAILED})
"""The states in which a roll-out has its components for itself: nothing else may change them."""
ENDED: Final = frozenset(
    {_S.REJECTED, _S.SUCCEEDED, _S.ROLLED_BACK, _S.ROLLBACK_FAILED, _S.SUPERSEDED}
)
"""The states in which nothing happens by itself."""
