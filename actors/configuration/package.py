"""Packages of configuration: what is validated, rolled out and rolled back as one.

A package is immutable, and its name is the SHA-256 of its canonical content: the same components
have the same name wherever they were read. Version, commit, author and reason are metadata, which
change nothing of the name.
"""

import enum
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Self

from pydantic import Field

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, UsageError

__all__ = [
    "ChangeType",
    "ComponentType",
    "ConfigurationChange",
    "ConfigurationComponent",
    "ConfigurationDependency",
    "ConfigurationDeploymentError",
    "ConfigurationMetadata",
    "ConfigurationPackage",
    "ConfigurationValidationError",
    "DeploymentTarget",
    "Finding",
    "RollbackData",
    "Severity",
    "ValidationResult",
    "canonical",
    "digest_of",
    "plain",
]

FINDINGS_SHOWN_MAX: Final = 20
DEPTH_MAX: Final = 60


@enum.unique
class ComponentType(enum.StrEnum):
    """What a component is."""

    AGENT = "agent"
    COMMAND = "command"
    SKILL = "skill"
    HOOK = "hook"
    MCP_SERVER = "mcp_server"
    PERMISSIONS = "permissions"
    SETTING = "setting"
    SERVICE = "service"
    INSTRUCTION = "instruction"
    """A `CLAUDE.md`, or a rule."""
    PLUGIN = "plugin"
    """A plugin, or a marketplace of plugins."""
    PIPELINE = "pipeline"
    ALERTS = "alerts"


@enum.unique
class Severity(enum.StrEnum):
    """What a finding means for its component."""

    ERROR = "error"
    """The component is rejected."""
    WARNING = "warning"
    """The component is accepted; somebody should read this."""
    FACT = "fact"
    """The component is accepted; a policy may ask for more."""


@enum.unique
class ChangeType(enum.StrEnum):
    """What a change does to a component."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Finding(Contract):
    """One thing that a gate has found."""

    rule: str
    """The id of the rule, such as `unknown-tool`."""
    severity: Severity
    """What it means for the component."""
    path: str
    """The file, from the root of the package."""
    line: int
    """From 1 on; 1 for a whole file."""
    message: str
    """What is wrong."""
    subject: str = ""
    """What exactly is meant, such as the name of the tool."""
    component: str = ""
    """The type and name of the component, such as `agent reviewer`."""
    suggestion: str = ""
    """What to do about it."""

    @property
    def code(self) -> str:
        """The rule with its subject: `unknown-tool:LS`."""
        return f"{self.rule}:{self.subject}" if self.subject else self.rule

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}: {self.severity} {self.rule}: {self.message}"
        return f"{place} {self.suggestion}" if self.suggestion else place


class ValidationResult(Contract):
    """All findings of a component or a package, and what follows from them."""

    findings: tuple[Finding, ...] = ()
    """Everything that was found, by file and line."""
    refusals: tuple[str, ...] = ()
    """Why the whole package is refused: leaving these parts out would permit more."""
    files: dict[str, str] = Field(default_factory=dict)
    """Of a package: what became of each file. `accepted`, `findings`, `rejected` or `ignored`."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that reject a component."""
        return tuple(found for found in self.findings if found.severity is Severity.ERROR)

    @property
    def is_valid(self) -> bool:
        """Whether nothing is rejected and nothing refused."""
        return not self.errors and not self.refusals

    @property
    def is_refused(self) -> bool:
        """Whether no part of the package may be used."""
        return bool(self.refusals)


class DeploymentTarget(Contract):
    """Where a component goes: actors and pools that are bound to it by this name."""

    name: str
    """The name that they are bound by."""
    kind: str = "actor"
    """`actor` or `pool`."""


class ConfigurationDependency(Contract):
    """What a component needs besides itself."""

    needed_by: str
    """The component, as findings name it."""
    type: ComponentType
    """What it needs."""
    name: str
    """Its name."""
    version: str = ""
    """A range of versions of a plugin; empty: any."""
    is_inside: bool = False
    """Whether a component of the same package answers it."""


class ConfigurationMetadata(Contract):
    """Who made a package of what, and why."""

    version: str = ""
    """A label, best as `major.minor.patch`. The name of a package is its digest."""
    source: str = ""
    """The folder, or the address of the repository."""
    commit: str = ""
    """The id of the commit; empty for a folder."""
    author: str = ""
    """Who made the commit."""
    reason: str = ""
    """Why: the first line of its message."""


