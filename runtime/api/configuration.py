"""Configuration from a folder or a Git repository, through all gates."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from callboard.actors.alerts.files import read_files
from callboard.actors.configuration.formats.draft import Check, SourceFile
from callboard.actors.configuration.formats.read import Profile
from callboard.actors.configuration.package import (
    ComponentType,
    ConfigurationMetadata,
    ConfigurationPackage,
    ConfigurationValidationError,
    ValidationResult,
)
from callboard.actors.configuration.validation.gates import Terms, validate
from callboard.actors.configuration.validation.policy import Policy, read_policy
from callboard.actors.configuration.validation.secrets import KeywordScanner
from callboard.actors.configuration.validation.security import SecretScanner
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.yaml_fields import FilesRefused, Problems
from callboard.messages.core.yaml_text import YamlRefused, yaml_values

from ..configuration.betterleaks import BetterleaksScanner
from ..configuration.folder import read_folder
from ..configuration.git import fetched, read_commit
from ..hosting.settings import settings_of
from .alerts import check_expression

__all__ = ["Scan", "load_configuration", "policy_of", "require_valid"]

Scan = Literal["own", "betterleaks", "none"]
POLICY_BYTES_MAX: Final = 1_000_000


def load_configuration(
    source: str | Path,
    *,
    revision: str = "",
    profile: Profile = "product",
    policy: Policy | None = None,
    strict: bool = False,
    scan: Scan = "own",
    before: Sequence[ConfigurationPackage] = (),
    known: Collection[tuple[ComponentType, str]] = (),
    version: str = "",
    reason: str = "",
) -> tuple[ConfigurationPackage, ValidationResult]:
    """Read a source and let all gates judge it.

    The source is a folder, a file, or the address of a Git repository (https, ssh, file). With a
    `revision`, a folder is read as a repository at that commit; otherwise as it lies there.
    Nothing in it is run. The package has what was accepted, and nothing when it is refused.
    Raises `UsageError` and `SourceVanished` when the source cannot be read.
    """
    files, metadata = _files_of(str(source), revision)
    terms = Terms(
        profile=profile,
        policy=policy or Policy(),
        is_strict=strict,
        checks=OWN_CHECKS,
        scanner=SCANNERS[scan](),
        known=known,
        before=before,
    )
    metadata = metadata.model_copy(update={"version": version, "reason": reason or metadata.reason})
    return validate(files, terms, timestamp=datetime.now(UTC), metadata=metadata)


def require_valid(result: ValidationResult) -> None:
    """Raise `ConfigurationValidationError` for a result with errors or refusals."""
    if not result.is_valid:
        raise ConfigurationValidationError.of(result)


def policy_of(path: Path) -> Policy:
    """The policy in a deployer's file. Raises `FilesRefused` with every problem."""
    problems = Problems()
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size < POLICY_BYTES_MAX else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", advice="Check the path.") from error
    policy = read_policy(text, str(path), problems)
    problems.raise_any()
    return policy


def _files_of(source: str, revision: str) -> tuple[list[SourceFile], ConfigurationMetadata]:
    if "://" in source:
        with fetched(source, revision or "HEAD") as (repository, commit):
            found, files = read_commit(repository, commit)
    elif revision:
        found, files = read_commit(Path(source), revision)
    else:
        return list(read_folder(Path(source))), ConfigurationMetadata(source=source)
    return files, ConfigurationMetadata(
        source=source, commit=found.commit, author=found.author, reason=found.reason
    )


def _alerts(path: str, text: str) -> Iterator[tuple[int, str]]:
    try:
        read_files([(path, text)], check_expression)
    except FilesRefused as error:
        for problem in error.details["problems"]:
            yield int(problem["line"]), f"{problem['where']}: {problem['text']}".removeprefix(": ")
    except CallboardError as error:
        yield 1, error.message.removesuffix(".")


def _settings(path: str, text: str) -> Iterator[tuple[int, str]]:
    del path
    try:
        read = yaml_values(text)
        settings_of(read.value if isinstance(read.value, dict) else {}, {})
    except (CallboardError, TypeError) as error:
        message = error.message if isinstance(error, CallboardError) else str(error)
        yield 1, message.removesuffix(".")
    except YamlRefused as error:
        yield error.line, error.problem


OWN_CHECKS: Final[Mapping[str, Check]] = {"alerts": _alerts, "settings": _settings}
SCANNERS: Final[Mapping[Scan, Callable[[], SecretScanner | None]]] = {
    "own": KeywordScanner,
    "betterleaks": BetterleaksScanner,
    "none": lambda: None,
}
