"""Settings of the page, the HTTP API and the streams of a system."""

from dataclasses import dataclass, field

from callboard.messages.core.errors import SpecError

from ..admin.page_link import HUBS_MAX
from ..web.settings import WebSettings

__all__ = ["UiSettings"]


@dataclass(frozen=True, slots=True)
class UiSettings:
    """How a system is seen from outside. A wrong value raises `SpecError` or `UsageError`."""

    web: WebSettings = field(default_factory=WebSettings)
    """Where the first hub listens, and for whom. Further hubs on the same node take the ports
    after it. With port 0 each hub takes a free one, and keeps it when it is started again."""
    hubs: int = 1
    """The number of hubs. Each has a process of its own and serves all channels, and clients may
    move between them."""
    nodes: tuple[str, ...] = ()
    """Ray's addresses of the nodes for the hubs, which are taken in turn. By default the node of
    the driver, or of the journal's file. Hubs on several nodes need a journal and tokens in
    PostgreSQL, and the file of keys on each node."""
    tokens: str = ""
    """The store of tokens, a path or a URL as for the journal; by default a file of this system
    below `CALLBOARD_HOME`."""
    keys: str = ""
    """The file of the keys that sign tokens; by default next to the default store."""
    pipelines: tuple[str, ...] = ()
    """The stores of pipelines that it shows, and whose dead letters it replays: URLs as a
    `PipelineActor` has them."""
    prints_link: bool = True
    """Whether the start prints a link to the page, with a code that counts once."""

    def __post_init__(self) -> None:
        if type(self.hubs) is not int or not 1 <= self.hubs <= HUBS_MAX:
            raise SpecError(
                f"the ui has {self.hubs!r} hubs.",
                advice=f"It must be a number from 1 to {HUBS_MAX}.",
                field="ui",
            )
        if not all(isinstance(node, str) and node for node in self.nodes):
            raise SpecError(
                f"the ui has the nodes {self.nodes!r}.",
                advice="Give the addresses that `ray status` shows.",
                field="ui",
            )
