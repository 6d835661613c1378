"""How detached systems and their processes are called, so that any driver finds them."""

import importlib
import re
from typing import Final

from callboard.messages.core.errors import SpecError

__all__ = ["NAMESPACE", "check_name", "release", "root_name", "system_of"]

NAMESPACE: Final = "callboard"
"""Ray's namespace of all detached systems: names of one driver's own are seen by it alone."""
ROOT_SUFFIX: Final = "/root"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str) -> None:
    """Raises `SpecError` for what cannot be the name of a detached system."""
    if not NAME.fullmatch(name):
        raise SpecError(
            f"a detached system cannot be called {name!r}.",
            advice="Use up to 64 letters, digits, dots, dashes and underscores.",
            field="name",
        )


def root_name(system: str) -> str:
    """The name of a system's root among Ray's actors."""
    return system + ROOT_SUFFIX


def system_of(actor_name: str) -> str | None:
    """The system whose root has this name; None for any other actor."""
    name = actor_name.removesuffix(ROOT_SUFFIX)
    return name if name != actor_name and NAME.fullmatch(name) else None


def release() -> str:
    """The release of Callboard in this process; a system and its drivers have the same.

    The facade that knows it imports this room, so it is loaded by name.
    """
    return str(importlib.import_module("callboard").__version__)
