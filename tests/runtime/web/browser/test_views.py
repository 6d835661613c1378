"""Each view of the page in a browser, over a real system."""

from pathlib import Path
from typing import Any

import pytest

from .conftest import LIVE, OpenPage, Watched
from .world import HOSTILE, PageWorld


@pytest.fixture
def page(shown: Watched) -> Any:
    """The page of the browser."""
    return shown.page


def test_a_link_signs_in_once_and_leaves_no_code_in_the_address(
    world: PageWorld, open_page: OpenPage
) -> None:
    link = world.link()
    page = open_page(link).page
    assert "code" not in page.url
    page.reload()
    page.wait_for_selector(LIVE)
    stranger = open_page(link, ready=".sign-in")
    stranger.page.wait_for_selector("text=This link has been used")
    stranger.expect(401)


def test_now_says_what_needs_a_person(page: Any) -> None:
    page.wait_for_selector("text=1 alert firing")
    page.wait_for_selector(".host-grid >> text=host-1")
    page.wait_for_selector("text=1 failed")
    page.click(".rows >> text=making")
    page.wait_for_selector("h1 >> text=making")


def test_a_decision_that_waits_is_on_now_until_it_is_made(world: PageWorld, page: Any) -> None:
    question = {"id": "a1", "subject": f"Pay {HOSTILE}?", "asked_by": "ada", "asked_at": 1.0}
    world.asked = {"a1": {**question, "state": "asked", "details": {"sum": 7}, "ends_at": 0.0}}
    page.wait_for_selector("text=1 decision waiting")
    page.click("text=Refuse…")
    assert page.locator("dialog code").inner_text() == "callboard approve a1 --refuse"
    page.click("dialog >> text=Keep as it is")
    world.asked = {}
    page.wait_for_selector("text=Refuse…", state="hidden")


def test_the_tree_shows_actors_and_what_happened_to_them(shown: Watched, page: Any) -> None:
    shown.go("#/tree")
    page.click(".list-row >> text=host-1")
    page.wait_for_selector(".list-row:has-text('Maker')")
    page.fill("[data-search]", "Maker")
    page.wait_for_selector("text=actors contain “Maker”")
    page.click(".list-row:has-text('Maker')")
    page.wait_for_selector(".detail >> text=supervision")
    assert "path=" in page.url
    page.reload()
    page.wait_for_selector(".detail >> text=supervision")


def test_executions_are_filtered_and_sorted_by_the_address(shown: Watched, page: Any) -> None:
    shown.go("#/executions")
    page.wait_for_selector(".list-row:has-text('done-1')")
    page.click(".choices >> text=failed")
    page.wait_for_selector(".list-row:has-text('done-1')", state="detached")
    page.wait_for_selector(".list-row:has-text('failed-1')")
    page.click(".sort >> text=Job")
    page.wait_for_selector("[aria-sort=ascending]")
    page.reload()
    page.wait_for_selector(".list-row:has-text('failed-1')")
    assert page.locator("[aria-sort=ascending]").inner_text().startswith("Job")
    assert page.locator(".list-row:has-text('done-1')").count() == 0


def test_an_execution_shows_its_failure_bars_and_plan(shown: Watched, page: Any) -> None:
    shown.go("#/executions/failed-1")
    page.wait_for_selector(f"text={HOSTILE} is no file")
    page.wait_for_selector("text=ended attempts")
    page.click(".list-row:has-text('step-2')")
    page.wait_for_selector(".detail >> text=Attempts")
    page.wait_for_selector(".detail >> text=step-1")
    page.click(".choices >> text=Events")
    page.wait_for_selector(".list-row:has-text('submitted')")
    page.click(".choices >> text=Plan")
    page.wait_for_selector(".graph canvas")
    page.click(".choices >> text=History")
    page.wait_for_selector("td >> text=/running → failed/")
    assert page.evaluate("window.alerted") is None


def test_a_running_execution_moves_by_itself_and_can_be_cancelled(
    world: PageWorld, shown: Watched, page: Any
) -> None:
    world.begin("live-1", hangs=True)
    shown.go("#/executions/live-1")
    page.wait_for_selector(".execution-head >> text=2 done")
    shown.expect(404)  # It may be asked for before its first event is durable.
    page.wait_for_selector(".banner >> text=live")
    page.wait_for_selector(".list-row:has-text('step-2')")
    page.evaluate("document.querySelector('main').scrollTop = 20")
    world.release()
    page.wait_for_selector(".execution-head .badge >> text=completed", timeout=2_000)
    assert page.evaluate("document.querySelector('main').scrollTop") == 20
    world.begin("live-2", hangs=True)
    shown.go("#/executions/live-2")
    page.click("text=Cancel…")
    assert page.locator("dialog code").inner_text() == "callboard cancel live-2"
    page.click("dialog >> text=Keep as it is")
    page.click("text=Cancel…")
    page.click("dialog >> text=Cancel it")
    page.wait_for_selector(".execution-head .badge >> text=cancelled")
    shown.expect(404)


