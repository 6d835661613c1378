"""Settings of windows: what is refused, and which levels they make."""

import pytest

from callboard.actors.metrics.windows.settings import CustomWindow, WindowSettings, levels_of
from callboard.messages.core.errors import UsageError

from .batches import DAY, MINUTE, SECOND


@pytest.mark.parametrize(
    ("width", "step"),
    [
        (0, 0),
        (-MINUTE, MINUTE),
        (MINUTE // 2, MINUTE),
        (SECOND // 2, SECOND // 2),
        (2 * DAY, DAY),
        (MINUTE, MINUTE),
        (5 * MINUTE, MINUTE),
        (DAY, MINUTE),
        (DAY - SECOND, MINUTE),
        (120 * SECOND, SECOND),
    ],
)
def test_windows_that_cannot_be_are_refused(width: int, step: int) -> None:
    with pytest.raises(UsageError):
        WindowSettings(custom=(CustomWindow(width, step),))


def test_there_are_at_most_eight_of_them_with_widths_of_their_own() -> None:
    windows = tuple(CustomWindow(seconds * SECOND, seconds * SECOND) for seconds in range(10, 18))
    assert len(levels_of(windows)) == 12
    with pytest.raises(UsageError):
        levels_of((*windows, CustomWindow(20 * SECOND, 20 * SECOND)))
    with pytest.raises(UsageError):
        levels_of((windows[0], windows[0]))


def test_sliding_windows_share_panes() -> None:
    levels = levels_of(
        (CustomWindow(90 * SECOND, 30 * SECOND), CustomWindow(120 * SECOND, 30 * SECOND))
    )
    assert [(level.source, level.is_given) for level in levels[4:]] == [
        (None, False),
        (4, True),
        (4, True),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"lateness_ns": -1},
        {"idle_ns": -1},
        {"series_per_tenant_max": 0},
        {"series_per_tenant_max": 1 << 19},
    ],
    ids=repr,
)
def test_wrong_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        WindowSettings(**wrong)  # type: ignore[arg-type]
