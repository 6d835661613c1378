"""What users of other roll-out engines complained about, each as what holds here."""

import pytest

from callboard.actors.configuration.rollout.plan import RolloutPlan, WaveSpec
from callboard.actors.configuration.rollout.states import RolloutState, TargetState, WaveStep
from callboard.actors.configuration.rollout.target import version_of
from callboard.actors.configuration.rollout.verdicts import Counts, Verdict
from callboard.actors.configuration.rollout.views import view_of
from callboard.messages.core.errors import UsageError

from .driving import ERRORS, Play

S = RolloutState


def test_a_wrong_plan_fails_before_the_first_wave() -> None:
    play = Play()
    with pytest.raises(UsageError, match="percentages"):
        play.propose("v1", plan=RolloutPlan(waves=(WaveSpec(percent=50.0), WaveSpec(percent=5.0))))
    found = play.propose("v2", plan=RolloutPlan(waves=(WaveSpec(names=("nobody",)),)))
    assert (found.state, play.having("v2")) == (S.REJECTED, 0)
    assert "nobody" in found.note


@pytest.mark.parametrize("reports", [True, False])
@pytest.mark.parametrize("says", ["ack", "silent", "away"])
def test_every_state_ends(says: str, *, reports: bool) -> None:
    play = Play()
    play.says["v1"] = says
    found = play.propose("v1")
    for _ in range(4_000):
        deadline = play.core.next_deadline()
        if deadline is None:
            break
        play.later(max(0.001, deadline - play.now), reports=reports)
    assert found.state in {S.SUCCEEDED, S.ROLLED_BACK, S.ROLLBACK_FAILED}


def test_inconclusive_never_promotes_and_resume_and_abort_work_from_it() -> None:
    for follows in ("resume", "abort", ""):
        play = Play()
        found = play.propose("v1", plan=RolloutPlan(checks=(ERRORS,), needs_health=False))
        play.later(1.0, reports=False)
        assert found.step is WaveStep.JUDGING
        least = ERRORS.observations_min
        play.core.judges.evidence(found).counts["errors"] = Counts(
            least * 36 // 100, least, least // 5, least
        )
        play.later(found.plan.judge_s, reports=False)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert (found.state, found.wave) == (S.PAUSED, 0)
        if follows == "resume":
            play.core.resume("v1", "bob", play.now)
            assert (found.state, found.step) == (S.ROLLING, WaveStep.JUDGING)
        elif follows == "abort":
            play.core.abort("v1", "bob", play.now)
            play.settle()
            assert (found.state, play.having("v1")) == (S.ROLLED_BACK, 0)
        else:
            play.later(found.plan.pause_s + 1.0, reports=False)
            assert (found.state, play.having("v1")) == (S.ROLLED_BACK, 0)


def test_no_data_names_the_least_observations() -> None:
    play = Play()
    found = play.propose("v1")
    play.later(40.0, of=0)
    assert (found.state, found.verdict) == (S.PAUSED, Verdict.NO_DATA)
    assert f"needs {ERRORS.observations_min} observations" in found.note


def test_no_wave_begins_while_a_verdict_of_an_earlier_one_is_not_pass() -> None:
    play = Play()
    found = play.propose("v1")
    play.later(500.0, of=0)
    assert (found.wave, play.having("v1")) == (0, 1)


def test_success_means_that_each_reachable_target_has_acked() -> None:
    play = Play()
    waves = (WaveSpec(percent=10.0), WaveSpec(percent=30.0))
    found = play.propose("v1", plan=RolloutPlan(waves=waves, checks=(ERRORS,)))
    play.later(600.0)
    assert (found.state, play.having("v1")) == (S.SUCCEEDED, 40)
    assert [len(wave) for wave in found.waves] == [4, 8, 28]


def test_a_newer_version_begins_at_wave_one_with_fresh_counters() -> None:
    play = Play()
    old = play.propose("v1")
    play.later(80.0)
    assert (old.wave, play.having("v1")) == (2, 10)
    new = play.propose("v2")
    assert (old.state, new.state, new.wave) == (S.SUPERSEDED, S.ROLLING, 0)
    assert (play.having("v1"), play.having("v2")) == (0, 1)
    assert not play.core.judges.evidence(new).counts


