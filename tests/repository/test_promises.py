"""The pages in `docs/` say what is promised and which test shows it: those tests are there."""

import re
from pathlib import Path
from typing import Final

import pytest

from ..runtime.control_plane import test_matrix_host
from ..supervisors.matrix import names
from ..supervisors.test_matrix_actor import EXTRAS_OF_ACTORS

ROOT: Final = Path(__file__).resolve().parents[2]
TABLE: Final = "| promise | test |"
PROMISING: Final = (
    "keyed", "mailboxes", "observing", "placement", "supervision", "testing", "watch",
)  # fmt: skip
"""Pages that have to have such a table."""
NAMED: Final = re.compile(r"`([\w/]+\.py)?(?:::)?(\w*Machine|test_\w+)?`")


def defined() -> set[str]:
    """The names of all tests, those that are made from the matrix among them."""
    found = set(names(EXTRAS_OF_ACTORS)) | {n for n in vars(test_matrix_host) if "test_" in n}
    for path in (ROOT / "tests").rglob("*.py"):
        found |= set(re.findall(r"(?:def|class) (\w+)", path.read_text("utf-8")))
    return found


DEFINED: Final = defined()
FILES: Final = {path.name for path in (ROOT / "tests").rglob("test_*.py")}


def missing(text: str) -> list[str]:
    """What a text names as a test that is none."""
    wrong = []
    for file, name in NAMED.findall(text):
        is_file = not file or Path(file).name in FILES or not Path(file).name.startswith("test_")
        if not is_file or ("/tests/" in f"/{file}" and not (ROOT / file).is_file()):
            wrong.append(file)
        if name and name not in DEFINED:
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "docs").glob("*.md")))
def test_page_names_tests_that_exist(page: str) -> None:
    assert missing((ROOT / "docs" / f"{page}.md").read_text("utf-8")) == []


@pytest.mark.parametrize("page", PROMISING)
def test_each_promise_has_a_test(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    (table,) = re.findall(rf"^{re.escape(TABLE)}\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = table.splitlines()
    assert len(rows) >= 5
    for row in rows:
        shown = row.split(" | ", 1)[1]
        named = [name or Path(file).name for file, name in NAMED.findall(shown)]
        assert "scenario `" in shown or any(re.match("test_|.*Machine", n) for n in named), row


@pytest.mark.parametrize(
    "text",
    ["`test_that_nobody_wrote`", "`test_nowhere.py`", "`test_core.py::test_that_nobody_wrote`",
     "`NoSuchMachine`", "`tests/test_nowhere/test_core.py`"],
)  # fmt: skip
def test_a_test_that_is_not_there_is_noticed(text: str) -> None:
    assert missing(f"| a promise | {text} |")


@pytest.mark.parametrize("text", ["`test_core.py`", "`core.py`", "`test_one_for_one_escalation`"])
def test_what_is_there_is_not(text: str) -> None:
    assert missing(text) == []
