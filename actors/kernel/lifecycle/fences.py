"""Fencing tokens: numbers that grow with every incarnation of an actor on one host.

The root gives a floor with each command that starts actors. The floors of two processes that take
a slot over, one after the other, differ by more than any process uses, so the tokens of a replaced
process stay below those of its successor, however long it runs on.
"""

__all__ = ["Fences"]


class Fences:
    """Draws the tokens of one host. All are positive and fit a signed integer of 64 bits."""

    __slots__ = ("_newest",)

    def __init__(self) -> None:
        self._newest: int = 0

    def raise_to(self, floor: int) -> None:
        """Draw only tokens above `floor` from now on."""
        self._newest = max(self._newest, floor)

    def draw(self) -> int:
        """The token of a new incarnation: higher than all before it."""
        self._newest += 1
        return self._newest
