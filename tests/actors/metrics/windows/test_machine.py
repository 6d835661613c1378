"""The core against a plain model: lists of points, and sorting.

Sources send batches that are delayed, repeated, cut differently and overtaken; the core commits,
crashes between two commits, and moves to another process with what its store has. Whatever happens,
each point that was taken counts once, and all windows are those of the points in order.
"""

import math
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import MetricKind
from callboard.actors.metrics.sketch import keys_of
from callboard.actors.metrics.windows.core import ShardWindows
from callboard.actors.metrics.windows.settings import CustomWindow, WindowSettings

from ....thoroughness import examples
from .batches import (
    DAY,
    KEYS,
    MINUTE,
    SECOND,
    START,
    Point,
    Store,
    Window,
    WindowName,
    balanced,
    batch_of,
    source_named,
    windows_in,
)

SOURCES = ("a", "b", "c")
SLIDING = CustomWindow(90 * SECOND, 30 * SECOND)
SETTINGS = WindowSettings(
    lateness_ns=120 * SECOND,
    idle_ns=40 * SECOND,
    gap_ns=DAY,
    hold_ns=3_600 * SECOND,
    custom=(SLIDING,),
)
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-5, 5).map(float),
    st.floats(1e-6, 1e6),
)
new_points = st.lists(
    st.tuples(st.integers(0, len(KEYS) - 1), st.integers(0, 170 * SECOND), values),
    min_size=1,
    max_size=8,
)


def expected_window(points: list[Point], kind: MetricKind) -> Window:
    """The window of these points, computed the plain way."""
    column = np.array([point.value for point in points])
    keys, counts = np.unique(keys_of(column), return_counts=True)
    last = max((point.time_ns, point.value) for point in points)[1]
    return Window(
        len(points),
        math.nan,
        float(column.min()),
        float(column.max()),
        last if kind is MetricKind.GAUGE else None,
        tuple(zip(keys.tolist(), counts.tolist(), strict=True)),
    )


def expected_windows(points: list[Point]) -> dict[WindowName, list[Point]]:
    """The points of each window."""
    found: dict[WindowName, list[Point]] = {}
    for point in points:
        names = [(width, point.time_ns // width * width) for width in WINDOWS_NS]
        last = point.time_ns // SLIDING.step_ns * SLIDING.step_ns
        names += [(SLIDING.width_ns, last - back * SLIDING.step_ns) for back in range(3)]
        for width, start in names:
            found.setdefault((KEYS[point.series], width, start), []).append(point)
    return found


def ordered_sums(points: list[Point]) -> dict[WindowName, float]:
    """The sums of a core that got the same points once and in order."""
    core = ShardWindows(SETTINGS)
    in_order = sorted(points, key=lambda point: (point.time_ns, point.series, point.value))
    core.apply(batch_of(in_order, watermark=START - DAY), START + 10 * MINUTE)
    widths = (*WINDOWS_NS, SLIDING.width_ns)
    rows = [core.open_rows([], width) for width in widths]
    return {name: window.sum for each in rows for name, window, *_ in windows_in(each)}


class WindowMachine(RuleBasedStateMachine):
    """One shard, its store, and three sources that keep what is not accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.core = ShardWindows(SETTINGS)
        self.store = Store()
        self.state, self.log = b"", list[bytes]()
        self.now = START
        self.sent: dict[str, list[Point]] = {name: [] for name in SOURCES}
        """All points of each source, in the order of their numbers."""
        self.durable: dict[str, int] = dict.fromkeys(SOURCES, 0)
        """The points of each source before this number were accepted by a commit."""
        self.late: set[tuple[str, int]] = set()

    @initialize()
    def begin(self) -> None:
        self.now = START + 3 * MINUTE

    # --- what sources do --------------------------------------------------------------------------

    @rule(name=st.sampled_from(SOURCES), points=new_points)
    def record(self, name: str, points: list[tuple[int, int, float]]) -> None:
        for series, back, value in points:
            self.sent[name].append(Point(series, self.now - back, value))

    @rule(name=st.sampled_from(SOURCES), data=st.data())
    def send(self, name: str, data: st.DataObject) -> None:
        """Send any part of the points once, or again."""
        sent = self.sent[name]
        first = data.draw(st.integers(0, len(sent)))
        last = data.draw(st.integers(first, min(len(sent), first + 20)))
        self.send_part(name, first, last)

    @rule(name=st.sampled_from(SOURCES))
    def send_what_is_not_accepted(self, name: str) -> None:
        first = self.core.accepted(source_named(name)).sequence
        self.send_part(name, first, len(self.sent[name]))

    def send_part(self, name: str, first: int, last: int) -> None:
        # The source promises nothing earlier than it may still send after this part.
        rest = [point.time_ns for point in self.sent[name][last:]]
        watermark = min([self.now - 170 * SECOND, *rest])
        batch = batch_of(self.sent[name][first:last], first, source=name, watermark=watermark)
        applied = self.core.apply(batch, self.now)
        assert applied.refusal is None
        assert not applied.dropped
        assert applied.late == 0

    @rule(seconds=st.integers(1, 35))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    # --- what the shard does ----------------------------------------------------------------------

    @rule(whole=st.booleans(), with_open=st.booleans())
    def commit(self, *, whole: bool, with_open: bool) -> None:
        for name in SOURCES:
            # No source is silent for so long that its points would be late.
            self.send_part(name, len(self.sent[name]), len(self.sent[name]))
        work = self.core.take_commit(self.now, whole=whole, with_open=with_open)
        if work.state is not None:
            assert not work.log
            self.state, self.log = work.state, []
        elif work.log:
            self.log.append(work.log)
        self.store.put(work.windows)
        for name in SOURCES:
            self.durable[name] = self.core.accepted(source_named(name)).sequence

    @rule()
    def crash(self) -> None:
        """Lose what is not committed; go on from the store, here or on another host."""
        self.core = ShardWindows(SETTINGS)
        self.core.restore(self.state, self.log)
        for name in SOURCES:
            assert self.core.accepted(source_named(name)).sequence >= self.durable[name]

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def accounts_are_balanced(self) -> None:
        assert balanced(self.core)

    @precondition(lambda self: any(self.sent.values()))
    @rule()
    def all_windows_are_right(self) -> None:
        """Send what is missing, and compare the store and the open windows with the model."""
        for name in SOURCES:
            self.send_what_is_not_accepted(name)
        self.commit(whole=False, with_open=False)
        points = [point for sent in self.sent.values() for point in sent]
        assert self.core.accounts.counted == len(points)
        found = dict(self.store.windows)
        for width in (*WINDOWS_NS, SLIDING.width_ns):
            for name, window, revision, _ in windows_in(self.core.open_rows([], width)):
                assert revision > self.store.revisions.get(name, 0)
                found[name] = window
        expected = expected_windows(points)
        assert found.keys() == expected.keys()
        sums = ordered_sums(points)
        for name, window in found.items():
            wanted = expected_window(expected[name], name[0].kind)
            assert window._replace(sum=0.0) == wanted._replace(sum=0.0), name
            assert window.sum == sums[name] or math.isnan(sums[name]), name

    def teardown(self) -> None:
        if any(self.sent.values()):
            self.all_windows_are_right()


TestWindows: Any = WindowMachine.TestCase
TestWindows.settings = settings(max_examples=examples(120), stateful_step_count=30)
