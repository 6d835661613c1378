"""Submit and follow executions of a system from outside of its cluster, over its HTTP API."""

from callboard.runtime.api.remote import RemoteHandle, RemoteSystem, connect

__all__ = ["RemoteHandle", "RemoteSystem", "connect"]