def test_metrics_draw_an_expression_and_explain_a_wrong_one(shown: Watched, page: Any) -> None:
    shown.go("#/metrics")
    page.wait_for_selector("h2 >> text=Messages handled")
    page.fill("input[aria-label=Expression]", "sum(")
    page.press("input[aria-label=Expression]", "Enter")
    page.wait_for_selector(".failure")
    shown.expect(400)
    page.fill("input[aria-label=Expression]", "1 + 1")
    page.press("input[aria-label=Expression]", "Enter")
    page.wait_for_selector(".chart:visible >> text=2")


def test_an_alert_is_silenced_and_the_silence_ended(shown: Watched, page: Any) -> None:
    shown.go("#/alerts")
    page.click(".list-row:has-text('firing')")
    page.wait_for_selector(f".detail >> text={HOSTILE}")
    page.click("text=Silence it…")
    page.fill("dialog input[name=matchers]", "alertname=High")
    page.click("dialog >> text=Silence them")
    page.wait_for_selector(".list-row:has-text('silenced')")
    shown.go("#/alerts?tab=silences")
    page.click("td >> text=End…")
    page.click("dialog >> text=End it")
    page.wait_for_selector("td >> text=ended")
    shown.go("#/alerts?tab=rules")
    page.wait_for_selector(".list-row:has-text('load > 1')")


def test_events_come_pause_and_show_their_fields(
    world: PageWorld, shown: Watched, page: Any
) -> None:
    shown.go("#/events")
    page.wait_for_selector(".list-row:has-text('stepped')")
    top = page.locator(".list-row[aria-rowindex='1']").inner_text()
    world.run("events-1", steps=1)
    page.wait_for_selector(".list-row:has-text('events-1')")
    assert page.locator(".list-row[aria-rowindex='1']").inner_text() != top
    page.click("text=Pause")
    world.run("events-2", steps=1)
    page.wait_for_selector("text=/paused: \\d+ wait/")
    assert page.locator(".list-row:has-text('events-2')").count() == 0
    page.click("text=Go on")
    page.wait_for_selector(".list-row:has-text('events-2')")
    page.locator(".list-row:has-text('submitted') .cell >> nth=2").click()
    page.wait_for_selector(".detail pre")
    shown.go("#/events?tab=letters")
    page.wait_for_selector("text=No pipeline has dead letters")


def test_connections_name_who_listens(shown: Watched, page: Any) -> None:
    shown.go("#/connections")
    page.wait_for_selector(".list-row:has-text('ada')")
    shown.go("#/connections?tab=pipelines")
    page.wait_for_selector(".empty")
    shown.expect(404, 503)  # Without pipelines there is nobody to ask.


def test_a_view_that_does_not_exist_leads_back(shown: Watched, page: Any) -> None:
    shown.go("#/nowhere")
    page.click("text=Go to Now")
    page.wait_for_selector(".verdict")


def test_keys_lead_everywhere(page: Any) -> None:
    page.keyboard.press("3")
    page.wait_for_selector("h1 >> text=Executions")
    page.keyboard.press("?")
    page.wait_for_selector("dialog >> text=Keys")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    page.wait_for_selector(".top >> text=UTC")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("/")
    page.keyboard.type("done")
    page.wait_for_selector(".list-row:has-text('done-1')")
    page.wait_for_selector(".list-row:has-text('failed-1')", state="detached")


def test_the_exported_file_opens_without_a_network(
    shown: Watched, page: Any, open_page: OpenPage, tmp_path: Path
) -> None:
    shown.go("#/executions/failed-1")
    with page.expect_download() as found:
        page.click("text=Export")
    path = tmp_path / "execution.html"
    found.value.save_as(path)
    alone = open_page(path.as_uri(), ready=".execution-head .badge", offline=True).page
    alone.wait_for_selector(f"text={HOSTILE} is no file")
    alone.click(".list-row:has-text('step-2')")
    alone.wait_for_selector(".detail >> text=Attempts")
    alone.click(".choices >> text=Plan")
    alone.wait_for_selector(".graph canvas")
    assert alone.evaluate("performance.getEntriesByType('resource').length") == 0


def test_the_policy_of_the_page_allows_nothing_from_elsewhere(page: Any) -> None:
    answer = page.request.get(page.url.split("#")[0])
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
