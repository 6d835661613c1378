"""The command line that runs a program in namespaces of its own, and ends all of it with itself."""

from collections.abc import Sequence
from typing import Final

__all__ = ["separately"]

SEPARATE: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"),
    "--mount-proc",
)


def separately(words: Sequence[str]) -> list[str]:
    """The words that run `words` as the first process of new namespaces.

    When the process that is started by them ends, or its parent, however that is, the kernel ends
    the first process, and with it all others.
    """
    return [*SEPARATE, *words]
