"""Savina with Erlang/OTP: `savina.erl`, compiled and run once for all games."""

from pathlib import Path

from bench.entry import serve
from bench.outcome import Outcome, Params
from bench.peers.erlang_machine import run_erlang
from bench.savina.games import Game, Round, games_in, outcome_of, sizes_of

__all__: list[str] = []

SOURCE = Path(__file__).with_name("savina.erl")
PROCESSES = 250_000
"""Room for the unfinished actors of a fork-join."""


def _call(game: Game, params: Params) -> str:
    sizes = ", ".join(f"{name} => {size}" for name, size in sizes_of(game, params).items())
    return f"savina:play({game.name}, #{{{sizes}}})"


def _rounds(printed: str) -> dict[str, Round]:
    rounds = {}
    for line in printed.splitlines():
        name, elapsed_ns, *words = line.split()
        counts = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        rounds[name] = (int(elapsed_ns), counts)
    return rounds


def savina(params: Params) -> Outcome:
    """Run all games with sizes."""
    calls = ", ".join(_call(game, params) for game in games_in(params))
    printed = run_erlang("savina", SOURCE.read_text(), calls, processes=PROCESSES)
    return outcome_of(params, _rounds(printed))


if __name__ == "__main__":
    serve({"savina": savina})
