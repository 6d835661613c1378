"""What users of other dashboards complained about: prefixes, tabs, sleep, refusals, endurance."""

from collections.abc import Iterator
from typing import Any

import pytest

from callboard.actors.streaming.protocol import Disconnect

from .conftest import LIVE, VIEW, OpenPage, Watched
from .world import STATIC, PageWorld

TABS = 10


@pytest.fixture
def prefixed(chromium: Any, tmp_path: Any) -> Iterator[PageWorld]:
    """A system whose page is behind a proxy, at a path."""
    world = PageWorld(tmp_path, prefix="/a/b").open()
    yield world
    world.close()


def test_below_a_prefix_every_address_works(prefixed: PageWorld, open_page: OpenPage) -> None:
    assert "/a/b/" in prefixed.url
    prefixed.run("done-1")
    watched = open_page(prefixed.link())
    page = watched.page
    for place in ("tree", "executions", "metrics", "events", "connections"):
        watched.go(f"#/{place}")
        page.wait_for_selector("nav [aria-current=page]")
    watched.go("#/executions/done-1")
    page.wait_for_selector(".execution-head .badge >> text=completed")
    page.reload()
    page.wait_for_selector(LIVE)
    names = page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
    assert names
    assert all("/a/b/" in name for name in names)
    watched.expect(404, 503)  # Without pipelines and alerts there is nobody to ask.


@pytest.mark.soak
def test_ten_tabs_are_live_at_once(world: PageWorld, chromium: Any, open_page: OpenPage) -> None:
    context = chromium.new_context(viewport=VIEW)
    tabs = [open_page(world.link(), context=context)]
    while len(tabs) < TABS:
        tabs.append(open_page(world.url, context=context))
    world.run("tabs-1", steps=1)
    for tab in tabs:
        tab.page.bring_to_front()
        tab.go("#/executions?id=tabs-1")
        tab.page.wait_for_selector(".list-row:has-text('tabs-1')")
        assert tab.page.locator(LIVE).count() == 1
    context.close()


def test_a_page_that_slept_shows_the_present_state(world: PageWorld, open_page: OpenPage) -> None:
    watched = open_page(world.link())
    page = watched.page
    watched.go("#/executions")
    page.wait_for_selector(".list-row:has-text('done-1')")
    devices = page.context.new_cdp_session(page)
    devices.send("Page.setWebLifecycleState", {"state": "frozen"})
    world.run("slept-1", steps=1)
    world.call(lambda: _cut(world))  # As the hub does when a page answers no ping.
    devices.send("Page.setWebLifecycleState", {"state": "active"})
    page.wait_for_selector(".list-row:has-text('slept-1')", timeout=2_000)
    page.wait_for_selector(LIVE)


async def _cut(world: PageWorld) -> None:
    for session in tuple(world.hub._sessions.values()):
        session.refuse(Disconnect.NO_PONG, "no pong")


def test_after_a_cut_the_list_goes_on_without_a_reload(shown: Watched, world: PageWorld) -> None:
    page = shown.page
    shown.go("#/events")
    page.wait_for_selector(".list-row:has-text('stepped')")
    world.call(lambda: _cut(world))
    world.run("cut-1", steps=1)
    page.wait_for_selector(".list-row:has-text('cut-1')")
    page.wait_for_selector(LIVE)
    assert "gap" not in page.locator(".note").first.inner_text()


def test_a_refused_token_ends_it_with_its_reason(shown: Watched) -> None:
    found = shown.page.evaluate(
        """async () => {
            const folder = document.querySelector('script').src.replace('app.js', 'stream.js');
            const { Stream } = await import(folder);
            const states = [];
            const url = new URL('connection/websocket', document.baseURI.split('#')[0]);
            url.protocol = 'ws:';
            await new Promise(resolve => {
                new Stream({
                    url: url.href, token: async () => 'wrong',
                    onState: (state, detail) => {
                        states.push([state, detail]);
                        if (state === 'refused') setTimeout(resolve, 500);
                    },
                }).start();
            });
            return states;
        }"""
    )
    assert [state for state, _ in found] == ["connecting", "refused"]
    assert found[-1][1]


def test_the_page_never_shows_a_model_that_differs(shown: Watched, world: PageWorld) -> None:
    shown.page.wait_for_selector(".host-grid >> text=host-1")
    equal = shown.page.evaluate(
        """async () => {
            const folder = document.querySelector('script').src.replace('app.js', '');
            const { digestOf, ValuesModel } = await import(folder + 'model.js');
            const { Api } = await import(folder + 'api.js');
            const api = new Api();
            const { items } = await api.get("hosts", { limit: 500 });
            const model = new ValuesModel();
            model.take({ values: Object.fromEntries(items.map(one => ['host/' + one.slot, one])) });
            return digestOf(items) === digestOf(model.hosts()) && items.length;
        }"""
    )
    assert equal == 3  # The control host and two others.


def test_all_files_of_the_page_are_served(world: PageWorld, shown: Watched) -> None:
    sources = shown.page.evaluate(
        "performance.getEntriesByType('resource').map(each => each.name.split('/static/')[1])"
    )
    loaded = {source.partition("/")[2] for source in sources if source}
    wanted = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js")}
    assert wanted - loaded == {"offline.js"}
