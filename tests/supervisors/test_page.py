"""docs/supervision.md has the same table of states as the code."""

import re
from pathlib import Path

from callboard.supervisors.tree import EDGES

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "supervision.md").read_text("utf-8")


def test_page_shows_every_edge_and_no_other() -> None:
    shown = re.findall(r"^\| ([A-Z]+) \| ([A-Z]+) \| .+ \|$", PAGE, re.MULTILINE)
    edges = [(state.name, later.name) for state, laters in EDGES.items() for later in laters]
    assert sorted(shown) == sorted(edges)
