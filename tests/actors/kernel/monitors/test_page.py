"""The examples in docs/watch.md run as they stand."""

import re
import sys
import types
from pathlib import Path

from callboard.actors.kernel.monitors.monitors import MONITORS_MAX
from callboard.actors.kernel.timers import PERIOD_S_MIN, TIMERS_MAX

PAGE = Path("docs/watch.md")


def test_examples_run(root: Path) -> None:
    text = (root / PAGE).read_text(encoding="utf-8")
    # A module of its own: contracts are named by theirs, and annotations are looked up in it.
    page = types.ModuleType("watch_page")
    sys.modules[page.__name__] = page
    try:
        blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        assert len(blocks) == 5
        for block in blocks:
            # Blank lines in front make a failure point at the page's own line.
            lines_before = text.count("\n", 0, block.start(1))
            exec(compile("\n" * lines_before + block[1], str(PAGE), "exec"), page.__dict__)
    finally:
        del sys.modules[page.__name__]


def test_limits_are_those_of_the_code(root: Path) -> None:
    text = (root / PAGE).read_text(encoding="utf-8")
    assert MONITORS_MAX == TIMERS_MAX == 65_536
    assert text.count(f"{MONITORS_MAX:,}") == 2
    assert PERIOD_S_MIN == 0.001