def test_checks_run_while_a_gate_waits() -> None:
    play = Play()
    found = play.propose("v1", plan=RolloutPlan(checks=(ERRORS,), alerts=("slow",)))
    play.core.pause("v1", "bob", play.now)
    play.core.observe(play.now, lambda judges: judges.alert("slow", is_firing=True))
    play.settle()
    assert (found.state, play.having("v1")) == (S.ROLLED_BACK, 0)


def test_a_roll_back_stops_where_it_would_leave_fewer_healthy_targets() -> None:
    play = Play()
    first = play.propose("v1")
    play.later(600.0)
    assert first.state is S.SUCCEEDED
    found = play.propose("v2")
    play.later(70.0)
    assert play.having("v2") == 10
    play.says["v1"] = "nack"
    play.core.abort("v2", "bob", play.now)
    play.settle()
    assert found.state is S.ROLLBACK_FAILED
    assert play.having("v2") == 10  # Those that refuse keep what works; the others were not asked.
    assert {each.state for each in play.targets()} >= {TargetState.NACKED}
    play.says.clear()
    play.core.resume("v2", "bob", play.now)
    play.settle()
    assert (found.state, play.having("v2")) == (S.ROLLED_BACK, 0)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 10.0, 32.0, 80.0, 300.0])
def test_abort_works_in_every_state(seconds: float) -> None:
    play = Play()
    found = play.propose("v1")
    play.later(seconds)
    play.core.abort("v1", "bob", play.now)
    play.settle()
    assert found.state in {S.ROLLED_BACK, S.SUCCEEDED}
    play.agrees = False
    waits = play.propose("v2", touches=("permissions",))
    assert waits.state is S.VALIDATED
    play.core.abort("v2", "bob", play.now)
    assert play.core.find("v2").state is S.REJECTED


def test_a_failed_version_may_be_tried_again_by_a_new_attempt() -> None:
    play = Play()
    play.says["v1"] = "nack"
    assert play.propose("v1").state is S.ROLLED_BACK
    play.says.clear()
    again = play.core.propose("again", "p", "v1", {"c": "v1"}, play.now, author="ada")
    play.settle()
    play.later(600.0)
    assert (again.state, play.having("v1")) == (S.SUCCEEDED, 40)


def test_a_stored_version_comes_back_at_once_and_health_still_counts() -> None:
    for is_healthy in (True, False):
        play = Play()
        play.propose("v1")
        play.later(600.0)
        play.propose("v2")
        play.later(600.0)
        back = play.core.propose("b", "p", "v1", {"c": "v1"}, play.now, author="x", at_once=True)
        play.settle()
        assert play.having("v1") == 40
        if not is_healthy:
            for _ in range(2):
                play.core.judges.health("t1", is_healthy=False)
            play.core.advance(play.now)
            play.settle()
            assert (back.state, play.having("v2")) == (S.ROLLED_BACK, 40)
        else:
            play.later(600.0)
            assert back.state is S.SUCCEEDED


def test_a_target_that_starts_gets_what_its_wave_holds_and_never_what_it_refused() -> None:
    play = Play()
    play.propose("v1")
    play.later(600.0)
    found = play.propose("v2")
    canary = found.waves[0][0]
    play.join(range(100, 110))
    assert (play.having("v2"), play.having("v1")) == (1, 49)
    number = int(canary[1:])
    play.join([number])
    assert play.core.book.targets[canary].active == "v2"
    play.says[canary] = "nack"
    play.propose("v3")
    other = play.core.book.rollouts["v3"].waves[0][0]
    play.says = {other: "nack"}
    play.core.propose("v4", "p", "v4", {"c": "v4"}, play.now, author="ada")
    play.settle()
    refusing = [each for each in play.targets() if each.refused]
    play.says.clear()
    for target in refusing:
        play.join([int(target.name[1:])])
        assert target.active not in target.refused


def test_states_of_targets_are_counted_apart_with_reasons() -> None:
    play = Play()
    plan = RolloutPlan(waves=(WaveSpec(percent=50.0),), nacks_max=2, checks=())
    play.says |= {f"t{each}": "nack" for each in range(40)}
    play.propose("v1", plan=plan.model_copy(update={"nacks_max": 40}))
    play.core.lost(1, play.now)
    view = view_of(play.core.book, play.core.find("v1"))
    assert view.by_state == {"unreachable": 40}
    assert view.active == 0
    assert set(view.problems.values()) == {"no"}


