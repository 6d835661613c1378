"""What commands print on is as wide as its terminal, and wide where it is none."""

import pytest

from callboard.runtime.cli.figures import FILE_WIDTH, paper


def test_what_is_no_terminal_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert paper().width == FILE_WIDTH


def test_columns_of_the_environment_count_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert paper().width == 72


def test_a_terminal_is_as_wide_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # As a terminal would be taken.
    assert paper().width != FILE_WIDTH
