"""The plan of one hub, which travels to its host."""

from dataclasses import dataclass

from ...web.settings import WebSettings

__all__ = ["HubPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPlan:
    """What a hub is made of, as plain values. Places of stores are those of its node."""

    system: str
    """The name of the system."""
    web: WebSettings
    """Where it listens. A port of 0 means `port_chosen`."""
    port_chosen: int = 0
    """The port that was free at the start; another one is taken if it is not any more."""
    tokens: str
    """The URL of the store of tokens."""
    keys: str
    """The file of the keys that sign them."""
    journal: str = ""
    """The URL of the journal; empty without one that another process can read."""
    metrics: str = ""
    """The URL of the windows of metrics; empty for none."""
    pipelines: tuple[str, ...] = ()
    """The URLs of the stores of pipelines."""
    shards: int = 1
    """The number of aggregators."""
    records: bool = False
    """Whether the hosts of the system record points, so that a hub takes those of others."""
