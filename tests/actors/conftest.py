"""One host alone, for the tests of single actors."""

from .kernel.host.conftest import host, spawn

__all__ = ["host", "spawn"]
