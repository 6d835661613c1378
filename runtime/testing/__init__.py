"""The simulator for tests of a user's own actors; `callboard.testing` is its public face."""

__all__: list[str] = []
