"""Output is as wide as the terminal, and wider where there is none."""

import pytest

from callboard.runtime.cli.figures import FILE_WIDTH, paper


def test_a_file_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert paper().width == FILE_WIDTH


def test_columns_of_the_environment_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert paper().width == 72


def test_a_terminal_keeps_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich then treats it as a terminal.
    assert paper().width != FILE_WIDTH
