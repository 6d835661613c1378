"""Properties of waves, verdicts and the fold."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.configuration.rollout.book import RolloutBook
from callboard.actors.configuration.rollout.plan import (
    WAVES,
    ApprovalPolicy,
    Check,
    RolloutPlan,
    WaveSpec,
    by_type,
    exponential,
    linear,
)
from callboard.actors.configuration.rollout.states import ENDED, STEPS, RolloutState
from callboard.actors.configuration.rollout.verdicts import (
    Counts,
    Verdict,
    early_failure,
    judged,
    worst,
)
from callboard.actors.configuration.rollout.waves import in_order, waves_of
from callboard.messages.core.errors import UsageError
from tests.thoroughness import examples

from .driving import Play

names = st.lists(
    st.tuples(st.text(max_size=4), st.sampled_from("abc")), max_size=60, unique_by=lambda x: x[0]
)
specs = st.lists(
    st.one_of(
        st.builds(WaveSpec, targets=st.integers(1, 50)),
        st.builds(WaveSpec, percent=st.floats(0.1, 100.0)),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=examples(200))
@given(names, specs)
def test_waves_have_each_target_once_and_reach_all(
    targets: list[tuple[str, str]], waves: list[WaveSpec]
) -> None:
    found = waves_of("r", targets, waves)
    flat = [name for wave in found for name in wave]
    assert sorted(flat) == sorted(name for name, _ in targets)
    assert all(found)
    assert found == waves_of("r", reversed(targets), waves)


def test_the_first_targets_are_of_different_types() -> None:
    targets = [(f"t{each}", "rare" if each < 2 else "usual") for each in range(100)]
    kinds = [kind for _, kind in in_order("r", targets)[:5]]
    assert set(kinds) == {"rare", "usual"}
    first = {waves_of(f"r{each}", targets, WAVES)[0][0] for each in range(20)}
    assert len(first) > 5  # Not always the same canary.


@pytest.mark.parametrize(
    ("waves", "sizes"),
    [
        (WAVES, [1, 9, 40, 150]),
        (linear(20.0), [1, 39, 40, 40, 40, 40]),
        (exponential(10.0), [1, 19, 20, 40, 80, 40]),
        (by_type(["a", "b"]), [1, 100, 99]),
    ],
)
def test_the_sizes_of_waves(waves: tuple[WaveSpec, ...], sizes: list[int]) -> None:
    targets = [(f"t{each}", "ab"[each % 2]) for each in range(200)]
    found = [len(wave) for wave in waves_of("r", targets, waves)]
    assert sum(found) == 200
    assert found == sizes or sorted(found) == sorted([1, 99, 100])


@pytest.mark.parametrize("wrong", [0.0, -1.0, 101.0, float("nan")])
def test_a_wrong_growth_is_refused(wrong: float) -> None:
    with pytest.raises(UsageError):
        linear(wrong)
    with pytest.raises(UsageError):
        exponential(wrong)


@pytest.mark.parametrize(("detectable", "least"), [(0.04, 472), (0.09, 165), (0.19, 66)])
def test_the_least_observations_are_those_of_the_formula(detectable: float, least: int) -> None:
    assert Check(name="c", expected=0.01, detectable=detectable).observations_min == least


def _draws(draw: random.Random, rate: float, count: int) -> int:
    return sum(draw.random() < rate for _ in range(count))


def test_verdicts_are_wrong_as_seldom_as_promised() -> None:
    check = Check(name="c", expected=0.02, detectable=0.05)
    least, draw = check.observations_min, random.Random(7)
    same, worse, early = [], [], 0
    for _ in range(300):
        counts = Counts(_draws(draw, 0.02, least), least, _draws(draw, 0.02, least), least)
        same.append(judged(check, counts, has_old=True)[0])
        early += bool(early_failure(check, counts))
        counts = Counts(_draws(draw, 0.07, least), least, _draws(draw, 0.02, least), least)
        worse.append(judged(check, counts, has_old=True)[0])
    assert same.count(Verdict.FAIL) <= 300 * 0.03
    assert same.count(Verdict.PASS) >= 300 * 0.9
    assert worse.count(Verdict.FAIL) >= 300 * 0.8
    assert early == 0


def test_looking_at_each_observation_gives_few_false_alarms() -> None:
    check, draw, alarms = Check(name="c", expected=0.02), random.Random(3), 0
    for _ in range(100):
        counts = Counts()
        for _ in range(200):
            counts.add(is_new=True, bad=draw.random() < 0.02, total=1)
            counts.add(is_new=False, bad=draw.random() < 0.02, total=1)
            if early_failure(check, counts):
                alarms += 1
                break
    assert alarms <= 2


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_each_count_has_a_verdict(new: int, new_all: int, old: int, old_all: int) -> None:
    counts = Counts(min(new, new_all), new_all, min(old, old_all), old_all)
    check = Check(name="c")
    for has_old in (True, False):
        verdict, reason = judged(check, counts, has_old=has_old)
        assert verdict in Verdict
        assert reason
    early_failure(check, counts)


def test_the_worst_verdict_counts() -> None:
    said = [(Verdict.PASS, "a"), (Verdict.NO_DATA, "b"), (Verdict.INCONCLUSIVE, "c")]
    assert worst(said) == (Verdict.NO_DATA, "b")
    assert worst([]) == (Verdict.PASS, "")


def test_the_table_reaches_each_state_and_leads_to_an_end() -> None:
    assert set(STEPS) == set(RolloutState)
    assert {each for follows in STEPS.values() for each in follows} | {RolloutState.DRAFT} == set(
        RolloutState
    )
    for state in RolloutState:
        seen = {state}
        while seen != (more := seen.union(*(STEPS[each] for each in seen))):
            seen = more
        assert seen & ENDED


def test_the_policy_says_why() -> None:
    policy = ApprovalPolicy(components=("db",), targets_min=10)
    assert policy.reasons(["hooks"], ["db"], 10) == (
        "touches hooks",
        "changes db",
        "has 10 targets",
    )
    assert policy.reasons([], ["other"], 9) == ()


@settings(max_examples=examples(40))
@given(st.data())
def test_a_book_of_the_events_equals_the_one_that_made_them(data: st.DataObject) -> None:
    play = Play(targets=data.draw(st.integers(0, 30)), kinds=2)
    for number in range(data.draw(st.integers(1, 8))):
        match data.draw(st.integers(0, 6)):
            case 0:
                play.says = {f"v{number}": data.draw(st.sampled_from(["nack", "silent", "away"]))}
                play.propose(f"v{number}")
            case 1:
                play.propose(f"v{number}", package=data.draw(st.sampled_from("pq")))
            case 2:
                play.later(data.draw(st.floats(0.0, 300.0)), bad=data.draw(st.integers(0, 100)))
            case 3:
                play.core.lost(1, play.now)
                play.settle()
            case 4:
                play.join(range(data.draw(st.integers(0, 40))), kinds=3)
            case 5:
                play.core.gone([f"t{data.draw(st.integers(0, 40))}"], play.now)
                play.settle()
            case _:
                play.restart()
        copy = RolloutBook(play.journal)
        book = play.core.book
        assert (copy.targets, copy.rollouts, copy.batches) == (
            book.targets,
            book.rollouts,
            book.batches,
        )
        outstanding = [name for batch in book.batches.values() for name in batch.open]
        assert sorted(outstanding) == sorted(each.name for each in play.targets() if each.nonce)


def test_a_clock_that_jumps_back_undoes_nothing() -> None:
    play = Play()
    found = play.propose("v1")
    play.core.advance(0.0)
    play.settle()
    assert found.state is RolloutState.ROLLING
    play.core.advance(play.now + 1e9)
    play.settle()
    play.now += 1e9
    assert found.state in {RolloutState.ROLLED_BACK, RolloutState.PAUSED}


def test_a_plan_is_checked() -> None:
    for wrong in (
        RolloutPlan(checks=(Check(name="a"), Check(name="a"))),
        RolloutPlan(waves=(WaveSpec(),)),
        RolloutPlan(checks=(Check(name="a"),), judge_s=0.0),
    ):
        with pytest.raises(UsageError):
            wrong.checked()
