"""What users of other dashboards complained about: charts, retries, logs of one attempt."""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.thoroughness import examples

from .conftest import LIVE, Watched
from .world import PageWorld

HOSTS: Final = 1_000
MANY_STEPS: Final = 60
RETRY_MS: Final = 1_000 if examples(100) == 100 else 5_000
"""A machine that runs other tests as well is slow without a fault of the page's."""


@pytest.fixture
def page(signed_in: Watched) -> Iterator[Any]:
    """The page, which may have asked for what is not there yet."""
    yield signed_in.page
    signed_in.expect(404)


def test_a_thousand_hosts_are_bands_and_the_ten_worst(
    world: PageWorld, shown: Watched, page: Any
) -> None:
    async def record() -> None:
        for number in range(HOSTS):
            world.system.meter.gauge("page_load", number, host=f"host-{number}")

    world.call(record)
    shown.go("#/metrics?q=page_load")
    middle = ".legend >> text=middle of 1,000 series"
    deadline = time.monotonic() + 60
    while not page.locator(middle).count() and time.monotonic() < deadline:
        page.click("text=Local time")  # Another reading: windows that are open grow in silence.
        page.click(".top >> text=UTC")
        page.wait_for_selector(".chart:visible, .empty:visible")
    labels = page.locator(".legend li").all_inner_texts()
    assert len(labels) == 11
    assert any("host-999" in label for label in labels), labels
    assert any("the 10 highest" in label for label in labels)
    shown.expect(413)


def test_a_chart_has_the_same_past_after_leaving_and_after_a_reload(
    shown: Watched, page: Any
) -> None:
    question = "#/metrics?q=vector(7)%20%2B%200*time()&past=1"
    legend = ".legend >> text=7"
    shown.go(question)
    page.wait_for_selector(legend)
    drawn = page.locator(".legend").inner_text()
    shown.go("#/now")
    page.wait_for_selector("h1 >> text=Now")
    shown.go(question)
    page.wait_for_selector(legend)
    assert page.locator(".legend").inner_text() == drawn
    page.reload()
    page.wait_for_selector(LIVE)
    page.wait_for_selector(legend)
    assert page.locator(".legend").inner_text() == drawn


def test_a_retry_shows_by_itself_and_the_place_stays(
    world: PageWorld, shown: Watched, page: Any
) -> None:
    world.begin("retry-1", steps=MANY_STEPS, fails=True, hangs=True, is_wide=True)
    shown.go("#/executions/retry-1")
    page.wait_for_selector(f".execution-head >> text={MANY_STEPS - 1} done")
    page.wait_for_selector(".list-row:has-text('step-20')")
    page.wait_for_selector("text=/1 under way/")
    page.evaluate("document.querySelector('.list-view').scrollTop = 300")
    page.evaluate("document.querySelector('main').scrollTop = 40")
    world.release()
    page.wait_for_selector(".execution-head .failures >> text=retried", timeout=RETRY_MS)
    assert page.evaluate("document.querySelector('.list-view').scrollTop") == 300
    assert page.evaluate("document.querySelector('main').scrollTop") == 40
    for _ in range(3):
        world.release()
        page.wait_for_timeout(1_500)
    page.wait_for_selector(".execution-head .badge >> text=failed")


def test_the_log_and_the_partial_results_are_in_step_with_the_bar(
    world: PageWorld, shown: Watched, page: Any
) -> None:
    world.begin("said-1", steps=3, partials=2, hangs=True)
    shown.go("#/executions/said-1?tab=logs")
    page.wait_for_selector(".list-row:has-text('a step begins') >> text=step-2")
    page.click(".list-row:has-text('step-2') .cell:last-child")  # A line leads to its bar.
    detail = page.locator(".detail")
    detail.locator("text=a step begins").wait_for()
    detail.locator(".badge >> text=running").first.wait_for()
    detail.locator("text=2: {").wait_for()
    assert "step-2" in page.locator(".timeline .reading").inner_text()
    page.click("[aria-label=Parts] >> text=Partial results")
    page.wait_for_selector(".list-row:has-text('step-2') >> text={\"share\":1}")
    world.release()
    page.wait_for_selector(".execution-head .badge >> text=completed")
    page.wait_for_selector("text=3 ended attempts")
    assert page.locator("text=under way").count() == 1  # The legend.
