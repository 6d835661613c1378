"""The port of object stores, and the rule for the names of objects."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from callboard.messages.core.errors import StoreFailed, UsageError
from callboard.messages.core.names import shown

__all__ = ["ObjectInfo", "ObjectMissing", "ObjectStore", "check_object_name", "object_missing"]

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*")
"""Small letters, so that two names differ on every file system; no part begins with a dot."""
NAME_CHARACTERS_MAX: Final = 500
PART_CHARACTERS_MAX: Final = 200


class ObjectMissing(StoreFailed):
    """The store has no object of this name."""

    code = "object_missing"


class ObjectInfo(NamedTuple):
    """An object in the listing of its store."""

    name: str
    """Its name in the store."""
    size_bytes: int
    """The size of its content."""
    modified_at: float
    """When it was written, in seconds since 1970, by the clock of the store."""


class ObjectStore(Protocol):
    """Objects by name. Every method blocks; any number of threads may call them at once.

    Every method raises what an `EventStore` raises, and `UsageError` for a name that
    `check_object_name` refuses.
    """

    @property
    def name(self) -> str:
        """The kind and the place of the store, for people."""

    def open(self) -> None:
        """Create what is missing. Raises the store's errors when it cannot be reached."""

    def put(self, name: str, data: bytes) -> bool:
        """Store an object if there is none of this name; it is durable on return.

        Gives False, and changes nothing, when there is one, whatever it contains.
        """

    def get(self, name: str) -> bytes:
        """The content of an object. Raises `ObjectMissing`."""

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        """A part of an object, shorter at its end; none after it. Raises `ObjectMissing`."""

    def head(self, name: str) -> ObjectInfo | None:
        """The size and the time of an object; None when there is none."""

    def objects(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[ObjectInfo]:
        """Objects whose names begin with the prefix, sorted by name.

        With `after`, the name of an object, those behind it.
        """

    def delete(self, names: Sequence[str]) -> None:
        """Delete these objects; one that does not exist is no error."""

    def copy(self, source: str, target: str) -> bool:
        """Copy an object as `put` would. Raises `ObjectMissing`."""

    def close(self) -> None:
        """Release the store; may be called twice."""


def check_object_name(name: str) -> None:
    """Raise `UsageError` for a name that not every store can hold."""
    parts_max = max(map(len, name.split("/")))
    if len(name) > NAME_CHARACTERS_MAX or parts_max > PART_CHARACTERS_MAX:
        raise UsageError(
            f"the name of an object has {len(name)} characters.",
            advice=f"Use at most {NAME_CHARACTERS_MAX}, and {PART_CHARACTERS_MAX} between slashes.",
        )
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{shown(name)} is no name of an object.",
            advice="Use small letters, digits, '.', '_' and '-', and '/' between parts that "
            "begin with a letter or a digit.",
        )


def object_missing(store: str, name: str) -> ObjectMissing:
    """The error for a name without an object."""
    return ObjectMissing(
        f"{store}: there is no object {name}.",
        advice="Restore it from a backup. `callboard` removes no object that is listed.",
        may_have_run=False,
    )
