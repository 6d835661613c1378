"""The list of equivalent mutants: what it takes, and what it says when the code has changed."""

import tomllib
from pathlib import Path
from typing import Final

import pytest

from .equivalent import Entry, Equivalents, entry_for
from .mutants import mutants_of

FILE: Final = "actors/a/core.py"
CODE: Final = """
def last(rows, count):
    if count <= 0 and rows[0] != "it's \\\\":
        rows.pop()
    return rows
"""


def listed(text: str) -> Equivalents:
    return Equivalents([Entry(**entry) for entry in tomllib.loads(text)["equivalent"]])


def test_what_a_survivor_prints_lists_that_mutant_and_no_other() -> None:
    mutants = list(mutants_of(FILE, CODE))
    assert len(mutants) > 8
    for mutant in mutants:
        text = entry_for(mutant, CODE).replace("reason = ''", "reason = 'It returns rows.'")
        found = listed(text)
        met = [each for each in mutants if found.entry_of(each, CODE) is not None]
        assert met == [mutant]
        assert not found.unmet()


def test_an_entry_counts_where_its_lines_have_moved_to() -> None:
    mutant = next(mutants_of(FILE, CODE))
    found = listed(entry_for(mutant, CODE).replace("reason = ''", "reason = 'Why.'"))
    moved = f"import os\n\n{CODE}"
    assert any(found.entry_of(each, moved) for each in mutants_of(FILE, moved))


def test_an_entry_whose_line_has_changed_is_reported() -> None:
    mutant = next(mutants_of(FILE, CODE))
    found = listed(entry_for(mutant, CODE).replace("reason = ''", "reason = 'Why.'"))
    changed = CODE.replace("count <= 0", "count < 1")
    assert not any(found.entry_of(each, changed) for each in mutants_of(FILE, changed))
    assert list(found.unmet()) == found.entries


def test_an_entry_without_a_reason_is_refused() -> None:
    mutant = next(mutants_of(FILE, CODE))
    with pytest.raises(ValueError, match="empty field"):
        listed(entry_for(mutant, CODE))


@pytest.mark.soak
def test_every_entry_of_the_list_is_a_mutant(root: Path) -> None:
    """`make mutants` says the same of the code as it is then."""
    real = Equivalents.read()
    for file in sorted({entry.file for entry in real.entries}):
        code = (root / file).read_text(encoding="utf-8")
        for mutant in mutants_of(file, code):
            real.entry_of(mutant, code)
    assert not real.unmet()
