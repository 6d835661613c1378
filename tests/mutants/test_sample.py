"""A few mutants of the day, in `make soak`: over the weeks, they are all of them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from .run import Request, cores, run

COUNT: Final = 40
SURVIVORS_MAX: Final = 6
"""Where 95 % of all mutants are found, a sample of 40 has more survivors once in 300 days."""


@pytest.mark.soak
def test_the_tests_find_the_mutants_of_the_day(root: Path, tmp_path: Path) -> None:
    seed = int(f"{datetime.now(UTC):%Y%m%d}")
    request = Request(root, tmp_path / "sessions", seed, sample=COUNT, workers=cores())
    summary = run(request, print)
    assert not summary.broken
    assert not summary.pending
    assert len(summary.survivors) <= SURVIVORS_MAX, summary.report()
