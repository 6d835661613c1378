"""What is written: valid, safe for any content, whole, and the same every time."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sarif_kit import validation_errors

from callboard.messages.core.errors import InvalidMessage, OutputError, UsageError
from examples.review.finding import MESSAGE_CHARS_MAX, Finding, Severity, clean_text
from examples.review.report import (
    Report,
    build_report,
    canonical,
    excerpts,
    prepare_output,
    print_summary,
    render_json,
    summary_line,
    write_reports,
)
from examples.review.report.excerpts import LINE_CHARS_MAX
from examples.review.report.html import render_html
from examples.review.report.output import REPORT_NAMES, write_atomically
from examples.review.report.sarif import render_sarif
from examples.review.resolve import resolve
from examples.review.sequential import review_sequential
from examples.review.tree import SourceTree

ROOT = Path(__file__).parents[2]

SAMPLES = {
    "clean.py": '"""Clean."""\n',
    "swallows.py": '"""S."""\ntry:\n    import os\nexcept Exception:  # nosec\n    pass\n',
    "excused.py": '"""E."""\nimport os  # noqa\n',
    "pkg/__init__.py": "",
    "pkg/broken.py": "def f(:\n",
    "pkg/päth name.py": "def f(a=[], list=1):\n    return eval('a')\n",
}

HOSTILE = "</script><script>alert(1)</script><!-- {{script}} & \u2028 ' \""


@pytest.fixture
def sample_tree(tmp_path: Path) -> Path:
    root = tmp_path / "sample"
    for path, text in SAMPLES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def report_of(*findings: Finding, name: str = "tree") -> Report:
    tree = SourceTree(Path("/"), name, tuple(sorted({item.path for item in findings})), 10, 100)
    return build_report(tree, ("ruff", "text"), findings)


def finding(*, path: str, line: int, severity: Severity = Severity.LOW) -> Finding:
    return Finding(
        path=path, line=line, topic="t", rule="text/r", message="m", severity=severity,
        confidence=0.5, agents=("text",),
    )  # fmt: skip


def hostile_report() -> Report:
    hostile = Finding(
        path=f"{HOSTILE}/a.py", line=1, topic="hostile", rule=f"text/{HOSTILE}", message=HOSTILE,
        severity=Severity.HIGH, confidence=0.5, agents=("text",), exoneration=HOSTILE,
    )  # fmt: skip
    return report_of(*resolve([hostile]), name=HOSTILE)


# --- the whole way ------------------------------------------------------------------


def test_sequential_review_of_a_small_tree(sample_tree: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = review_sequential(sample_tree, lambda done, total: steps.append((done, total)))
    assert steps == [(done, 6) for done in range(1, 7)]
    topics = {(finding.path, finding.topic): finding for finding in report.findings}
    swallowed = topics["swallows.py", "silent-except"]
    assert set(swallowed.agents) == {"bandit", "hygiene", "ruff"}
    assert swallowed.resolution is not None
    assert swallowed.resolution.policy == "exoneration-overruled"
    assert topics["excused.py", "unused-import"].exoneration == "# noqa"
    broken = topics["pkg/broken.py", "unparsable"]
    assert set(broken.agents) == {"bandit", "hygiene", "radon", "ruff", "vulture"}
    assert report.summary.files == len(SAMPLES)


def test_batches_make_no_difference_to_the_report(sample_tree: Path) -> None:
    rendered = {
        canonical(render_json(review_sequential(sample_tree, files_per_batch=size), {"s": size}))
        for size in (1, 2, 5, 64)
    }
    assert len(rendered) == 1


def test_another_process_and_hash_seed_write_the_same(sample_tree: Path, tmp_path: Path) -> None:
    """Sets iterate in another order under another hash seed."""
    code = (
        "import sys; from examples.review.sequential import review_sequential as r;"
        "from examples.review.report import write_reports as w; w(r(sys.argv[1]), sys.argv[2])"
    )
    written = []
    for seed in ("1", "2"):
        out = tmp_path / f"out{seed}"
        subprocess.run(
            [sys.executable, "-c", code, str(sample_tree), str(out)],
            check=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PATH": ""},
            timeout=120,
        )
        written.append([(out / name).read_bytes() for name in REPORT_NAMES])
    assert written[0] == written[1]


def test_an_empty_tree_has_a_report_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = review_sequential(tmp_path / "empty")
    assert report.findings == ()
    assert report.notes
    for path in write_reports(report, tmp_path / "out"):
        assert path.stat().st_size > 0


def test_a_missing_tree_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        review_sequential(tmp_path / "missing")


# --- JSON -----------------------------------------------------------------------------


def test_json_has_the_documented_fields_and_timings_last(sample_tree: Path) -> None:
    report = review_sequential(sample_tree)
    data = json.loads(render_json(report, {"total_s": 1.23456}))
    assert list(data)[-1] == "timings"
    assert data["timings"] == {"total_s": 1.235}
    promised = {"path", "line", "rule", "severity", "confidence", "agents"}
    assert all(promised <= finding.keys() for finding in data["findings"])
    places = [(finding["path"], finding["line"]) for finding in data["findings"]]
    assert places == sorted(places)
    assert str(sample_tree) not in json.dumps(data)


def test_canonical_ignores_timings_only(sample_tree: Path) -> None:
    report = review_sequential(sample_tree)
    fast, slow = render_json(report, {"total_s": 1.0}), render_json(report, {"total_s": 2.0})
    assert fast != slow
    assert canonical(fast) == canonical(slow)
    fewer = report.model_copy(update={"findings": report.findings[1:]})
    assert canonical(render_json(fewer)) != canonical(fast)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"findings": [}'])
def test_canonical_refuses_other_json_than_a_report(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        canonical(data)


def test_summary_counts(sample_tree: Path) -> None:
    summary = review_sequential(sample_tree).summary
    assert sum(summary.by_severity.values()) == summary.findings
    assert list(summary.by_severity) == ["critical", "high", "medium", "low", "info"]
    assert summary.claims >= summary.findings
    assert json.loads(summary_line(review_sequential(sample_tree)))["findings"] == summary.findings


# --- SARIF ----------------------------------------------------------------------------


def test_sarif_keeps_the_published_schema(sample_tree: Path) -> None:
    report = review_sequential(sample_tree)
    log = json.loads(render_sarif(report))
    assert validation_errors(log) == []
    (run,) = log["runs"]
    assert len(run["results"]) == len(report.findings)
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[item["ruleIndex"]]["id"] == item["ruleId"] for item in run["results"])
    prints = [item["partialFingerprints"]["callboardReview/v1"] for item in run["results"]]
    assert len(set(prints)) == len(prints)
    uris = {
        place["physicalLocation"]["artifactLocation"]["uri"]
        for item in run["results"]
        for place in item["locations"]
    }
    assert "pkg/p%C3%A4th%20name.py" in uris
    assert any("suppressions" in item for item in run["results"])


@pytest.mark.parametrize("make", [report_of, hostile_report])
def test_sarif_of_nothing_and_of_hostile_content_is_valid(make: Callable[[], Report]) -> None:
    assert validation_errors(json.loads(render_sarif(make()))) == []


def test_the_schema_check_can_fail() -> None:
    log = json.loads(render_sarif(hostile_report()))
    del log["runs"][0]["results"][0]["message"]
    assert validation_errors(log)


# --- HTML -----------------------------------------------------------------------------


def embedded(page: str) -> list[list[object]]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    rows = json.loads(match[1])
    assert isinstance(rows, list)
    return rows


def test_html_escapes_hostile_content() -> None:
    page = render_html(hostile_report()).decode()
    assert "alert(1)</script>" not in page
    assert page.count("<script") == 3
    assert "<!-- {{" not in page
    ((path, *_),) = embedded(page)
    assert path == f"{HOSTILE}/a.py"


def test_html_is_self_contained_and_forbids_the_rest() -> None:
    page = render_html(report_of()).decode()
    assert not re.search(r"""\b(?:src|href)\s*=|@import|url\(|https?:""", page)
    assert "default-src 'none'" in page
    assert "script-src 'sha256-" in page
    assert "innerHTML" not in page
    assert "{{" not in page


def test_html_holds_every_finding(sample_tree: Path) -> None:
    report = review_sequential(sample_tree)
    rows = embedded(render_html(report, {"total_s": 2.0}).decode())
    assert [row[0] for row in rows] == [finding.path for finding in report.findings]


def sources_in(page: str) -> dict[str, tuple[str, dict[str, str]]]:
    match = re.search(
        r'<script type="application/json" id="sources">(.*?)</script>', page, re.DOTALL
    )
    assert match is not None
    found: dict[str, tuple[str, dict[str, str]]] = json.loads(match[1])
    return found


def test_html_shows_the_lines_of_each_finding_and_links_its_file(tmp_path: Path) -> None:
    text = "".join(f"line_{number} = '</script><b>&{number}'\t# {HOSTILE}\n" for number in range(9))
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "#1?.py").write_text(text + "x" * 5_000 + "\n")
    findings = [finding(path="a b/#1?.py", line=line) for line in (1, 5, 10, 999)]
    report = report_of(*findings, finding(path="gone.py", line=1))
    page = render_html(report, root=tmp_path).decode()
    assert "</script><b>" not in page
    found = sources_in(page)
    link, lines = found["a b/#1?.py"]
    assert unquote(urlsplit(link).path) == str(tmp_path / "a b" / "#1?.py")
    assert urlsplit(link)[::4] == ("file", "")
    assert list(lines) == ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]
    assert lines["5"].startswith("line_4 = '</script><b>&4'")
    assert len(lines["10"]) == LINE_CHARS_MAX
    assert found["gone.py"][1] == {}


def test_the_lines_in_the_page_are_bounded_and_the_worst_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpts, "LINES_MAX", 5)
    (tmp_path / "a.py").write_text("x = 1\n" * 100)
    mild = [finding(path="a.py", line=line, severity=Severity.LOW) for line in range(1, 40)]
    report = report_of(*mild, finding(path="a.py", line=50, severity=Severity.HIGH))
    _, lines = sources_in(render_html(report, root=tmp_path).decode())["a.py"]
    assert list(lines) == ["48", "49", "50", "51", "52"]


# --- the terminal -----------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 80, 200])
def test_terminal_summary_takes_any_content_and_width(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    markup = report_of(name="[bold]no[/markup]")
    for report in (hostile_report(), markup):
        print_summary(console, report, timings={"total_s": 1.5}, written=[Path("out/report.html")])
    shown = stream.getvalue()
    assert "out/report.html" in shown
    assert "1.5 s" in shown.replace("\n", " ")
    if width >= 80:
        assert "[bold]no[/markup]" in shown


# --- the output folder --------------------------------------------------------------------


def test_reports_replace_older_ones_and_leave_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    write_reports(report_of(), out)
    written = write_reports(hostile_report(), out)
    assert sorted(path.name for path in out.iterdir()) == sorted(REPORT_NAMES)
    assert written == tuple(out / name for name in REPORT_NAMES)
    assert json.loads((out / "report.json").read_bytes())["summary"]["findings"] == 1


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=re.escape(str(place))):
            prepare_output(place)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that is read-only")
def test_output_that_cannot_be_written_is_refused() -> None:
    for place in ("/proc/out", "/proc/self/fdinfo"):
        with pytest.raises(OutputError, match=place):
            prepare_output(place)


def test_a_report_name_taken_by_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.sarif").mkdir()
    with pytest.raises(OutputError, match=r"report\.sarif"):
        prepare_output(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kept").touch()
    with pytest.raises(OutputError, match="target"):
        write_atomically(tmp_path / "target", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


# --- text -----------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=2 * MESSAGE_CHARS_MAX))
def test_messages_become_one_printable_line(text: str) -> None:
    cleaned = clean_text(text)
    assert len(cleaned) <= MESSAGE_CHARS_MAX
    assert cleaned.isprintable()
    cleaned.encode()
    assert clean_text(cleaned) == cleaned


def test_surrogates_are_shown_as_escapes() -> None:
    assert clean_text("a\ud800b") == "a\\ud800b"
