"""A real browser and a real system for the tests of the page; skipped where there is no browser."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from .world import PageWorld

WAIT_MS: Final = 20_000
"""How long a page waits for what a test expects."""
LIVE: Final = ".banner.good"
VIEW: Final = {"width": 1280, "height": 860}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium of this machine; nothing is downloaded.

    It ends with each module: Playwright keeps a loop running in this thread, which tests of others
    must not meet.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (dev extra)")
    path = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def world(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageWorld]:
    """A system with two hosts, an alert, and some executions."""
    opened = PageWorld(tmp_path_factory.mktemp("page"), with_alerts=True).open()
    opened.run("done-1")
    opened.run("failed-1", fails=True)
    yield opened
    opened.close()


OpenPage = Callable[..., Any]


class Watched:
    """A page, and what its console complained about."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))

    def _heard(self, said: Any) -> None:
        if said.type in {"error", "warning"}:
            self.complaints.append(f"{said.text} {said.location.get('url', '')}")

    def expect(self, *statuses: int) -> None:
        """Forget what the browser says about answers of these statuses."""
        texts = [f"a status of {status}" for status in statuses]
        self.complaints[:] = [
            said for said in self.complaints if not any(text in said for text in texts)
        ]

    def go(self, place: str) -> None:
        """Show a place of the page."""
        self.page.evaluate("place => { location.hash = place }", place)


@pytest.fixture
def open_page(chromium: Any) -> Iterator[OpenPage]:
    """Opens pages. Console errors, exceptions and violations of the policy fail the test."""
    contexts: list[Any] = []
    opened: list[Watched] = []

    def new_page(url: str, *, context: Any = None, ready: str = LIVE, **more: Any) -> Watched:
        if context is None:
            context = chromium.new_context(viewport=VIEW, **more)
            contexts.append(context)
        watched = Watched(context.new_page())
        opened.append(watched)
        watched.page.goto(url)
        watched.page.wait_for_selector(ready)
        return watched

    yield new_page
    for context in contexts:
        context.close()
    assert [said for one in opened for said in one.complaints] == []


@pytest.fixture(scope="module")
def signed_in(chromium: Any, world: PageWorld) -> Iterator[Watched]:
    """One page for many tests, signed in by a link."""
    context = chromium.new_context(viewport=VIEW)
    watched = Watched(context.new_page())
    watched.page.goto(world.link())
    watched.page.wait_for_selector(LIVE)
    yield watched
    context.close()


@pytest.fixture
def shown(signed_in: Watched) -> Iterator[Watched]:
    """The page; what its console says fails the test."""
    signed_in.go("#/now")
    yield signed_in
    found, signed_in.complaints = signed_in.complaints, []
    assert found == []
