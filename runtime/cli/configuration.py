"""`callboard config validate`, `show` and `diff`: packages of configuration, without a system."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import click

from callboard.actors.configuration.package import (
    ConfigurationPackage,
    Finding,
    Severity,
    ValidationResult,
)
from callboard.actors.configuration.validation.compatibility import changes_between
from callboard.actors.configuration.validation.policy import Policy
from callboard.messages.core.errors import UsageError

from ..api.configuration import load_configuration, policy_of
from ..configuration.signing import make_key, read_public_key, sign_package, verify_package
from .figures import counted, echo
from .outcome import ExitCode

__all__ = ["diff", "key", "show", "sign", "validate", "verify"]

LINES_MAX: Final = 2_000
DIGITS: Final = 12


def _load(
    path: str, policy: Path | None, **options: Any
) -> tuple[ConfigurationPackage, ValidationResult]:
    return load_configuration(
        path, policy=Policy() if policy is None else policy_of(policy), **options
    )


def validate(
    *,
    path: str,
    strict: bool,
    facts: bool,
    before: str | None,
    policy: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Perform the command; `commands/` declares it."""
    old = () if before is None else (_load(before, policy, **{**options, "revision": ""})[0],)
    package, result = _load(path, policy, strict=strict, before=old, **options)
    if as_json:
        click.echo(json.dumps(_data(package, result)))
    else:
        _print(package, result, shows_facts=facts)
    if not result.is_valid:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _data(package: ConfigurationPackage, result: ValidationResult) -> dict[str, Any]:
    return {
        "package": package.package_id,
        "valid": result.is_valid,
        "refused": list(result.refusals),
        "components": len(package.components),
        "files": result.files,
        "findings": [
            {**found.model_dump(mode="json"), "code": found.code} for found in result.findings
        ],
    }


def _print(package: ConfigurationPackage, result: ValidationResult, *, shows_facts: bool) -> None:
    shown = [one for one in result.findings if shows_facts or one.severity is not Severity.FACT]
    for found in shown[:LINES_MAX]:
        echo(str(found))
    if len(shown) > LINES_MAX:
        echo(f"... and {len(shown) - LINES_MAX:,} more; --json has all of them.")
    for refusal in result.refusals[:LINES_MAX]:
        echo(f"refused: {refusal}")
    ends = Counter(result.files.values())
    echo(
        f"{counted(len(result.files), 'file')}: {ends['accepted']:,} accepted, "
        f"{ends['findings']:,} accepted with findings, {ends['rejected']:,} rejected, "
        f"{ends['ignored']:,} no configuration. {_counts(result.findings)}."
    )
    if result.is_refused:
        echo("The package is refused: no part of it may be used.")
    else:
        echo(
            f"The package {package.package_id[:DIGITS]} has "
            f"{counted(len(package.components), 'component')}."
        )


def _counts(findings: tuple[Finding, ...]) -> str:
    counts = Counter(found.severity for found in findings)
    return ", ".join(counted(counts[severity], str(severity)) for severity in Severity)


def show(*, path: str, policy: Path | None, as_json: bool, **options: Any) -> None:
    """Perform the command; `commands/` declares it."""
    package, result = _load(path, policy, **options)
    if as_json:
        click.echo(package.model_dump_json())
        return
    echo(f"package {package.package_id}")
    for name, value in package.metadata:
        if value:
            echo(f"  {name}: {value}")
    for component in package.components:
        echo(
            f"{component.type:<12} {component.name:<40} {component.digest[:DIGITS]} "
            f"{component.path}"
        )
    for refusal in result.refusals:
        echo(f"refused: {refusal}", err=True)


def diff(*, old: str, new: str, policy: Path | None, as_json: bool, **options: Any) -> None:
    """Perform the command; `commands/` declares it."""
    before, _ = _load(old, policy, **{**options, "revision": ""})
    after, _ = _load(new, policy, **options)
    changes = changes_between(before, after)
    if as_json:
        click.echo(json.dumps([change.model_dump(mode="json") for change in changes]))
    else:
        for change in changes:
            echo(f"{change.change_type:<8} {change.component}")
        echo(f"{counted(len(changes), 'change')}.")
    if changes:
        raise click.exceptions.Exit(ExitCode.FAILED)


def key(*, file: Path) -> None:
    """Perform the command; `commands/` declares it."""
    echo(f"The key {make_key(file).key_id}: keep {file}, and give {file}.pub away.")


def sign(
    *, path: str, key: Path, counter: int, envelope: Path, policy: Path | None, **options: Any
) -> None:
    """Perform the command; `commands/` declares it."""
    package, result = _load(path, policy, **options)
    if result.is_refused:
        raise UsageError("the package is refused.", advice="See `callboard config validate`.")
    before = _envelope(envelope) if envelope.exists() else None
    envelope.write_bytes(sign_package(package, key, counter=counter, envelope=before))
    echo(f"The package {package.package_id[:DIGITS]} is signed in {envelope}.")


def verify(
    *,
    path: str,
    keys: tuple[Path, ...],
    threshold: int,
    least_counter: int,
    envelope: Path,
    policy: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Perform the command; `commands/` declares it."""
    package, _ = _load(path, policy, **options)
    signed = verify_package(
        package,
        _envelope(envelope),
        map(read_public_key, keys),
        threshold=threshold,
        least_counter=least_counter,
    )
    if as_json:
        click.echo(json.dumps(signed._asdict()))
    else:
        shown = ", ".join(signed.key_ids)
        echo(f"The package {signed.package_id[:DIGITS]}, counter {signed.counter}, by {shown}.")


def _envelope(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}.", advice="Check the path.") from None
