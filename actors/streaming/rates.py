"""A token bucket: so many a second, and so many at once. Pure."""

__all__ = ["Bucket"]


class Bucket:
    """Room for `burst` at once, which fills by `per_second`. A clock that goes back adds none."""

    __slots__ = ("_at_s", "_burst", "_per_second", "_room")

    def __init__(self, per_second: float, burst: float, now_s: float) -> None:
        self._per_second = per_second
        self._burst = self._room = float(burst)
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one. False when there is none."""
        passed_s = now_s - self._at_s
        self._at_s = now_s
        if passed_s > 0.0:
            self._room = min(self._burst, self._room + passed_s * self._per_second)
        if self._room < 1.0:
            return False
        self._room -= 1.0
        return True
