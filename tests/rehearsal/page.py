"""The commands of `docs/cluster.md`: the rehearsal runs what the page says, so the page holds."""

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["command", "commands"]

HEADING: Final = re.compile(r"^#+ (.*)$")
COMMENT: Final = re.compile(r"\s+#\s.*$")


def commands(page: str, heading: str) -> Sequence[str]:
    """The lines of the shell in a section, without comments, in order.

    `heading` is its beginning, such as `3.`; the section ends at the next heading of any level.
    Raises `ValueError` when the page has no such section.
    """
    found, is_there, is_in, is_code = [], False, False, False
    for line in page.splitlines():
        if line.startswith("```"):
            is_code = line == "```bash"
        elif is_code and is_in:
            found.append(COMMENT.sub("", line))
        elif not is_code and (match := HEADING.match(line)):
            is_in = match[1].startswith(heading)
            is_there = is_there or is_in
    if not is_there:
        raise ValueError(f"docs/cluster.md has no section {heading!r}.")
    return found


def command(page: str, heading: str, beginning: str) -> str:
    """The one command of a section that begins so. Raises `ValueError` when it is not one."""
    among = [line for line in commands(page, heading) if line.startswith(beginning)]
    if len(among) != 1:
        raise ValueError(
            f"section {heading!r} of docs/cluster.md has {len(among)} commands that begin with "
            f"{beginning!r}, not one."
        )
    return among[0]
