"""Events for clients outside: what `ctx.publish` and `System.publish` send to the hubs."""

from callboard.actors.streaming.actor import SubscribeUser
from callboard.actors.streaming.messages import (
    PublishBatch,
    StreamEvent,
    StreamMetadata,
)
from callboard.messages.control.filters import StreamFilter

__all__ = ["PublishBatch", "StreamEvent", "StreamFilter", "StreamMetadata", "SubscribeUser"]
