"""Configuration: packages that gates judge, and roll-outs in waves that are taken back."""

from callboard.actors.configuration.package import (
    ChangeType,
    ComponentType,
    ConfigurationChange,
    ConfigurationComponent,
    ConfigurationDependency,
    ConfigurationDeploymentError,
    ConfigurationMetadata,
    ConfigurationPackage,
    ConfigurationValidationError,
    DeploymentTarget,
    Finding,
    RollbackData,
    Severity,
    ValidationResult,
)
from callboard.actors.configuration.permissions import (
    Effect,
    PermissionDecision,
    PermissionRule,
    Places,
    decide,
    parse_rule,
)
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
from callboard.actors.configuration.validation.compatibility import changes_between
from callboard.actors.configuration.validation.json_schemas import SchemaBreak, schema_breaks
from callboard.actors.configuration.validation.policy import Condition, Policy
from callboard.actors.configuration.validation.secrets import KeywordScanner
from callboard.actors.configuration.validation.security import SecretFound, SecretScanner
from callboard.actors.configuration.validation.stages import gates_stage
from callboard.actors.kernel.snapshot import Snapshot
from callboard.runtime.api.configuration import load_configuration, policy_of, require_valid
from callboard.runtime.api.rollouts import start_rollouts
from callboard.runtime.configuration.git import SourceVanished

__all__ = [
    "CONTROLLER",
    "ApprovalPolicy",
    "ChangeRollout",
    "ChangeType",
    "Check",
    "ComponentType",
    "Condition",
    "ConfigurationChange",
    "ConfigurationComponent",
    "ConfigurationDependency",
    "ConfigurationDeploymentError",
    "ConfigurationMetadata",
    "ConfigurationPackage",
    "ConfigurationValidationError",
    "Configured",
    "DeploymentTarget",
    "Effect",
    "Finding",
    "KeywordScanner",
    "ObserveTargets",
    "PermissionDecision",
    "PermissionRule",
    "Places",
    "Policy",
    "ProposeRollout",
    "QueryRollouts",
    "ReportAlert",
    "RollbackData",
    "RolloutController",
    "RolloutPlan",
    "RolloutState",
    "RolloutView",
    "RolloutsPage",
    "SchemaBreak",
    "SecretFound",
    "SecretScanner",
    "Severity",
    "Snapshot",
    "SourceVanished",
    "TargetState",
    "ValidationResult",
    "WaveSpec",
    "WaveStep",
    "by_type",
    "changes_between",
    "decide",
    "exponential",
    "gates_stage",
    "linear",
    "load_configuration",
    "parse_rule",
    "policy_of",
    "require_valid",
    "schema_breaks",
    "start_rollouts",
]
