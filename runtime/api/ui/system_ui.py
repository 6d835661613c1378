"""The hubs of a system, for its driver: started once, found by name, asked for links."""

import importlib.util
import socket
import sys
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

from callboard.actors.kernel.props import props
from callboard.actors.kernel.spawnable import Spawnable
from callboard.actors.streaming.actor import QueryHub
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.principals import Principal
from callboard.messages.control.spec import Restart
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import ActorNotFound, NameTaken, SpecError
from callboard.messages.core.ref import Ref

from ...admin.page_link import OpenPage, PageOpened, find_hubs, hub_name, open_page
from ...admin.principals import local_principal
from ...executions.service.client import NODE_SHARE
from ...hosting.settings import Settings
from ...hosting.ui_settings import UiSettings
from ...transport.tcp import bind
from ..tokens import token_files
from .hub_plan import HubPlan

__all__ = ["SystemUi"]

ReplyT = TypeVar("ReplyT")
PACKAGES: Final = ("fastapi", "jwt", "uvicorn", "websockets")
"""The packages of the extra `web`."""
ANSWER_S: Final = 10.0


class StartsHubs(Protocol):
    """What hubs need of a `System`."""

    async def spawn(
        self,
        actor: Spawnable[Any],
        *,
        name: str | None = None,
        offer: bool = False,
        placement: Placement | None = None,
        restart: Restart = Restart.TRANSIENT,
    ) -> Ref[Any]:
        """See `System.spawn`."""

    def ask(
        self,
        request: Request[ReplyT],
        to: Ref[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Awaitable[ReplyT]:
        """See `System.ask`."""

    async def lookup(self, name: str) -> Ref[Any]:
        """See `System.lookup`."""


class SystemUi:
    """The page, the HTTP API and the streams of a system: `system.ui`."""

    def __init__(
        self, system: StartsHubs, settings: Settings, *, journal: str, metrics: str, node: str
    ) -> None:
        """Use `System.ui`, which calls this.

        `journal` and `metrics` are the URLs of their stores, and `node` is the address of the node
        that has the files; empty for none.
        """
        self._system: Final = system
        self._settings: Final = settings
        self._journal: Final = journal
        self._metrics: Final = metrics
        self._node: Final = node

    async def start(self, ui: UiSettings | None = None) -> None:
        """Start the hubs that do not run yet.

        Raises `SpecError` without the extra `web`, and `ActorStartFailed`, for instance when a
        port is taken.
        """
        chosen = ui or self._settings.page or UiSettings()
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise SpecError(
                f"the page needs packages that are not installed: {', '.join(missing)}.",
                advice="Install the extra: pip install 'callboard[web]'.",
                field="ui",
            )
        from .web_hub import WebHub  # With the sources of all channels.

        for number in range(1, chosen.hubs + 1):
            if await self._find(number) is not None:
                continue
            try:
                await self._system.spawn(
                    props(WebHub, self._plan(chosen, number)),
                    name=hub_name(number),
                    offer=True,
                    placement=Placement(isolated=self._place(chosen, number)),
                    restart=Restart.PERMANENT,
                )
            except NameTaken:
                continue  # Another driver has started it meanwhile.

    def _place(self, ui: UiSettings, number: int) -> Resources:
        node = ui.nodes[(number - 1) % len(ui.nodes)] if ui.nodes else self._node
        return Resources(cpus=0.0, custom={f"node:{node}": NODE_SHARE} if node else {})

    def _plan(self, ui: UiSettings, number: int) -> HubPlan:
        tokens, keys = ui.tokens, ui.keys
        if not tokens or not keys:
            default_tokens, default_keys = token_files(self._settings.name)
            tokens, keys = tokens or default_tokens, keys or str(default_keys)
        web = ui.web
        if web.port and not ui.nodes:
            web = replace(web, port=web.port + number - 1)
        return HubPlan(
            system=self._settings.name,
            web=web,
            port_chosen=0 if web.port or ui.nodes else _free_port(web.host),
            tokens=tokens,
            keys=keys,
            journal=self._journal,
            metrics=self._metrics,
            pipelines=ui.pipelines,
            shards=self._shards,
            records=self._settings.recording is not None,
        )

    @property
    def _shards(self) -> int:
        recording = self._settings.recording
        return 1 if recording is None else recording.shards

    async def _find(self, number: int) -> Ref[Any] | None:
        try:
            return await self._system.lookup(hub_name(number))
        except ActorNotFound:
            return None

    async def open_page(self, asker: Principal | None = None) -> PageOpened:
        """Links to the page, one for each hub; each counts once, for a minute.

        They log in as `asker`, by default as the user of this process. Raises `ActorNotFound`
        when no hub runs, and an `AskError` when one does not answer.
        """
        request = OpenPage(asker=asker or local_principal("driver"))
        return await open_page(self._system.lookup, request, ANSWER_S)

    async def urls(self) -> tuple[str, ...]:
        """The addresses of the hubs. Raises what `open_page` raises."""
        hubs = await find_hubs(self._system.lookup)
        found = [await self._system.ask(QueryHub(), hub) for hub in hubs]
        return tuple(view.address for view in found)

    async def answer(self, request: Request[Any]) -> PageOpened:
        """Answer a request of the admin API; a system without a hub starts one."""
        assert isinstance(request, OpenPage), "the admin API has no other request of the page"
        if await self._find(1) is None:
            await self.start()
        return await self.open_page(request.asker)

    async def print_link(self) -> None:
        """Print a link to the page, which counts once, to standard error."""
        for link in (await self.open_page()).links[:1]:
            sys.stderr.write(f"The page of {self._settings.name}: {link}\n")
            sys.stderr.flush()


def _free_port(host: str) -> int:
    """A port that is free here now, so that a hub has the same one after each start."""
    try:
        with bind("127.0.0.1" if host == "localhost" else host.strip("[]"), range(1)) as bound:
            port: int = bound.getsockname()[1]
            return port
    except (OSError, socket.gaierror):
        return 0  # The address is another node's.
