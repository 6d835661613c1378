"""The simulator finds each deliberate defect of the kernel within its seeds."""

import pytest

from .mutations import MUTATIONS
from .run import run_seeds
from .scenarios import SCENARIOS

SEEDS_MAX = 2_000


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_defect_is_found(name: str) -> None:
    mutation = MUTATIONS[name]
    with mutation.applied():
        seeds = range(mutation.first_seed, mutation.first_seed + SEEDS_MAX)
        outcomes = run_seeds(mutation.scenario, SCENARIOS[mutation.scenario], seeds)
        assert any(outcome.broken for outcome in outcomes), mutation.what


def test_a_defect_replaces_an_attribute_that_exists() -> None:
    """A rename in the kernel shows here at once, and not after all seeds."""
    for name, mutation in MUTATIONS.items():
        assert hasattr(mutation.owner, mutation.attribute), name


def test_a_defect_ends_with_its_block() -> None:
    mutation = MUTATIONS["dedupe_skipped"]
    right = getattr(mutation.owner, mutation.attribute)
    with mutation.applied():
        assert getattr(mutation.owner, mutation.attribute) is not right
    assert getattr(mutation.owner, mutation.attribute) is right


def test_a_failing_seed_reports_its_trace_and_fails_again() -> None:
    mutation = MUTATIONS["dedupe_skipped"]
    scenario = SCENARIOS[mutation.scenario]
    with mutation.applied():
        found = next(o for o in run_seeds(mutation.scenario, scenario, range(99)) if o.broken)
        again = next(run_seeds(mutation.scenario, scenario, [found.seed]))
    report = found.report()
    assert again == found
    assert found.digest in report
    assert f"callboard sim --first-seed {found.seed} --seeds 1 --scenario links" in report
    assert "becomes host-1" in report
