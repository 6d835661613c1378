"""What feeds the hub's channels: the journal, the control plane, metrics, alerts and logs."""

__all__: list[str] = []
