"""Event sourcing: logs, aggregates, projections, subscriptions and consumers."""

from callboard.actors.events.aggregate import Aggregate, applies, decides
from callboard.actors.events.codec import Event, EventCodec, Unknown
from callboard.actors.events.commands import Commands
from callboard.actors.events.consumers.core import ConsumersLimits
from callboard.actors.events.consumers.group import ConsumerGroup, ConsumersStatistics
from callboard.actors.events.log import FollowedLog
from callboard.actors.events.projection.actor import ProjectorActor, ProjectorView, QueryProjector
from callboard.actors.events.projection.figures import ProjectorStatistics
from callboard.actors.events.projection.projection import Projection, Rows, projects
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.projection.queries import Queries
from callboard.actors.events.subscription.reader import Follower
from callboard.actors.events.subscription.subscription import Subscription, SubscriptionStatistics
from callboard.actors.journal.client import LogClient
from callboard.actors.journal.snapshots import Snapshots
from callboard.messages.storage.event_ids import new_event_id
from callboard.messages.storage.events import (
    ANY,
    NO_STREAM,
    Append,
    EventStore,
    NewEvent,
    RecordedEvent,
)
from callboard.runtime.api.storage import open_log, projector_spec

__all__ = [
    "ANY",
    "NO_STREAM",
    "Aggregate",
    "Append",
    "Commands",
    "ConsumerGroup",
    "ConsumersLimits",
    "ConsumersStatistics",
    "Event",
    "EventCodec",
    "EventStore",
    "FollowedLog",
    "Follower",
    "LogClient",
    "NewEvent",
    "Projection",
    "Projector",
    "ProjectorActor",
    "ProjectorStatistics",
    "ProjectorView",
    "Queries",
    "QueryProjector",
    "RecordedEvent",
    "Rows",
    "Snapshots",
    "Subscription",
    "SubscriptionStatistics",
    "Unknown",
    "applies",
    "decides",
    "new_event_id",
    "open_log",
    "projector_spec",
    "projects",
]
