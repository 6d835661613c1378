"""Events for clients outside: what `ctx.publish` and `System.publish` send to the hubs."""

from callboard.actors.streaming.messages import (
    PublishBatch,
    StreamEvent,
    StreamFilter,
    StreamMetadata,
)

__all__ = ["PublishBatch", "StreamEvent", "StreamFilter", "StreamMetadata"]
