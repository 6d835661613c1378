"""Files of rules, receivers and routes: what they mean, and every problem with its line."""

from typing import Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.alerts.durations import duration_s, duration_text
from callboard.actors.alerts.files import read_files, rules_text
from callboard.actors.alerts.matching import matcher, matcher_text
from callboard.actors.alerts.rules import OnMissing
from callboard.actors.alerts.templates import template
from callboard.actors.metrics.query.promql.parser import parse
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.messages.core.errors import UsageError
from callboard.messages.core.yaml_fields import FilesRefused
from callboard.runtime.telemetry.default_rules import default_groups

RULES: Final = """\
groups:
  - name: jobs
    interval: 30s
    query_offset: 1m
    limit: 10
    labels: {team: a}
    rules:
      - alert: Slow
        expr: |
          quantile_over_time(0.99, job_seconds[5m]) > 10
        for: 1h30m
        keep_firing_for: 5m
        keep_firing_while: quantile_over_time(0.99, job_seconds[5m]) > 5
        on_missing: keep
        labels:
          severity: warning
        annotations:
          summary: "{{ $labels.job }} takes {{ $value }} s"
      - alert: Gone
        expr: absent(job_seconds)
"""
PLAN: Final = """\
receivers:
  - name: team
    webhook_configs:
      - url: http://127.0.0.1:9/hook
        send_resolved: false
  - name: am
    alertmanager_configs: [{url: "http://127.0.0.1:9093"}]
  - name: log
    log_configs: [{}]
route:
  receiver: log
  group_by: [alertname, host]
  group_wait: 10s
  routes:
    - matchers: ['severity="critical"', 'team=~"a|b"']
      receiver: team
      continue: true
      group_interval: 1m
    - receiver: am
inhibit_rules:
  - source_matchers: [severity=critical]
    target_matchers: [severity=warning]
    equal: [host]
"""


def check(expression: str) -> None:
    parse(expression)


def lines_of_problems(text: str) -> list[int]:
    """The lines of the problems of any text; none when it is right."""
    try:
        read_files([("a.yml", text)], check)
    except FilesRefused as error:
        return [problem["line"] for problem in error.details["problems"]] or [0]
    return []


def problems(*texts: str) -> list[str]:
    files = [(f"f{number}.yml", text) for number, text in enumerate(texts)]
    with pytest.raises(FilesRefused) as caught:
        read_files(files, check)
    listed = caught.value.details["problems"]
    return [f"{p['file']}:{p['line']}: {p['where']}: {p['text']}" for p in listed]


def test_rules_and_notifications_are_read() -> None:
    read = read_files([("a.yml", RULES), ("b.yml", PLAN)], check)
    (group,) = read.groups
    slow, gone = group.rules
    assert (group.interval_s, group.offset_s, group.limit, group.source) == (30, 60, 10, "a.yml")
    assert (slow.for_s, slow.keep_firing_for_s, slow.on_missing) == (5_400, 300, OnMissing.KEEP)
    assert slow.labels == {"team": "a", "severity": "warning"}
    assert (gone.labels, gone.for_s) == ({"team": "a"}, 0)
    assert [receiver.kind for receiver in read.plan.receivers] == ["webhook", "alertmanager", "log"]
    first, second = read.plan.route.routes
    assert (first.group_wait_s, first.group_interval_s, first.continues) == (10, 60, True)
    assert (second.group_by, second.receiver) == (("alertname", "host"), "am")
    assert read.plan.inhibitions[0].equal == ("host",)


