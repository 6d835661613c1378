"""One host alone, for the tests of single actors."""

from .host.conftest import host, spawn

__all__ = ["host", "spawn"]
