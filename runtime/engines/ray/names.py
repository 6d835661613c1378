"""The names of detached systems and their processes, by which any driver finds them."""

import re
from typing import Final

from callboard.messages.core.errors import SpecError

__all__ = ["NAMESPACE", "check_name", "root_name", "system_of"]

NAMESPACE: Final = "callboard"
"""Ray's namespace of all detached systems; a driver's default namespace is its own."""
ROOT_SUFFIX: Final = "/root"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str) -> None:
    """Raise `SpecError` for a text that cannot be the name of a detached system."""
    if not NAME.fullmatch(name):
        raise SpecError(
            f"a detached system cannot have the name {name!r}.",
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
