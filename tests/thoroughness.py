"""How thorough Hypothesis is: `make soak` takes all examples of a test, `make test` a quarter.

The only place with limits of time: `repository/test_marks.py` keeps them out of the tests.
"""

from typing import Final

from hypothesis import HealthCheck, Phase, settings

__all__ = ["PROFILES", "examples", "sharing_fixtures"]

ALL: Final = 100
"""The examples of a test that says nothing about them, in `make soak`."""
QUARTER: Final = ALL // 4

PROFILES: Final = {"test": QUARTER, "soak": ALL}

# No deadline and no complaint about slow data: a machine that runs other things as well, such as
# the next test, is slow without a fault of the test's.
for _name, _count in PROFILES.items():
    settings.register_profile(
        _name,
        max_examples=_count,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )

# For `make mutants`: a failure ends the trial, so nobody reads a small example, and the next mutant
# must not begin with the examples of the one before.
settings.register_profile(
    "mutants",
    settings.get_profile("test"),
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)


def examples(count: int) -> int:
    """The examples of a test that takes `count` in `make soak`."""
    return count * settings().max_examples // ALL


def sharing_fixtures() -> settings:
    """The settings of a test whose examples share a fixture, and clean up after themselves."""
    return settings(
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    )
