"""The datasets of windows, one for each width, and the default rules of their life cycle."""

from typing import Final

from callboard.messages.core.errors import SpecError

from ...storage.lifecycle import DAY_S, LifecycleRule
from ..rows import SECOND_NS, WINDOWS_NS

__all__ = ["DEFAULT_RULES", "OWNER", "check_datasets", "dataset_of", "width_of"]

OWNER: Final = "metrics"
"""The owner of the catalogue, and the beginning of the names of all its datasets."""


def dataset_of(width_ns: int) -> str:
    """The dataset of the windows of a width."""
    return f"{OWNER}/{width_ns // SECOND_NS}s"


def width_of(dataset: str) -> int:
    """The width of the windows of a dataset. Raises `SpecError` for another dataset."""
    owner, _, width = dataset.partition("/")
    seconds = width.removesuffix("s")
    if owner != OWNER or not seconds.isdecimal() or not width.endswith("s") or seconds[0] == "0":
        raise SpecError(
            f"{dataset!r} is no dataset of metrics.",
            advice=f"Write {OWNER}/60s/ for the windows of a minute.",
        )
    return int(seconds) * SECOND_NS


def _rules() -> tuple[LifecycleRule, ...]:
    minute, five, hour, day = map(dataset_of, WINDOWS_NS)
    return (
        LifecycleRule("high", minute, 1 * DAY_S, 7 * DAY_S, roll_up=five),
        LifecycleRule("medium", five, 2 * DAY_S, 30 * DAY_S, roll_up=hour),
        LifecycleRule("low", hour, 7 * DAY_S, 365 * DAY_S, roll_up=day, compression=9),
        LifecycleRule("archive", day, 60 * DAY_S, None, compression=19),
    )


DEFAULT_RULES: Final = _rules()
"""Windows of 1 minute for 7 days, of 5 minutes for 30 days, of 1 hour for a year, of a day for
ever. They lie in the database for 1, 2, 7 and 60 days, and in segments after that."""


def check_datasets(rules: tuple[LifecycleRule, ...]) -> None:
    """Raise `SpecError` for a rule that is about no windows, or rolls up into finer ones."""
    for rule in rules:
        width = width_of(rule.dataset)
        if rule.roll_up and (width_of(rule.roll_up) <= width or width_of(rule.roll_up) % width):
            raise SpecError(
                f"the rule {rule.id!r} rolls {rule.dataset} up into {rule.roll_up}.",
                advice="Name a dataset whose windows hold whole windows of this one.",
            )
