"""What of an execution may stand in HTML: escaped, without control characters, as tables."""

from collections.abc import Iterable, Sequence
from html import escape

from ..figures import printable

__all__ = ["clipped", "left_off", "table", "tag", "text"]


def text(words: str) -> str:
    """A text from elsewhere, for between tags and in attributes."""
    return escape(printable(words).encode("utf-8", "replace").decode())


def clipped(words: str, chars: int) -> str:
    """The beginning of a text that is too long for its place."""
    return words if len(words) <= chars else f"{words[: chars - 1]}…"


def tag(status: str) -> str:
    """A status as a word in its colour."""
    return f'<span class="tag {text(status)}">{text(status.replace("_", " "))}</span>'


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], label: str) -> str:
    """A table; a title that begins with `#` is one of numbers. Cells are HTML already."""
    kinds = [' class="n"' if title.startswith("#") else "" for title in titles]
    kinds = [
        ' class="error"' if title == "error" else kind
        for title, kind in zip(titles, kinds, strict=True)
    ]
    head = "".join(
        f'<th scope="col"{kind if "n" in kind and "error" not in kind else ""}>'
        f"{title.lstrip('#')}</th>"
        for title, kind in zip(titles, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def left_off(count: int, what: str) -> str:
    """How much of something is not on the page."""
    return f'<p class="soft">{count:,} {what} are not shown.</p>' if count > 0 else ""
