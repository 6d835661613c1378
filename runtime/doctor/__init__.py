"""What Callboard knows about the machine and the cluster it runs on."""

__all__: list[str] = []
