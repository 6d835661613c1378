"""The table of Savina figures in the docs, written by `python -m bench savina --table`.

It is between two marks in the page; the rest of the page is written by hand. Without figures
(`blank_table`) it has a row for each game, and a note that nothing is measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.rounds import Report, SideReport
from bench.savina.games import GAMES, Game, sizes_of

__all__ = ["BEGIN", "END", "PAGE", "blank_table", "rows_of", "table_of", "write_table"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BEGIN = "<!-- savina table: begin (written by `python -m bench savina --peers --table`) -->"
END = "<!-- savina table: end -->"
NO_FIGURE = "–"
LARGE = 10
SIDES = ("callboard", "erlang", "pykka", "xoscar", "ray")
HEADINGS: Mapping[str, str] = {
    "callboard": "Callboard",
    "erlang": "Erlang",
    "pykka": "pykka",
    "xoscar": "xoscar",
    "ray": "Ray",
}


def blank_table() -> str:
    """The table before any measurement."""
    return _table({}, ["Not measured yet."])


def table_of(report: Report, machine: Mapping[str, str | int | float]) -> str:
    """The table of one run, with the machine, and the missing figures with their reasons."""
    sides = {side.name: side for side in (report.ours, *report.peers)}
    said = ", ".join(f"{name} {value}" for name, value in machine.items())
    rounds = "one round" if report.repeat == 1 else f"medians of {report.repeat} rounds"
    notes = [f"Measured on: {said}; {rounds}."]
    for side in sides.values():
        heading = HEADINGS.get(side.name, side.name)
        if side.status != "measured":
            notes.append(f"{heading}: {side.status}.")
            continue
        notes += [f"{heading} cannot play {name}: {why}." for name, why in side.cannot.items()]
        notes += [f"{heading}: {note}." for note in side.notes]
    return _table(sides, notes)


def _table(sides: Mapping[str, SideReport], notes: Sequence[str]) -> str:
    lines = [
        "| benchmark | counted a second | " + " | ".join(HEADINGS[name] for name in SIDES) + " |",
        "|---" * (2 + len(SIDES)) + "|",
    ]
    for game in GAMES:
        cells = [_cell(game, sides.get(name), sides.get(SIDES[0])) for name in SIDES]
        lines.append(f"| `{game.name}` | {game.unit} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def _cell(game: Game, side: SideReport | None, ours: SideReport | None) -> str:
    """The rate of a side, with `*` where its sizes differ from ours."""
    if side is None or game.figure not in side.results:
        return NO_FIGURE
    value = side.results[game.figure]
    number = f"{value:,.0f}" if value >= LARGE else f"{value:.2g}"
    same = ours is None or sizes_of(game, side.params) == sizes_of(game, ours.params)
    return number if same else f"{number}*"


def write_table(table: str, page: Path = PAGE, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Write the table between the marks of the page.

    Raises:
        ValueError: if the page does not have both marks, once each, in order.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end or marks[0] in after or marks[1] in after:
        msg = f"{page.name} needs the lines {marks[0]!r} and {marks[1]!r}, once each"
        raise ValueError(msg)
    page.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")


def rows_of(text: str) -> list[str]:
    """The games in the table of a page."""
    _, _, rest = text.partition(BEGIN)
    table, _, _ = rest.partition(END)
    return [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
