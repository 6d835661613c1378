"""Alerts: rules over metrics, the states of their alerts, and who is notified of them."""
