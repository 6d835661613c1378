"""How receivers of alerts are reached: the log, a webhook, Alertmanager."""
