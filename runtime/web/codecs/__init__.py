"""Bytes of clients to the hub's commands, and its replies and pushes to bytes. No input or output.

`fields.py` gives each value of the protocol a form of plain fields, once for both codecs of
Centrifugo: JSON writes them as an object, Protobuf by the numbers of `schema.py`. `plain.py` has
the JSON of the data-flow document, `sse.py` server-sent events.
"""

__all__: list[str] = []
