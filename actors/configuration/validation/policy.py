"""Policies: how severe each rule is, and conditions over the fields of components.

Conditions are the expressions of pipelines. They have no loops, no attributes and no calls but a
few functions, so they end, and a file in YAML can carry them. Google's CEL would add a second
language for the same, and a dependency.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shown
from callboard.messages.core.yaml_fields import Fields, Problems, document

from ...pipelines.expressions import Expression
from ..formats.draft import Draft
from ..package import ComponentType, Severity
from ..rules import RULES

__all__ = ["CompatibilityMode", "Condition", "Policy", "read_policy"]

ORDER: Final = (Severity.FACT, Severity.WARNING, Severity.ERROR)
CompatibilityMode = str
MODES: Final = frozenset(
    f"{mode}{suffix}" for mode in ("BACKWARD", "FORWARD", "FULL") for suffix in ("", "_TRANSITIVE")
) | {"NONE"}
CONDITIONS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold for each component of some kinds."""

    name: str
    """Its name, which findings have as their subject."""
    kinds: frozenset[ComponentType]
    """The types of components that it is for; empty: all."""
    require: Expression
    """What must hold."""
    message: str = ""
    """What a finding says."""
    severity: Severity = Severity.ERROR
    """The severity of a finding."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a deployer decides about findings."""

    severities: Mapping[str, Severity] = field(default_factory=dict)
    """Severities that replace those of the rules."""
    conditions: tuple[Condition, ...] = ()
    """What must hold besides the rules."""
    compatibility: Mapping[ComponentType, CompatibilityMode] = field(default_factory=dict)
    """The mode of each type; `BACKWARD` where none is given."""

    def severity_of(self, rule: str) -> Severity:
        """How severe a rule is under this policy."""
        return self.severities.get(rule, RULES[rule].severity)

    def raised_by(self, other: "Policy") -> "Policy":
        """This policy with that of a package, which makes no rule of this one weaker."""
        severities = dict(self.severities)
        for rule, severity in other.severities.items():
            severities[rule] = max(severity, self.severity_of(rule), key=ORDER.index)
        return Policy(
            severities,
            self.conditions + other.conditions,
            {**other.compatibility, **self.compatibility},
        )


def read_policy(text: str, file: str, problems: Problems, *, of_package: bool = False) -> Policy:
    """The policy in a file; what is wrong with it is a problem, and left out.

    A package's own policy cannot use `matches`: its patterns could take for ever.
    """
    top = document(text, file, problems)
    if top is None:
        return Policy()
    severities = {}
    for rule, severity in top.texts("severities").items():
        if rule not in RULES:
            top.problem(f"there is no rule {shown(rule)}", "severities")
        elif severity not in ORDER:
            top.problem(f"{rule}: choose one of error, warning, fact", "severities")
        else:
            severities[rule] = Severity(severity)
    modes = {}
    for kind, mode in top.texts("compatibility").items():
        if kind not in set(ComponentType) or mode not in MODES:
            top.problem(f"{shown(kind)}: {shown(mode)} is no mode of a type", "compatibility")
        else:
            modes[ComponentType(kind)] = mode
    conditions = tuple(_conditions(top, of_package=of_package))
    if len(conditions) > CONDITIONS_MAX:
        top.problem(f"there are more than {CONDITIONS_MAX} policies", "policies")
    top.finish()
    return Policy(severities, conditions[:CONDITIONS_MAX], modes)


def _conditions(top: Fields, *, of_package: bool) -> Iterator[Condition]:
    for fields in top.mappings("policies", "policy"):
        name = fields.text("name")
        kinds = fields.list_of_texts("kinds", _kind)
        require = fields.read("require", Expression, None)
        if require is None:
            fields.problem("require is missing")
        elif of_package and "matches" in require.text:
            fields.problem("a package's policy cannot use matches", "require")
            require = None
        severity = fields.read("severity", _severity, Severity.ERROR)
        message = fields.text("message", default="")
        fields.finish()
        if require is not None:
            yield Condition(name, frozenset(kinds), require, message, severity)


def _kind(text: str) -> ComponentType:
    if text not in set(ComponentType):
        raise UsageError(f"{shown(text)} is no type of components.")
    return ComponentType(text)


def _severity(text: str) -> Severity:
    if text not in ORDER:
        raise UsageError(f"{shown(text)} is none of error, warning, fact.")
    return Severity(text)


class _Row(dict[str, Any]):
    """The fields of a component; those that it does not have are None."""

    def __missing__(self, name: str) -> Any:
        # Functions and constants of expressions are looked up here first.
        if name.startswith("·"):
            raise KeyError(name)
        return None


def check_conditions(policy: Policy, draft: Draft) -> None:
    """Add a finding for each condition that a component does not fulfil."""
    if not policy.conditions:
        return
    row = _Row({str(name).replace("-", "_"): value for name, value in draft.fields.items()})
    row |= {
        "type": str(draft.type),
        "name": draft.name,
        "path": draft.path,
        "plugin": draft.plugin,
        "tools": list(draft.tools),
        "body": draft.body,
    }
    for condition in policy.conditions:
        if condition.kinds and draft.type not in condition.kinds:
            continue
        try:
            holds = bool(condition.require.of_row(row))
        except Exception as error:  # noqa: BLE001 - the operators of expressions raise anything
            draft.note(
                "policy-failed", f"{condition.name}: {error!s:.200}.", subject=condition.name
            )
            continue
        if not holds:
            message = condition.message or f"{condition.require.text:.200} does not hold"
            draft.note("policy-violated", f"{condition.name}: {message}.", subject=condition.name)
            draft.findings[-1] = draft.findings[-1].model_copy(
                update={"severity": condition.severity}
            )
