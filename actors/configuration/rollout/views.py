"""What users see of roll-outs; pure."""

from collections import Counter
from itertools import islice
from typing import Final

from .book import Rollout, RolloutBook
from .messages import RolloutView

__all__ = ["view_of"]

PROBLEMS_MAX: Final = 20


def view_of(book: RolloutBook, rollout: Rollout) -> RolloutView:
    """A roll-out as it is now: targets in each state are counted apart."""
    by_state: Counter[str] = Counter()
    active = total = 0
    for target in book.members(rollout):
        by_state[target.state] += 1
        total += 1
        active += target.active == rollout.components[target.component]
    problems = {**rollout.failed_back, **rollout.nacks}
    return RolloutView(
        rollout=rollout.id,
        package=rollout.package,
        version=rollout.version,
        components=rollout.components,
        state=rollout.state,
        step=rollout.step,
        wave=rollout.wave,
        waves=len(rollout.waves),
        verdict=rollout.verdict,
        reason=rollout.note,
        author=rollout.author,
        approved_by=rollout.approved_by,
        since=rollout.since,
        targets=total,
        by_state=dict(by_state),
        active=active,
        problems=dict(islice(problems.items(), PROBLEMS_MAX)),
    )
