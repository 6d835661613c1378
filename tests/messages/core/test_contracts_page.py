"""docs/contracts.md is true: its examples run, its tables name every limit and every error."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from callboard.messages.core import errors
from callboard.messages.core.limits import DEFAULT_LIMITS


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "contracts.md").read_text(encoding="utf-8")


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    _, _, section = page.partition(f"\n## {heading}\n")
    section = section.partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_examples_run_from_top_to_bottom(page: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    names: dict[str, Any] = {"__name__": "contracts_page"}
    for block in blocks:
        exec(compile(block, "docs/contracts.md", "exec"), names)


def test_every_limit_is_listed_with_its_default(page: str) -> None:
    assert {row[0]: row[1] for row in rows(page, "Limits")} == {
        field.name: str(getattr(DEFAULT_LIMITS, field.name))
        for field in dataclasses.fields(DEFAULT_LIMITS)
    }


def test_every_error_is_listed(page: str) -> None:
    listed = [row[0] for row in rows(page, "Errors")]
    assert sorted(listed) == sorted(name for name in errors.__all__ if name[0].isupper())