def test_every_problem_has_its_file_line_and_rule() -> None:
    text = """\
groups:
  - name: one
    interval: 5 minutes
    rules:
      - alert: A
        expr: rate(x[5m]
        for: soon
        labels: {severity: "{{ $value }}", alertname: b, 9x: c}
        annotations: {summary: "{{ $value | humanize }}", more: "{{ .Labels.x }}"}
      - record: job:rate
        expr: rate(x[5m])
      - expr: x
        colour: red
  - name: one
    rules: {}
"""
    found = problems(text)
    expected = [
        ("f0.yml:3:", "'5 minutes' is no duration"),
        ("f0.yml:6: group 'one', alert 'A'", "expr: character"),
        ("f0.yml:7: group 'one', alert 'A'", "'soon' is no duration"),
        ("f0.yml:8:", "$value would make a new alert of each value"),
        ("f0.yml:8:", "alertname is the name of the rule"),
        ("f0.yml:8:", "'9x' is no name of a label"),
        ("f0.yml:9:", "'$value | humanize' is not known in a template"),
        ("f0.yml:9:", "'.Labels.x' is not known in a template"),
        ("f0.yml:10: group 'one', record 'job:rate'", "record rules are not supported"),
        ("f0.yml:12:", "alert is missing"),
        ("f0.yml:13:", "the field 'colour' is not known"),
        ("f0.yml:15:", "rules must be a list"),
        ("f0.yml:", "two groups are named 'one'"),
    ]
    for where, what in expected:
        assert any(each.startswith(where) and what in each for each in found), (where, what, found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f0.yml:1: : the file is no mapping"),
        ("[1]", "f0.yml:1: : the file is no mapping"),
        ("{}", "f0.yml:1: : the file is empty"),
        ("groups: [a", "f0.yml:1: : no YAML"),
        ("a: &x [1]\nb: *x", "f0.yml:2: : no YAML: aliases are not supported"),
        ("groups: []\ngroups: []", "f0.yml:2: : 'groups' is there twice"),
        ("route: {receiver: x}", "names the receiver 'x', which is not there"),
        ("receivers: [{name: a}]", "a receiver has one target"),
        ("receivers: [{name: a, email_configs: []}]", "the field 'email_configs' is not known"),
        ("route: {receiver: log, matchers: [a=b]}", "has no matchers"),
        ("route: {receiver: log, routes: [{matchers: ['a~b']}]}", "'a~b' is no matcher"),
        ("route: {receiver: log, group_interval: 0s}", "group_interval_s is 0.0"),
        ("route: {receiver: log, continue: 2}", "'2' is neither true nor false"),
        ("inhibit_rules: [{equal: [a]}]", "source_matchers and target_matchers are needed"),
        ("global: {}", "the field 'global' is not known"),
        ("? {a: b}\n: c", "f0.yml:1: : a key must be a text"),
        ("[" * 1_500, "f0.yml:1: : no YAML"),
        ("groups: [{name: '', rules: []}]", "its name '' is empty"),
    ],
)
def test_a_problem(text: str, expected: str) -> None:
    found = problems(text)
    assert any(expected in each for each in found), found


def test_problems_of_all_files_are_in_one_error() -> None:
    found = problems("groups: 1", "route: 2", PLAN, PLAN)
    assert [each.split(":")[0] for each in found] == ["f0.yml", "f1.yml", "f1.yml", "f3.yml"]


def test_many_problems_are_cut_in_the_message_only() -> None:
    rules = "".join(f"      - alert: A{n}\n" for n in range(200))
    with pytest.raises(FilesRefused, match="and 170 more") as caught:
        read_files([("a.yml", f"groups:\n  - name: g\n    rules:\n{rules}")])
    assert len(caught.value.details["problems"]) >= 200


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    assert all(line >= 1 for line in lines_of_problems(text))


TREES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["5m", "a=b", "{{ $value }}", "log"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["groups", "name", "rules", "alert", "expr", "for", "labels", "annotations", "route",
             "receiver", "receivers", "routes", "matchers", "interval", "log_configs", "limit",
             "inhibit_rules", "group_by", "continue", "webhook_configs", "url", "x"]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["groups", "route", "receivers", "inhibit_rules"]), TREES))
def test_no_tree_breaks_the_reader(tree: object) -> None:
    assert all(line >= 1 for line in lines_of_problems(yaml.safe_dump(tree)))


def test_the_rules_for_callboard_are_the_same_after_a_file() -> None:
    groups = default_groups()
    read = read_files([("a.yml", rules_text(groups))], check)
    assert [group.rules for group in read.groups] == [group.rules for group in groups]


@given(st.integers(0, 10**9))
def test_a_duration_is_read_as_it_is_written(milliseconds: int) -> None:
    assert duration_s(duration_text(milliseconds / 1_000)) == milliseconds / 1_000


@pytest.mark.parametrize("text", ["", "5", "m", "1m1h", "1m1m", "-1m", "1.5h", "1 m", "9" * 99])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError):
        duration_s(text)


@given(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]*", fullmatch=True),
    st.sampled_from([MatcherKind.IS, MatcherKind.IS_NOT]),
    st.text(max_size=50),
)
def test_a_matcher_is_read_as_it_is_written(tag: str, kind: MatcherKind, value: str) -> None:
    made = Matcher(tag, kind, value)
    assert matcher(matcher_text(made)) == made


@pytest.mark.parametrize("text", ["", "a", "a==b", "=b", "a=~(", 'a="b', "a b=c", "a=~" + "(" * 9])
def test_what_is_no_matcher(text: str) -> None:
    with pytest.raises(UsageError):
        matcher(text)


@given(st.text(alphabet="{}$ valuebs.x-|", max_size=40))
def test_no_text_breaks_a_template(text: str) -> None:
    try:
        made = template(text)
    except UsageError:
        return
    assert "{{" not in made.render(1.0, (("x", "y"),))
