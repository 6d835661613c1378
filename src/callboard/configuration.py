"""Configuration as packages: read from folders and Git, judged by gates, and permission rules."""

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
from callboard.actors.configuration.validation.compatibility import changes_between
from callboard.actors.configuration.validation.json_schemas import SchemaBreak, schema_breaks
from callboard.actors.configuration.validation.policy import Condition, Policy
from callboard.actors.configuration.validation.secrets import KeywordScanner
from callboard.actors.configuration.validation.security import SecretFound, SecretScanner
from callboard.actors.configuration.validation.stages import gates_stage
from callboard.runtime.api.configuration import load_configuration, policy_of, require_valid
from callboard.runtime.configuration.git import SourceVanished

__all__ = [
    "ChangeType",
    "ComponentType",
    "Condition",
    "ConfigurationChange",
    "ConfigurationComponent",
    "ConfigurationDependency",
    "ConfigurationDeploymentError",
    "ConfigurationMetadata",
    "ConfigurationPackage",
    "ConfigurationValidationError",
    "DeploymentTarget",
    "Effect",
    "Finding",
    "KeywordScanner",
    "PermissionDecision",
    "PermissionRule",
    "Places",
    "Policy",
    "RollbackData",
    "SchemaBreak",
    "SecretFound",
    "SecretScanner",
    "Severity",
    "SourceVanished",
    "ValidationResult",
    "changes_between",
    "decide",
    "gates_stage",
    "load_configuration",
    "parse_rule",
    "policy_of",
    "require_valid",
    "schema_breaks",
]
