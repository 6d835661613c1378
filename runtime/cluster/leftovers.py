"""Detached systems of a cluster whose root is dead for good: Ray ends their hosts for nobody.

`check_leftovers` judges what its caller found there, or why nothing could be found.
"""

from collections.abc import Sequence

from .check import Check, Status

__all__ = ["check_leftovers", "leftovers_unknown"]

NAME = "detached systems"


def check_leftovers(address: str, names: Sequence[str]) -> Check:
    """Whether detached systems have left something in the cluster at `address`."""
    if not names:
        return Check(NAME, Status.OK, "none with a dead root")
    commands = ", ".join(f"`callboard down {name} --address {address}`" for name in names)
    return Check(
        NAME,
        Status.WARN,
        f"{len(names)} with a dead root, whose hosts may still run: {', '.join(names)}",
        f"Remove what is left: {commands}.",
    )


def leftovers_unknown(reason: str) -> Check:
    """The cluster could not be looked into from here."""
    return Check(
        NAME,
        Status.WARN,
        f"could not be looked for: {reason}",
        "Run it on a node of the cluster, with the cluster's token.",
    )
