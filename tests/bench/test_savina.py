"""The Savina suite as data: its formulas, its checks, its parts, and the table in the docs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ours.savina import RUNNERS
from bench.outcome import Params
from bench.peers.savina.drivers import DRIVERS
from bench.registry import SAVINA
from bench.rounds import Report, SideReport
from bench.savina.games import (
    GAMES,
    expected_savina,
    game_named,
    games_in,
    outcome_of,
    sizes_of,
    term_bits,
    transfer_of,
)
from bench.savina.sizes import FULL, PYKKA, RAY, RAY_CANNOT, SMOKE, XOSCAR
from bench.savina.table import BEGIN, END, PAGE, blank_table, rows_of, table_of, write_table

NAMES = [game.name for game in GAMES]
PING_PONG = {"ping_pong.round_trips": 3}


def test_the_suite_has_the_games_it_is_asked_for() -> None:
    assert len(NAMES) >= 12
    assert list(RUNNERS) == NAMES
    assert list(DRIVERS) == NAMES


@pytest.mark.parametrize(
    ("params", "cannot"),
    [(FULL, {}), (SMOKE, {}), (PYKKA, {}), (XOSCAR, {}), (RAY, RAY_CANNOT)],
    ids=["ours and erlang", "smoke", "pykka", "xoscar", "ray"],
)
def test_every_game_has_sizes_or_a_reason(params: Params, cannot: dict[str, str]) -> None:
    played = {game.name for game in games_in(params)}
    assert played | cannot.keys() == set(NAMES)
    assert not played & cannot.keys()


def test_sizes_are_those_of_one_game_without_its_name() -> None:
    assert sizes_of(game_named("thread_ring"), FULL).keys() == {"actors", "hops"}
    assert sizes_of(game_named("big"), PING_PONG) == {}


@given(st.integers(0, 10**6), st.integers(5, 10_000))
def test_a_transfer_goes_upwards_to_another_account(number: int, accounts: int) -> None:
    source, target, amount = transfer_of(number, accounts)
    assert 0 <= source < target < accounts
    assert amount > 0


def test_the_order_of_terms_is_in_their_sum() -> None:
    assert term_bits([0.1, 0.2, 0.3]) != term_bits([0.3, 0.2, 0.1])


def test_the_bank_neither_makes_nor_loses_money() -> None:
    output = game_named("banking").output({"accounts": 10, "transfers": 100})
    assert (
        output["total"] == game_named("banking").output({"accounts": 10, "transfers": 0})["total"]
    )


def test_a_game_with_another_output_is_refused_by_name() -> None:
    rounds = {"ping_pong": (1, {"pings": 3, "pongs": 2})}
    with pytest.raises(AssertionError, match="ping_pong"):
        outcome_of(PING_PONG, rounds)


def test_a_game_with_the_right_output_has_a_rate_and_the_check() -> None:
    outcome = outcome_of(PING_PONG, {"ping_pong": (1_000_000_000, {"pings": 3, "pongs": 3})})
    assert outcome.results == {"ping_pong_messages_per_s": 6.0}
    assert outcome.check == expected_savina(PING_PONG)


@pytest.mark.parametrize("game", GAMES, ids=NAMES)
def test_every_figure_is_a_rate_of_its_game(game: object) -> None:
    figure = getattr(game, "figure", "")
    assert figure.startswith(getattr(game, "name", "?"))
    assert figure.endswith("_per_s")


def test_a_part_of_the_suite_has_its_sizes_alone() -> None:
    part = SAVINA.only(["big"])
    assert part.ours.smoke.keys() == {"big.actors", "big.pings"}
    assert part.parts == ("big",)
    assert len(part.peers) == len(SAVINA.peers)


def test_a_peer_that_can_do_no_chosen_part_is_left_out() -> None:
    part = SAVINA.only(["sleeping_barber"])
    assert "ray" not in [peer.name for peer in part.peers]


# --- the table ----------------------------------------------------------------------------------


def test_the_page_has_a_row_for_each_game() -> None:
    assert rows_of(PAGE.read_text(encoding="utf-8")) == NAMES


def test_the_page_describes_each_game() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{game.name}` | {game.what} |" in text for game in GAMES)


def report(*peers: SideReport) -> Report:
    results = {"ping_pong_messages_per_s": 1_234_567.0, "counting_messages_per_s": 2.5}
    ours = SideReport("callboard", "measured", {**FULL}, results=results)
    return Report("savina", "How fast?", False, 1, ours, peers)


def test_a_table_shows_rates_smaller_sizes_and_missing_sides() -> None:
    pykka = SideReport("pykka", "measured", {**PYKKA}, results={"ping_pong_messages_per_s": 99.4})
    ray = SideReport("ray", "measured", {**RAY}, cannot=RAY_CANNOT)
    erlang = SideReport("erlang", "absent", {}, "no program 'erl' here")
    lines = table_of(report(pykka, ray, erlang), {"cores": 2}).splitlines()
    assert "| `ping_pong` | messages | 1,234,567 | – | 99* | – | – |" in lines
    assert "| `counting` | messages | 2.5 | – | – | – | – |" in lines
    assert "- Erlang: absent." in lines
    assert f"- Ray cannot play sleeping_barber: {RAY_CANNOT['sleeping_barber']}." in lines
    assert "- Measured on: cores 2; one round." in lines


def test_a_table_is_written_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_table(blank_table(), page)
    write_table(blank_table(), page)
    text = page.read_text()
    assert rows_of(text) == NAMES
    assert "old" not in text
    assert text.startswith("before\n\n")
    assert text.endswith("\n\nafter\n")


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}"])
def test_a_page_without_both_marks_is_refused(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError):
        write_table(blank_table(), page)
    assert page.read_text() == text
