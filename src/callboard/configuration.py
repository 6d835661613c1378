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
    Decision,
    Effect,
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
from callboard.actors.configuration.validation.stages import GATE_STAGE
from callboard.runtime.api.configuration import load_configuration, policy_of, require_valid
from callboard.runtime.configuration.git import SourceVanished

__all__ = [
    "GATE_STAGE",
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
    "Decision",
    "DeploymentTarget",
    "Effect",
    "Finding",
    "KeywordScanner",
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
    "load_configuration",
    "parse_rule",
    "policy_of",
    "require_valid",
    "schema_breaks",
]
