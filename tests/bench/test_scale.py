"""The figures of `scale`: the table in the docs, and the growth that the changes have brought."""

from pathlib import Path

import pytest

from bench.ours.scale import run
from bench.rounds import Report, SideReport
from bench.savina.table import write_table
from bench.scale.events import EVENTS
from bench.scale.table import BEGIN, END, PAGE, rows_of, table_of

SMALL = {"hosts_1": 4, "hosts_2": 12}


@pytest.fixture(scope="module")
def results() -> dict[str, float]:
    return dict(run(SMALL).results)


def test_the_docs_have_every_event() -> None:
    assert rows_of(PAGE.read_text(encoding="utf-8")) == list(EVENTS)


def test_a_table_of_a_run_has_every_event_and_number_of_hosts(
    results: dict[str, float], tmp_path: Path
) -> None:
    ours = SideReport("callboard", "measured", SMALL, results=results)
    table = table_of(Report("scale", "?", False, 1, ours, ()), {"cores": 2})
    page = tmp_path / "scale.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter", encoding="utf-8")
    write_table(table, page, (BEGIN, END))
    assert rows_of(page.read_text(encoding="utf-8")) == list(EVENTS)
    assert table.count("|  | 12 |") == len(EVENTS)
    assert "cores 2" in table


@pytest.mark.parametrize("event", ["join", "loss", "spawn", "resize"])
def test_a_change_costs_each_host_the_same_whatever_their_number(
    results: dict[str, float], event: str
) -> None:
    """It was the whole directory to all hosts: bytes grew as the square of their number."""
    assert results[f"exponent_count_{event}_root_bytes"] < 1.1
    assert results[f"count_{event}_root_messages_12"] <= 12 + 5


def test_a_host_that_exchanges_no_message_has_no_link(results: dict[str, float]) -> None:
    """A link to each other host was several kilobytes."""
    assert (results["host_12_bytes"] - results["host_4_bytes"]) / 8 < 3_000
