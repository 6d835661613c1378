"""The analysers, by name. To add one, write a module here and a line in `analyser`."""

from typing import Final

from .bandit_security import BanditSecurity
from .hygiene import Hygiene
from .protocol import Analyser
from .radon_complexity import RadonComplexity
from .ruff_lint import RuffLint
from .text_checks import TextChecks
from .vulture_dead_code import VultureDeadCode

__all__ = ["ANALYSER_NAMES", "Analyser", "analyser"]

ANALYSER_NAMES: Final = ("bandit", "hygiene", "radon", "ruff", "text", "vulture")
"""All analysers, sorted."""


def analyser(name: str) -> Analyser:
    """A new analyser.

    Raises KeyError for an unknown name.
    """
    makers: dict[str, type[Analyser]] = {
        "bandit": BanditSecurity,
        "hygiene": Hygiene,
        "radon": RadonComplexity,
        "ruff": RuffLint,
        "text": TextChecks,
        "vulture": VultureDeadCode,
    }
    return makers[name]()
