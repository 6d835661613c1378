"""Security checks, by bandit used as a library.

`# nosec` does not silence it here. Such findings are marked, and the resolver decides. Text that
bandit quotes after a colon may be a secret, so it is left out.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

from ..exoneration import nosec_for
from ..finding import Finding, Severity
from ..source import SourceFile
from .protocol import PerFileAnalyser, raw_finding

__all__ = ["BanditSecurity"]

SEVERITY_BY_NAME: Final = {
    "UNDEFINED": Severity.INFO,
    "LOW": Severity.LOW,
    "MEDIUM": Severity.MEDIUM,
    "HIGH": Severity.HIGH,
}
CONFIDENCE_BY_NAME: Final = {"UNDEFINED": 0.3, "LOW": 0.3, "MEDIUM": 0.6, "HIGH": 0.9}

_SECRET_CODES: Final = frozenset({"B105", "B106", "B107"})
_QUOTED: Final = re.compile(r"\s*:\s*'.*", re.DOTALL)


def _load() -> tuple[Callable[..., Any], Callable[[], Any]]:
    format_warning = warnings.formatwarning
    try:
        # Imported on first use: it takes half a second, warns, and changes the format of warnings.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from .bandit_run import BanditRun, new_test_set
    finally:
        warnings.formatwarning = format_warning
    return BanditRun, new_test_set


class BanditSecurity(PerFileAnalyser):
    """Weak cryptography, injections, unsafe deserialisation and the like."""

    name = "bandit"

    def __init__(self) -> None:
        self._run, new_test_set = _load()
        self._tests = new_test_set()

    def check(self, file: SourceFile) -> Iterator[Finding]:
        """The findings of bandit's tests."""
        for issue in self._run(file, self._tests).issues():
            code = str(issue.test_id)
            text = str(issue.text)
            span = [issue.lineno, *issue.linerange]
            yield raw_finding(
                self.name,
                code,
                file.path,
                issue.lineno,
                _QUOTED.sub("", text) if code in _SECRET_CODES else text,
                severity=SEVERITY_BY_NAME[issue.severity],
                confidence=CONFIDENCE_BY_NAME[issue.confidence],
                column=file.column(issue.lineno, issue.col_offset),
                exoneration=nosec_for(file, span, code, str(issue.test)),
            )