def test_a_refused_version_is_not_offered_again_and_offers_wait_for_answers() -> None:
    play = Play()
    play.says["v1"] = "nack"
    play.propose("v1")
    offered = [name for each in play.offers for name in each.targets if each.version == "v1"]
    for _ in range(5):
        play.restart()
        play.later(100.0)
    again = [name for each in play.offers for name in each.targets if each.version == "v1"]
    assert offered == again
    assert len(set(offered)) == len(offered) == 1


def test_seen_and_active_are_two_things() -> None:
    play = Play()
    play.propose("v1")
    play.later(600.0)
    play.says["v2"] = "nack"
    play.propose("v2")
    (target,) = (each for each in play.targets() if each.refused)
    assert (target.seen, target.active) == ("v2", "v1")


def test_what_is_stored_is_named_by_its_own_bytes() -> None:
    assert version_of(b'{"a": 1}') != version_of(b'{"a":1}')


def test_it_is_known_since_when_a_target_has_not_been_heard_of() -> None:
    play = Play()
    play.later(100.0)
    play.core.lost(1, play.now)
    assert {play.now - each.heard_at for each in play.targets()} == {100.0}


def test_two_packages_that_touch_one_component_queue() -> None:
    play = Play()
    first = play.propose("v1")
    second = play.propose("w1", package="q")
    assert (first.state, second.state) == (S.ROLLING, S.BACKED_UP)
    play.later(600.0)
    assert second.began_at >= first.since
    assert (first.state, second.state, play.having("w1")) == (S.SUCCEEDED, S.SUCCEEDED, 40)


def test_the_author_may_not_approve() -> None:
    play = Play()
    play.agrees = False
    found = play.propose("v1", touches=("permissions",))
    assert play.agreements[0].reasons == ("touches permissions",)
    with pytest.raises(UsageError, match="author"):
        play.core.approve("v1", "ada", play.now)
    play.core.approve("v1", "bob", play.now)
    play.settle()
    assert (found.state, found.approved_by) == (S.ROLLING, ("bob",))


def test_the_canary_fails_after_few_observations_when_all_are_bad() -> None:
    play = Play()
    found = play.propose("v1")
    canary = found.waves[0][0]
    for name in [name for name in (each.name for each in play.targets()) if name != canary][:3]:
        play.core.judges.observed("errors", name, bad=0, total=1)
    for _ in range(5):
        play.core.observe(
            play.now, lambda judges: judges.observed("errors", canary, bad=1, total=1)
        )
    assert found.verdict is Verdict.FAIL


def test_a_report_while_an_offer_is_open_is_about_no_version() -> None:
    play = Play()
    play.says["v1"] = "away"
    found = play.propose("v1")
    canary = found.waves[0][0]
    for _ in range(3):  # It has taken the version, and the answer was lost.
        play.core.judges.health(canary, is_healthy=False)
    play.says.clear()
    play.later(11.0, reports=False)
    assert play.having("v1") == 1
    for _ in range(2):
        play.core.judges.health(canary, is_healthy=False)
    play.core.advance(play.now)
    play.settle()
    assert found.state is S.ROLLED_BACK


def test_an_actor_that_is_made_again_gets_what_another_one_has_refused_as_settled() -> None:
    play = Play()
    play.propose("v1")
    play.later(600.0)
    found = play.propose("v2")
    canary = found.waves[0][0]
    play.says["v1"] = "nack"
    play.core.abort("v2", "bob", play.now)
    play.settle()
    assert found.state is S.ROLLBACK_FAILED
    play.says.clear()
    play.join([int(canary[1:])])
    assert play.core.book.targets[canary].active == "v1"


def test_a_superseded_roll_out_leaves_no_component_behind() -> None:
    play = Play()
    play.join(range(100, 140), component="d")
    play.propose("v1", {"c": "v1"})
    play.later(100.0)
    assert play.having("v1")
    play.propose("w1", {"d": "w1"})
    assert not play.having("v1")
