"""Texts and tables of an execution in HTML: escaped, and without control characters."""

from collections.abc import Iterable, Sequence
from html import escape

from ..figures import printable

__all__ = ["clipped", "left_off", "table", "tag", "text"]


def text(words: str) -> str:
    """A foreign text, escaped for element contents and attributes."""
    return escape(printable(words).encode("utf-8", "replace").decode())


def clipped(words: str, chars: int) -> str:
    """A text, cut to `chars` characters."""
    return words if len(words) <= chars else f"{words[: chars - 1]}…"


def tag(status: str) -> str:
    """A status in its colour."""
    return f'<span class="tag {text(status)}">{text(status.replace("_", " "))}</span>'


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], label: str) -> str:
    """A table. A title that begins with `#` marks a column of numbers. Cells are HTML."""
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
    """A note on how many items the page does not show."""
    return f'<p class="soft">{count:,} {what} are not shown.</p>' if count > 0 else ""
