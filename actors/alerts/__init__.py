"""Alerts: rules over metrics, the states of their alerts, and who is notified of them."""

__all__: list[str] = []
