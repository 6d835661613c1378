"""The driver API, engines, hosts, links, cluster, command line, and their wiring."""

__all__: list[str] = []
