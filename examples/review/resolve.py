"""Resolve the findings of several agents about the same place.

Claims belong together when path, line, topic and subject are equal (for a topic about a whole file:
path and topic). Then these rules apply in order:

1. *Exoneration.* An author's comment (`# noqa`, `# nosec`) addresses one agent, but excuses
   the topic at that place for all agents: the finding stays, lowered to `info`, and shows the
   comment. But when an agent that the comment does not address rates the place `high` or
   worse, that overrules the comment, and the unexcused claims decide.
2. *Weighted severity.* When agents differ in severity, the claim with the greatest
   severity weight (1, 2, 4, 8, 16) times confidence wins. Ties: the more severe, then
   the more confident, then the first by agent, rule, message and column.
3. *Agreement.* When all severities are equal, the same order picks the message.

Independent agents are rarely wrong together, so the confidence rises with each agent: 1 minus the
product of their doubts, at most 0.99 unless one is certain.

`resolve` is pure. Its result does not depend on the order and grouping of its input, even when
parts of the input are resolved already.
"""

from collections.abc import Iterable
from math import prod
from typing import Final

from .finding import Claim, Finding, Policy, Resolution, Severity
from .topics import FILE_TOPICS

__all__ = ["resolve"]

SEVERITY_WEIGHTS: Final = (1, 2, 4, 8, 16)
SEVERITY_OVERRULES: Final = Severity.HIGH
CERTAIN: Final = 100
CONFIDENCE_HUNDREDTHS_MAX: Final = CERTAIN - 1


def resolve(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each place and topic, sorted. The input may mix raw and resolved ones."""
    groups: dict[tuple[str, int, str, str], set[Claim]] = {}
    for finding in findings:
        line = 0 if finding.topic in FILE_TOPICS else finding.line
        key = (finding.path, line, finding.topic, finding.subject)
        groups.setdefault(key, set()).update(_claims(finding))
    settled = (_settle(key, claims) for key, claims in groups.items())
    return tuple(sorted(settled, key=lambda finding: finding.sort_key))


def _claims(finding: Finding) -> tuple[Claim, ...]:
    if finding.resolution is not None:
        return finding.resolution.claims
    return tuple(
        Claim(
            agent=agent,
            rule=finding.rule,
            message=finding.message,
            severity=finding.severity,
            confidence=finding.confidence,
            line=finding.line,
            column=finding.column,
            exoneration=finding.exoneration,
        )
        for agent in finding.agents
    )


def _strongest_first(claim: Claim) -> tuple[int, int, int, str, str, str, int, int, str]:
    weight = SEVERITY_WEIGHTS[claim.severity.rank] * claim.hundredths
    return (
        -weight,
        -claim.severity.rank,
        -claim.hundredths,
        claim.agent,
        claim.rule,
        claim.message,
        claim.line,
        claim.column or 0,
        claim.exoneration or "",
    )


def _settle(key: tuple[str, int, str, str], claimed: set[Claim]) -> Finding:
    path, _, topic, subject = key
    claims = tuple(sorted(claimed, key=_strongest_first))
    unexcused = tuple(claim for claim in claims if claim.exoneration is None)
    excused = tuple(claim for claim in claims if claim.exoneration is not None)
    overruled = bool(excused) and any(
        claim.severity.rank >= SEVERITY_OVERRULES.rank for claim in unexcused
    )
    winner = unexcused[0] if overruled else claims[0]
    severity, exoneration = winner.severity, None
    resolution: Resolution | None = None
    if overruled:
        text = _overruled_text(winner, excused)
        policy = Policy.EXONERATION_OVERRULED
        resolution = Resolution(policy=policy, text=text, claims=claims)
    elif excused:
        severity, exoneration = Severity.INFO, excused[0].exoneration
        text = _exonerated_text(excused, unexcused)
        resolution = Resolution(policy=Policy.EXONERATED, text=text, claims=claims)
    elif len(claims) > 1:
        resolution = _weighed(winner, claims)
    return Finding(
        path=path,
        line=winner.line,
        column=winner.column,
        topic=topic,
        subject=subject,
        rule=winner.rule,
        message=winner.message,
        severity=severity,
        confidence=_joint_confidence(claims) if len(claims) > 1 else winner.confidence,
        agents=tuple(sorted({claim.agent for claim in claims})),
        exoneration=exoneration,
        resolution=resolution,
    )


def _joint_confidence(claims: Iterable[Claim]) -> float:
    best: dict[str, int] = {}
    for claim in claims:
        best[claim.agent] = max(best.get(claim.agent, 0), claim.hundredths)
    if CERTAIN in best.values():
        return 1.0
    # Integers, because a product of floats depends on the order of the agents.
    doubt = prod(CERTAIN - hundredths for hundredths in best.values())
    scale: int = CERTAIN ** (len(best) - 1)
    joint = CERTAIN - (doubt + scale // 2) // scale
    return min(CONFIDENCE_HUNDREDTHS_MAX, joint) / CERTAIN


def _weighed(winner: Claim, claims: tuple[Claim, ...]) -> Resolution:
    others = [claim for claim in claims if claim.severity is not winner.severity]
    if not others:
        agents = ", ".join(sorted({claim.agent for claim in claims}))
        text = (
            f"{agents}: {len(claims)} claims, all {winner.severity}; the most confident is quoted"
        )
        return Resolution(policy=Policy.AGREEMENT, text=text, claims=claims)
    text = (
        f"the greatest weight of severity and confidence wins: {_said(winner)} over "
        f"{'; '.join(_said(claim) for claim in others)}"
    )
    return Resolution(policy=Policy.WEIGHTED_SEVERITY, text=text, claims=claims)


def _exonerated_text(excused: tuple[Claim, ...], unexcused: tuple[Claim, ...]) -> str:
    text = f"the author's {excused[0].exoneration} to {excused[0].agent} excuses it, hence info"
    if not unexcused:
        return text
    others = "; ".join(_said(claim) for claim in unexcused)
    return f"{text}, although not excused: {others}"


def _overruled_text(winner: Claim, excused: tuple[Claim, ...]) -> str:
    return (
        f"{_said(winner)} overrules the author's {excused[0].exoneration} to {excused[0].agent}, "
        f"which excuses only severities below {SEVERITY_OVERRULES}"
    )


def _said(claim: Claim) -> str:
    return f"{claim.agent} {claim.severity} {claim.confidence:.2f}"
