"""The link: the ordered, flow-controlled path from one host to another.

`LinkCore` decides numbers, order and credit. The outbox writes frames, the receiver reads
them and fills mailboxes, and `FlowControl` holds the messages for full mailboxes back.
"""

__all__: list[str] = []
