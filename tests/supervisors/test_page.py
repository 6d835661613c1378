"""docs/supervision.md says what the code says."""

import re
from pathlib import Path

from callboard.supervisors.tree import EDGES

from .matrix import names
from .test_matrix_actor import EXTRAS_OF_ACTORS

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "supervision.md").read_text("utf-8")


def test_page_shows_every_edge_and_no_other() -> None:
    shown = re.findall(r"^\| ([A-Z]+) \| ([A-Z]+) \| .+ \|$", PAGE, re.MULTILINE)
    edges = [(state.name, later.name) for state, laters in EDGES.items() for later in laters]
    assert sorted(shown) == sorted(edges)


def test_page_names_tests_that_exist() -> None:
    folders = (HERE, HERE.parents[0] / "actors" / "tree")
    files = [path for folder in folders for path in folder.glob("test_*.py")]
    tests = "".join(path.read_text("utf-8") for path in files)
    made = names(EXTRAS_OF_ACTORS)
    named = re.findall(r"`(test_\w+|\w+Machine)`", PAGE)
    assert named
    assert [
        name
        for name in named
        if name not in made and not re.search(rf"(def|class) {name}\b", tests)
    ] == []
