"""Checks of the machine and the cluster that Callboard runs on."""

__all__: list[str] = []
