"""What supervisors, hosts and the control plane say to each other."""

__all__: list[str] = []
