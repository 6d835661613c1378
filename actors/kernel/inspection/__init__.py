"""The inspection of a host: its views, histories, meters and metric sources.

Views and histories answer the queries of `callboard tree`, `top` and `why`. Meters count
messages, restarts and failures, and metric sources add the readings of other parts.
"""

__all__: list[str] = []
