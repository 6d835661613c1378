"""Configuration: targets with a snapshot, and roll-outs in waves that are taken back."""

from callboard.actors.configuration.rollout.controller import (
    CONTROLLER,
    RolloutController,
)
from callboard.actors.configuration.rollout.messages import (
    ChangeRollout,
    ObserveTargets,
    ProposeRollout,
    QueryRollouts,
    ReportAlert,
    RolloutsPage,
    RolloutView,
)
from callboard.actors.configuration.rollout.plan import (
    ApprovalPolicy,
    Check,
    RolloutPlan,
    WaveSpec,
    by_type,
    exponential,
    linear,
)
from callboard.actors.configuration.rollout.states import RolloutState, TargetState, WaveStep
from callboard.actors.configuration.rollout.target import Configured
from callboard.actors.kernel.snapshot import Snapshot
from callboard.runtime.api.rollouts import start_rollouts

__all__ = [
    "CONTROLLER",
    "ApprovalPolicy",
    "ChangeRollout",
    "Check",
    "Configured",
    "ObserveTargets",
    "ProposeRollout",
    "QueryRollouts",
    "ReportAlert",
    "RolloutController",
    "RolloutPlan",
    "RolloutState",
    "RolloutView",
    "RolloutsPage",
    "Snapshot",
    "TargetState",
    "WaveSpec",
    "WaveStep",
    "by_type",
    "exponential",
    "linear",
    "start_rollouts",
]
