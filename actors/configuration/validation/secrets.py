"""Our own scanner for secrets: rules as data, each with words that must be there first.

The forms of the tokens are those that their issuers document.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from .security import SecretFound

__all__ = ["RULE_DATA", "KeywordScanner"]

SHOWN_CHARACTERS: Final = 4
LINE_CHARACTERS_MAX: Final = 4_000
ENTROPY_LEAST_BITS: Final = 3.0
PLACEHOLDERS: Final = re.compile(
    r"example|your|xxxx|\*\*\*|placeholder|changeme|change_me|dummy|redacted|secret-here|1234567890"
    r"|abcdef|sample|<|\$\{|\$[A-Z]|\.\.\.|…",
    re.IGNORECASE,
)


class SecretRule(NamedTuple):
    """One form of secret."""

    rule: str
    words: tuple[str, ...]
    """One of these is in each line that can have it, in lower case."""
    pattern: "re.Pattern[str]"
    """The group `secret`, or all of it."""
    is_guess: bool = False
    """Whether only the name before it says that it is a secret: then it must look random."""


def _rule(rule: str, words: str, pattern: str, *, is_guess: bool = False) -> SecretRule:
    return SecretRule(rule, tuple(words.split()), re.compile(pattern), is_guess)


RULE_DATA: Final = (
    _rule("private-key", "-----begin", r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    _rule("aws-access-key", "akia asia", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    _rule("anthropic-key", "sk-ant-", r"\bsk-ant-[A-Za-z0-9_-]{24,}"),
    _rule("openai-key", "sk-", r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}"),
    _rule("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    _rule("github-token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{50,}"),
    _rule("gitlab-token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    _rule("slack-token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    _rule("slack-webhook", "hooks.slack.com", r"hooks\.slack\.com/services/T\w+/B\w+/\w{16,}"),
    _rule("stripe-key", "k_live_", r"\b[rs]k_live_[A-Za-z0-9]{20,}\b"),
    _rule("google-key", "aiza", r"\bAIza[A-Za-z0-9_-]{35}"),
    _rule("npm-token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _rule("pypi-token", "pypi-", r"\bpypi-AgEI[A-Za-z0-9_-]{50,}"),
    _rule("huggingface-token", "hf_", r"\bhf_[A-Za-z0-9]{30,}\b"),
    _rule("sendgrid-key", "sg.", r"\bSG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{40,46}"),
    _rule("telegram-token", ":aa", r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    _rule("jwt", "eyj", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
    _rule(
        "url-credentials",
        "://",
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"<>]{1,80}:(?P<secret>[^\s/@'\"<>]{6,200})@",
        is_guess=True,
    ),
    _rule(
        "bearer-token",
        "bearer basic",
        r"(?i)authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic)\s+(?P<secret>[A-Za-z0-9+/_.=-]{16,})",
        is_guess=True,
    ),
    _rule(
        "named-secret",
        "secret token password passwd api_key apikey api-key",
        r"(?i)[\w-]{0,40}(?:secret|token|password|passwd|api[_-]?key)[\w-]{0,20}[\"']?\s{0,4}[:=]"
        r"\s{0,4}[\"'](?P<secret>[A-Za-z0-9+/_=.~!@#%^&*-]{16,200})[\"']",
        is_guess=True,
    ),
)


class KeywordScanner:
    """Looks for the words of all rules first: nearly all texts have none."""

    def scan(self, text: str) -> Iterator[SecretFound]:
        """The secrets of a text, by line."""
        lowered = text.lower()
        rules = [rule for rule in RULE_DATA if any(word in lowered for word in rule.words)]
        if not rules:
            return
        for number, line in enumerate(text.split("\n"), 1):
            for start in range(0, len(line), LINE_CHARACTERS_MAX):
                yield from _of_line(rules, line[start : start + LINE_CHARACTERS_MAX + 300], number)


def _of_line(rules: list[SecretRule], line: str, number: int) -> Iterator[SecretFound]:
    lowered = line.lower()
    for rule in rules:
        if not any(word in lowered for word in rule.words):
            continue
        for found in rule.pattern.finditer(line):
            secret = found["secret"] if rule.is_guess else found[0]
            if PLACEHOLDERS.search(secret) or (rule.is_guess and not _is_random(secret)):
                continue
            yield SecretFound(
                rule.rule, number, f"{rule.rule}: {secret[:SHOWN_CHARACTERS]}… ({len(secret)})"
            )
            return


def _is_random(text: str) -> bool:
    counts = Counter(text)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return bits >= ENTROPY_LEAST_BITS and any(character.isdigit() for character in text)
