"""The table at the end of a rehearsal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

__all__ = ["Row", "table"]

HEADINGS: Final = ("rehearsed", "noticed after", "went on after", "two at once", "result", "left")


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was rehearsed. Times are in seconds; None where there is nothing to say."""

    name: str
    noticed_s: float | None = None
    went_on_s: float | None = None
    two_at_once_s: float | None = None
    problems: Sequence[str] = ()
    left: Sequence[str] = ()
    """What was left afterwards: processes and files."""
    took_s: float | None = field(default=None)

    @property
    def is_right(self) -> bool:
        """Whether it went as the documentation says."""
        return not self.problems

    def cells(self) -> tuple[str, ...]:
        """Its cells, as text."""
        took = "" if self.took_s is None else f" in {self.took_s:.0f} s"
        result = "; ".join(self.problems) if self.problems else f"right{took}"
        times = (self.noticed_s, self.went_on_s, self.two_at_once_s)
        return (
            self.name,
            *("" if time_s is None else f"{time_s:.1f} s" for time_s in times),
            result,
            "; ".join(self.left) or "nothing",
        )


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown, with columns as wide as they need to be."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
