"""How receivers of alerts are reached: the log, a webhook, Alertmanager."""

__all__: list[str] = []
