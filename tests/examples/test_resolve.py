"""The resolver: its rules, and that order and grouping never matter."""

from itertools import permutations
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from examples.review.finding import Finding, Policy, Severity
from examples.review.resolve import resolve


def finding(
    agent: str = "ruff",
    severity: Severity = Severity.LOW,
    confidence: float = 0.8,
    *,
    line: int = 3,
    topic: str = "silent-except",
    subject: str = "",
    exoneration: str | None = None,
    message: str = "said",
) -> Finding:
    return Finding(
        path="a.py",
        line=line,
        topic=topic,
        subject=subject,
        rule=f"{agent}/rule",
        message=message,
        severity=severity,
        confidence=confidence,
        agents=(agent,),
        exoneration=exoneration,
    )


def test_a_lone_finding_stays_as_it_is() -> None:
    assert resolve([finding()]) == (finding(),)


def test_repeats_are_one() -> None:
    assert resolve([finding(), finding()]) == (finding(),)


def test_agreement_names_all_agents() -> None:
    (settled,) = resolve([finding("ruff"), finding("bandit")])
    assert settled.agents == ("bandit", "ruff")
    assert settled.resolution is not None
    assert settled.resolution.policy is Policy.AGREEMENT
    assert settled.severity is Severity.LOW


def test_severity_times_confidence_wins() -> None:
    (settled,) = resolve(
        [finding("ruff", Severity.MEDIUM, 0.9), finding("hygiene", Severity.HIGH, 0.9)]
    )
    assert (settled.severity, settled.rule) == (Severity.HIGH, "hygiene/rule")
    assert settled.resolution is not None
    assert settled.resolution.policy is Policy.WEIGHTED_SEVERITY
    assert "ruff medium 0.90" in settled.resolution.text
    assert {claim.agent for claim in settled.resolution.claims} == {"ruff", "hygiene"}


def test_a_doubtful_alarm_loses_to_a_sure_remark() -> None:
    (settled,) = resolve(
        [finding("ruff", Severity.HIGH, 0.3), finding("hygiene", Severity.MEDIUM, 0.9)]
    )
    assert settled.severity is Severity.MEDIUM


def test_confidence_rises_with_each_agent_and_stays_below_certainty() -> None:
    two = resolve([finding("ruff", confidence=0.6), finding("bandit", confidence=0.5)])
    assert two[0].confidence == 0.8
    many = resolve([finding(f"agent{number}", confidence=0.9) for number in range(9)])
    assert many[0].confidence == 0.99
    certain = resolve([finding("ruff", confidence=1.0), finding("bandit", confidence=0.5)])
    assert certain[0].confidence == 1.0


def test_one_agent_saying_it_twice_is_no_more_certain() -> None:
    (settled,) = resolve([finding(message="one"), finding(message="two")])
    assert settled.confidence == 0.8


def test_an_excuse_to_one_agent_holds_before_all() -> None:
    (settled,) = resolve(
        [
            finding("bandit", Severity.LOW, exoneration="# nosec"),
            finding("ruff", Severity.MEDIUM),
        ]
    )
    assert (settled.severity, settled.exoneration) == (Severity.INFO, "# nosec")
    assert settled.resolution is not None
    assert settled.resolution.policy is Policy.EXONERATED
    assert "ruff medium" in settled.resolution.text


def test_an_excuse_alone_lowers_and_stays_visible() -> None:
    (settled,) = resolve([finding("bandit", Severity.HIGH, exoneration="# nosec")])
    assert (settled.severity, settled.exoneration) == (Severity.INFO, "# nosec")


def test_a_grave_claim_that_is_not_excused_overrules() -> None:
    (settled,) = resolve(
        [
            finding("bandit", Severity.LOW, exoneration="# nosec"),
            finding("hygiene", Severity.HIGH, 0.5),
        ]
    )
    assert (settled.severity, settled.exoneration) == (Severity.HIGH, None)
    assert settled.resolution is not None
    assert settled.resolution.policy is Policy.EXONERATION_OVERRULED
    assert "# nosec" in settled.resolution.text


def test_different_names_on_one_line_stay_apart() -> None:
    settled = resolve([finding(subject="os"), finding(subject="sys")])
    assert len(settled) == 2


def test_different_lines_stay_apart_but_for_topics_of_the_file() -> None:
    assert len(resolve([finding("ruff", line=1), finding("radon", line=2)])) == 2
    (settled,) = resolve(
        [
            finding("ruff", line=1, topic="unparsable"),
            finding("radon", line=2, topic="unparsable"),
        ]
    )
    assert settled.agents == ("radon", "ruff")


claims = st.builds(
    finding,
    agent=st.sampled_from(["bandit", "hygiene", "radon", "ruff"]),
    severity=st.sampled_from(Severity),
    confidence=st.integers(0, 100).map(lambda hundredths: hundredths / 100),
    line=st.integers(1, 2),
    topic=st.sampled_from(["silent-except", "unparsable"]),
    subject=st.sampled_from(["", "os"]),
    exoneration=st.sampled_from([None, None, "# noqa", "# nosec"]),
    message=st.sampled_from(["one", "two"]),
)


def dumped(findings: tuple[Finding, ...]) -> str:
    return "\n".join(item.model_dump_json() for item in findings)


@given(st.lists(claims, max_size=12), st.randoms(use_true_random=False))
def test_order_makes_no_difference(raw: list[Finding], random: Random) -> None:
    shuffled = list(raw)
    random.shuffle(shuffled)
    assert dumped(resolve(shuffled)) == dumped(resolve(raw))


@given(st.lists(st.tuples(claims, st.integers(0, 3)), max_size=12))
def test_grouping_makes_no_difference(labelled: list[tuple[Finding, int]]) -> None:
    """Parts may be resolved where they arise, and again when they are merged."""
    parts: dict[int, list[Finding]] = {}
    for item, part in labelled:
        parts.setdefault(part, []).append(item)
    partly = [settled for part in parts.values() for settled in resolve(part)]
    assert dumped(resolve(partly)) == dumped(resolve([item for item, _ in labelled]))


@given(st.lists(claims, max_size=12))
def test_resolving_again_changes_nothing(raw: list[Finding]) -> None:
    once = resolve(raw)
    assert dumped(resolve(once)) == dumped(once)


@given(st.lists(claims, max_size=12))
def test_no_claim_is_lost(raw: list[Finding]) -> None:
    settled = resolve(raw)
    for item in raw:
        holders = [
            one
            for one in settled
            if one.topic == item.topic
            and one.subject == item.subject
            and set(item.agents) <= set(one.agents)
        ]
        assert any(
            one == item
            or (
                one.resolution is not None
                and any(
                    (claim.agent, claim.message, claim.line, claim.severity)
                    == (item.agents[0], item.message, item.line, item.severity)
                    for claim in one.resolution.claims
                )
            )
            for one in holders
        )


def test_the_order_of_findings_does_not_decide_a_tie() -> None:
    tied = [finding("ruff"), finding("bandit"), finding("hygiene"), finding("ruff", message="or")]
    assert len({dumped(resolve(order)) for order in permutations(tied)}) == 1
