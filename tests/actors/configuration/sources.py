"""Small sources for the tests of configuration, all made up."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from callboard.actors.configuration.formats.draft import SourceFile
from callboard.actors.configuration.package import ConfigurationPackage, ValidationResult
from callboard.actors.configuration.validation.gates import Terms, validate

__all__ = ["AGENT", "NOW", "codes", "judged"]

NOW = datetime(2026, 12, 1, tzinfo=UTC)
AGENT = "---\nname: {name}\ndescription: Reads code.\ntools: Read, Grep\n---\nRead it.\n"


def judged(
    files: Mapping[str, str | bytes], **terms: Any
) -> tuple[ConfigurationPackage, ValidationResult]:
    """The package and the result of some files."""
    sources = [
        SourceFile(path, text if isinstance(text, bytes) else text.encode())
        for path, text in files.items()
    ]
    return validate(sources, Terms(**terms), timestamp=NOW)


def codes(files: Mapping[str, str | bytes], **terms: Any) -> set[str]:
    """The codes of all findings."""
    return {found.code for found in judged(files, **terms)[1].findings}
