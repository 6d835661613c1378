"""`page`: a real Chromium, a real server, and a journal with one event for each sub-task.

The header is timed from the click on, the first time that anybody asks for this execution: no
history has been folded yet. The timeline is timed from its answer on, until it is drawn.
"""

import asyncio
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

import callboard as cb
from bench.outcome import Outcome, Params
from bench.page import EXECUTION_ID, check_page, write_journal
from callboard.runtime.hosting.ui_settings import UiSettings
from callboard.runtime.web.settings import WebSettings

__all__ = ["run"]

WAIT_MS: Final = 120_000
CHROMIUM: Final = "chromium"
OPEN: Final = """id => new Promise(resolve => {
    const begin = performance.now(), found = {};
    location.hash = '#/executions/' + id;
    const look = () => {
        const now = performance.now() - begin;
        if (document.querySelector('.execution-head .facts')) found.header_ms ??= now;
        if (document.querySelector('.list-row')) found.rows_ms ??= now;
        if (found.header_ms && found.rows_ms) resolve(found);
        else requestAnimationFrame(look);
    };
    look();
})"""
DRAW: Final = """async ([count, draws]) => {
    const folder = document.querySelector('script').src.replace('app.js', '');
    const { Timeline } = await import(folder + 'timeline.js');
    const bars = Array.from({ length: count }, (_, number) => ({
        number, id: 'task-' + number, attempt: 1, executor: '1/9', row: number % 200, error: '',
        ready_at: 1 + Math.floor(number / 200) * 2, outcome: number % 37 ? 'done' : 'failed',
        began_at: 1.5 + Math.floor(number / 200) * 2, is_critical: number % 101 === 0,
        ended_at: 3 + Math.floor(number / 200) * 2,
    }));
    const group = {
        key: 'k', label: 'k', attempts: count, failures: 9, bars, cells: [], failed_cells: [],
        bars_left_off: 0,
    };
    const end = 3 + Math.floor(count / 200) * 2, times = [];
    let drawn = 0;
    for (let turn = 0; turn < draws; turn += 1) {
        const timeline = new Timeline();
        document.querySelector('main').replaceChildren(timeline.element);
        const begin = performance.now();
        timeline.show({
            groups: [group], began_at: 1, first_run_at: 1.5, ended_at: end, from_at: 1.5,
            to_at: end,
        });
        timeline.draw();
        times.push(performance.now() - begin);
        drawn = timeline.layout.lines.reduce((sum, line) => sum + (line.bars?.length ?? 0), 0);
        timeline.end();
    }
    return { times, drawn };
}"""


def run(params: Params) -> Outcome:
    """Run it. Raises what the browser raises."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.db"
        write_journal(journal, EXECUTION_ID, params["sub_tasks"])
        return asyncio.run(_measure(params, journal))


async def _measure(params: Params, journal: Path) -> Outcome:
    ui = UiSettings(
        web=WebSettings(port=0),
        prints_link=False,
        tokens=str(journal.parent / "tokens.db"),
        keys=str(journal.parent / "keys"),
    )
    options: dict[str, Any] = {"engine": "inline", "hosts": 1, "name": "bench-page"}
    async with cb.start(**options, journal=str(journal), ui=ui) as system:
        opened = await system.ui.open_page()
        return await _browse(params, opened.links[0])


async def _browse(params: Params, link: str) -> Outcome:
    from playwright.async_api import async_playwright

    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=_path())
        page = await browser.new_page()
        page.set_default_timeout(WAIT_MS)
        await page.goto(link)
        await page.wait_for_selector(".banner.good")
        found = await page.evaluate(OPEN, EXECUTION_ID)
        await page.wait_for_selector(".tab-body .note >> text=/sub-tasks/")
        said = await page.locator(".tab-body .note").inner_text()
        drawing = await page.evaluate(DRAW, [params["bars"], params["draws"]])
        size = await page.evaluate(
            "performance.getEntriesByType('resource').filter(each => each.name.includes('static'))"
            ".reduce((sum, each) => sum + each.decodedBodySize, 0)"
        )
        await browser.close()
    results = {
        "header_ms": found["header_ms"],
        "rows_ms": found["rows_ms"],
        "drawing_p50_ms": statistics.median(drawing["times"]),
        "drawing_worst_ms": max(drawing["times"]),
        "page_bytes": float(size),
    }
    return Outcome(results, check_page(_total(said, params["sub_tasks"]), drawing["drawn"]))


def _path() -> str:
    path = shutil.which(CHROMIUM)
    assert path is not None, "the harness has looked for it"
    return path


def _total(said: str, wanted: int) -> int:
    """The number of sub-tasks that the page says."""
    return wanted if f"{wanted:,}" in said else 0
