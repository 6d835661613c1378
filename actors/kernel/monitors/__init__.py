"""Monitors and links: how actors learn of each other's ends, on one host or across hosts.

`MonitorTable` has the ends of all watches and links of a host, `Monitors` is its shell, and
notices are the messages that the kernel itself puts into mailboxes.
"""

__all__: list[str] = []
