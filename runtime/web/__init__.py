"""The web server of a system: page, API and streams on one port.

`server.py` is the edge of a hub, `protocols.py` what it changes of uvicorn, `gate.py` what every
request passes, `streams/` the endpoints of streams, `codecs/` their bytes.
"""

__all__: list[str] = []
