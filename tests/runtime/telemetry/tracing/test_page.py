"""The examples in docs/traces.md run as they stand, and its figures are those of the code."""

import re
import sys
import types
from pathlib import Path

import pytest

from callboard.runtime.telemetry.tracing.extension import STOPPING_S
from callboard.telemetry import TracingSettings
from tests.runtime.telemetry.tracing.collector import collecting

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    reason="the extra `tracing` is not installed",
)

PAGE = Path("docs/traces.md")


def test_examples_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (root / PAGE).read_text(encoding="utf-8")
    page = types.ModuleType("traces_page")
    sys.modules[page.__name__] = page
    try:
        with collecting() as collector:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url)
            blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
            assert len(blocks) == 2
            for block in blocks:
                # Blank lines in front make a failure point at the page's own line.
                lines_before = text.count("\n", 0, block.start(1))
                exec(compile("\n" * lines_before + block[1], str(PAGE), "exec"), page.__dict__)
            assert len(collector.spans) == 2
    finally:
        del sys.modules[page.__name__]


def test_figures_are_those_of_the_code(root: Path) -> None:
    text = (root / PAGE).read_text(encoding="utf-8")
    settings = TracingSettings()
    assert f"| {settings.queue_spans:,} |" in text
    assert f"| {settings.batch_spans}; {settings.delay_s:g} s |" in text
    assert f"at most {STOPPING_S} s" in text
