"""The limits of a hub: every queue, wait and list has one."""

from dataclasses import dataclass

from .messages import CHANNEL_BYTES_MAX, EVENT_BYTES_MAX

__all__ = ["HubLimits"]


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Sizes in bytes, times in seconds. The defaults are those of the protocol's servers."""

    connections_max: int = 10_000
    user_connections_max: int = 1_000
    """Connections of one principal; one more is refused with 3504."""
    channels_max: int = 128
    """Subscriptions of one connection; one more is refused with 106."""
    channel_bytes_max: int = CHANNEL_BYTES_MAX
    event_bytes_max: int = EVENT_BYTES_MAX
    queue_bytes_max: int = 1 << 20
    """What waits for one connection; more of a journal channel ends it with 3008."""
    queue_bytes_soft: int = 1 << 18
    """From here on, newest values replace each other, and the oldest of a tail go."""
    held_bytes_max: int = 1 << 18
    """Newest values and tails that a slow connection keeps besides its queue."""
    queue_age_max_s: float = 5.0
    """How long an event of a journal channel waits at most before 3008."""
    connect_s: float = 5.0
    ping_s: float = 25.0
    pong_s: float = 10.0
    refresh_s: float = 25.0
    """How long an expired client may take to bring a new token."""
    commands_per_s: float = 100.0
    commands_burst: int = 300
    refused_max: int = 100
    """Commands that are refused with 111 before the connection ends with 3013."""
    ring_events_max: int = 300
    ring_bytes_max: int = 1 << 18
    """The history of one channel."""
    rings_bytes_max: int = 1 << 26
    """The history of all channels; the one that is published to least gives room."""
    values_max: int = 1_000
    """The keys of one `newest` channel whose values a new subscriber gets."""
    idle_s: float = 300.0
    """How long a channel without subscribers and publications keeps its history."""
    channels_kept_max: int = 100_000
    """Channels of the whole hub; the one that has been idle longest gives room."""
    replay_events_max: int = 300
    """Publications in one reply, or in one step of catching up."""
    replay_bytes_max: int = 1 << 18
    presence_max: int = 1_000
    source_s: float = 5.0
    """How long a source, a token or a method may take."""
