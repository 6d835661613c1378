"""One vocabulary of topics for all agents, so that the resolver can find conflicts.

Each analyser names its own rules (`ruff/F401`, `vulture/unused-import`). A topic is what such rules
have in common. The rules of this example are named by their topic. The codes of ruff's `S` rules
follow bandit's numbers, so one table serves both.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["FILE_TOPICS", "topic_of"]

FILE_TOPICS: Final = frozenset(
    {"unparsable", "unreadable", "too-large", "too-deep", "maintainability"}
)
"""Topics about a whole file: findings on different lines still mean the same problem."""

_RUFF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "A001": "shadowed-builtin",
        "A002": "shadowed-builtin",
        "A004": "shadowed-builtin",
        "A006": "shadowed-builtin",
        "B006": "mutable-default",
        "B012": "jump-in-finally",
        "B018": "useless-expression",
        "BLE001": "broad-except",
        "C901": "complexity",
        "D100": "missing-docstring",
        "D101": "missing-docstring",
        "D102": "missing-docstring",
        "D103": "missing-docstring",
        "D104": "missing-docstring",
        "D106": "missing-docstring",
        "E711": "none-comparison",
        "E722": "bare-except",
        "E902": "unreadable",
        "F401": "unused-import",
        "F601": "repeated-key",
        "F631": "assert-on-tuple",
        "F632": "identity-of-literal",
        "F811": "redefined",
        "F841": "unused-variable",
        "PLE2502": "bidirectional-text",
        "PLR0912": "too-many-branches",
        "W291": "trailing-whitespace",
        "W293": "trailing-whitespace",
        "invalid-syntax": "unparsable",
    }
)

_SECURITY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "101": "assert-used",
        "102": "exec-used",
        "103": "bad-file-permissions",
        "104": "binds-all-interfaces",
        "105": "hardcoded-secret",
        "106": "hardcoded-secret",
        "107": "hardcoded-secret",
        "108": "hardcoded-temporary-path",
        "110": "silent-except",
        "112": "silent-except",
        "113": "request-without-timeout",
        "202": "unsafe-archive-extraction",
        "301": "unsafe-deserialisation",
        "302": "unsafe-deserialisation",
        "303": "weak-hash",
        "306": "insecure-temporary-file",
        "307": "eval-used",
        "310": "url-open",
        "311": "weak-random",
        "321": "clear-text-protocol",
        "324": "weak-hash",
        "402": "insecure-import",
        "403": "insecure-import",
        "404": "insecure-import",
        "405": "insecure-import",
        "501": "no-certificate-check",
        "506": "unsafe-yaml-load",
        "602": "shell-command",
        "603": "subprocess",
        "604": "shell-command",
        "605": "shell-command",
        "606": "subprocess",
        "607": "partial-executable-path",
        "608": "sql-injection",
        "613": "bidirectional-text",
    }
)

_SECURITY_CODE: Final = re.compile(r"[SB](\d{3})")


def topic_of(agent: str, code: str, name: str = "") -> str:
    """The topic of an agent's rule. A rule without a shared topic has its own name as topic."""
    if agent == "ruff" and code in _RUFF:
        return _RUFF[code]
    security = _SECURITY_CODE.fullmatch(code)
    is_security = agent == "bandit" or (agent == "ruff" and code.startswith("S"))
    if security is not None and is_security:
        return _SECURITY.get(security[1], f"security-{security[1]}")
    return name or code
