"""Betterleaks as a scanner for secrets: hundreds of rules, in this process, without the network."""

import importlib
from collections.abc import Iterator
from typing import Any, Final

from callboard.actors.configuration.validation.secrets import KeywordScanner
from callboard.actors.configuration.validation.security import INCOMPLETE, SecretFound
from callboard.messages.core.errors import UsageError

__all__ = ["BetterleaksScanner"]

SCAN_S_MAX: Final = 30.0
OURS: Final = frozenset({"url-credentials", "bearer-token"})
"""Rules of our own that Betterleaks lacks."""


class BetterleaksScanner:
    """Scans by Betterleaks, and by those of our rules that it lacks."""

    def __init__(self) -> None:
        """Raises `UsageError` where the package is missing."""
        try:
            self._library: Any = importlib.import_module("pybetterleaks")
        except ImportError:
            raise UsageError(
                "pybetterleaks is not installed.",
                advice="Install callboard[configuration], or use the scanner of Callboard.",
            ) from None
        self._own = KeywordScanner()

    def scan(self, text: str) -> Iterator[SecretFound]:
        """The secrets of a text. A scan that fails or takes too long is a finding by itself."""
        try:
            result = self._library.scan_text(text, timeout_seconds=SCAN_S_MAX, redact=True)
        except Exception as error:  # noqa: BLE001 - a foreign library raises anything
            yield SecretFound(INCOMPLETE, 1, f"the scan has failed: {error!s:.200}")
            return
        for problem in result.errors:
            yield SecretFound(INCOMPLETE, 1, f"the scan is not complete: {problem!s:.200}")
        for found in result.findings:
            rule = str(found.rule_id)
            yield SecretFound(rule, int(found.line or 0) + 1, f"{rule}: {found.description!s:.120}")
        yield from (found for found in self._own.scan(text) if found.rule in OURS)