class ConfigurationComponent(Contract):
    """One agent, command, rule set, service configuration and so on."""

    type: ComponentType
    """What it is."""
    name: str
    """Its name; with its plugin, as in `plugin:name`."""
    content: dict[str, Any]
    """Plain values. Of a text with fields: `fields` and `body`."""
    content_schema: dict[str, Any] = Field(default_factory=dict)
    """The JSON Schema of the content, where the package has one."""
    validation: ValidationResult = ValidationResult()
    """What was found in it."""
    targets: tuple[DeploymentTarget, ...] = ()
    """Where it goes; empty: to all that are bound to its name."""
    path: str = ""
    """Its file, from the root of the source."""

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of what the component says."""
        return digest_of([self.type, self.name, self.content, self.content_schema, self.targets])


class ConfigurationPackage(Contract):
    """The components that are accepted together, under one name."""

    package_id: str
    """The SHA-256 of the content."""
    version: str
    """The label of its metadata."""
    timestamp: datetime
    """When it was read."""
    components: tuple[ConfigurationComponent, ...]
    """What was accepted, in an order of its own."""
    dependencies: tuple[ConfigurationDependency, ...] = ()
    """What the components need."""
    metadata: ConfigurationMetadata = ConfigurationMetadata()
    """Who made it of what, and why."""

    @classmethod
    def of(
        cls,
        components: Iterable[ConfigurationComponent],
        *,
        timestamp: datetime,
        dependencies: Sequence[ConfigurationDependency] = (),
        metadata: ConfigurationMetadata | None = None,
    ) -> Self:
        """The package of these components, in an order of its own."""
        held = tuple(sorted(components, key=lambda one: (one.type, one.name, one.digest)))
        metadata = metadata or ConfigurationMetadata()
        return cls(
            package_id=package_digest(held),
            version=metadata.version,
            timestamp=timestamp,
            components=held,
            dependencies=tuple(dependencies),
            metadata=metadata,
        )

    def check(self) -> None:
        """Raise `ConfigurationValidationError` unless the name is that of the content."""
        if self.package_id != package_digest(self.components):
            raise ConfigurationValidationError(
                f"the package {self.package_id:.12} has other content than its name says.",
                advice="Read it again from its source.",
            )


class RollbackData(Contract):
    """What a change is taken back with."""

    package_id: str = ""
    """The package before; empty: there was none."""
    component: ConfigurationComponent | None = None
    """The component as it was; None: it was not there."""


class ConfigurationChange(Contract):
    """What changes with a component from one package to the next."""

    change_id: str
    """The same for the same change between the same packages."""
    package_id: str
    """The new package."""
    change_type: ChangeType
    """Whether the component is added, changed or removed."""
    component: str
    """Its type and name."""
    old_value: dict[str, Any] | None = None
    """Its content before; None: it was not there."""
    new_value: dict[str, Any] | None = None
    """Its content now; None: it is gone."""
    applied_at: datetime | None = None
    """None while it is only planned."""
    applied_by: str = ""
    """Who has brought it to the targets."""
    rollback_data: RollbackData = RollbackData()
    """What takes it back."""


class ConfigurationValidationError(UsageError):
    """A package is refused, or a part of it is rejected. `details["findings"]` has all of it."""

    code: ClassVar[str] = "configuration_validation"

    @classmethod
    def of(cls, result: ValidationResult) -> "ConfigurationValidationError":
        """The error for a result that is not valid."""
        lines = [*result.refusals, *map(str, result.errors)]
        more = len(lines) - FINDINGS_SHOWN_MAX
        shown = lines[:FINDINGS_SHOWN_MAX] + ([f"and {more:,} more"] if more > 0 else [])
        return cls(
            "the configuration is not valid:\n" + "\n".join(shown),
            advice="Correct these files, or validate without --strict to leave them out.",
            findings=[found.model_dump(mode="json") for found in result.findings],
        )


class ConfigurationDeploymentError(CallboardError):
    """A package could not be brought to its targets."""

    code: ClassVar[str] = "configuration_deployment"


def package_digest(components: Iterable[ConfigurationComponent]) -> str:
    return digest_of(sorted(component.digest for component in components))


def digest_of(value: Any) -> str:
    """The SHA-256, in hexadecimal digits, of plain values in their canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()


def canonical(value: Any) -> bytes:
    """Plain values as JSON with sorted keys and no spaces, in UTF-8."""
    return json.dumps(
        plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8", "surrogatepass")


def plain(value: Any, depth: int = 0) -> Any:
    """The same as JSON has it: YAML's dates, bytes and keys of other types become texts."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case _ if depth > DEPTH_MAX:
            raise UsageError(
                f"a configuration nests deeper than {DEPTH_MAX} levels.", advice="Make it flatter."
            )
        case Contract():
            return plain(value.model_dump(mode="json"), depth)
        case Mapping():
            return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner, depth + 1) for inner in value]
        case bytes():
            return value.hex()
        case set() | frozenset():
            return sorted((plain(inner, depth + 1) for inner in value), key=str)
        case _:
            return str(value)
