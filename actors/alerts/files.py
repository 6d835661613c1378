"""Rules in Prometheus' format of rule files, and notifications in Alertmanager's, as a subset.

A file has `groups` (rules), or `route`, `receivers` and `inhibit_rules` (notifications), or both.
All problems of all files are found in one go. What is outside the subset is refused by its name.
Two fields of a rule are Callboard's own: `keep_firing_while` and `on_missing`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from callboard.messages.core.errors import SpecError, UsageError
from callboard.messages.core.names import shown
from callboard.messages.core.yaml_fields import Fields, Problems, document

from .durations import duration_s, duration_text
from .matching import matcher
from .routing import LOG, AlertRoute, Inhibition, NotificationPlan, Receiver, ReceiverKind
from .rules import ALERTS_MAX, AlertRule, OnMissing, RuleGroup, check_groups

__all__ = ["AlertFiles", "Check", "read_files", "rules_text"]

Check = Callable[[str], None]
"""Raises a `UsageError` for an expression that is wrong, or outside the query language."""
RECORDS: Final = "record rules are not supported: write the expression into the alert"
KINDS: Final = {
    "webhook_configs": ReceiverKind.WEBHOOK,
    "alertmanager_configs": ReceiverKind.ALERTMANAGER,
    "log_configs": ReceiverKind.LOG,
}


@dataclass(frozen=True, slots=True)
class AlertFiles:
    """What files of alerts say."""

    groups: tuple[RuleGroup, ...] = ()
    """The groups of rules, of all files."""
    plan: NotificationPlan = field(default_factory=NotificationPlan)
    """Receivers, routes and inhibitions."""
    names: tuple[str, ...] = ()
    """The names of the files."""


def read_files(files: Iterable[tuple[str, str]], check: Check | None = None) -> AlertFiles:
    """Read files, each a name and a text. Raises `FilesRefused` with every problem."""
    files = tuple(files)
    problems = Problems()
    groups: list[RuleGroup] = []
    plan: NotificationPlan | None = None
    for file, text in files:
        top = document(text, file, problems)
        if top is None:
            continue
        if not top.names():
            top.problem("the file is empty")
        groups += _groups(top, check)
        if top.has("route") or top.has("receivers") or top.has("inhibit_rules"):
            if plan is not None:
                top.problem("another file has the notifications already")
            plan = _plan(top) or plan
        top.finish("a file has groups, or route, receivers and inhibit_rules")
    seen: dict[str, str] = {}
    for group in groups:
        if group.name in seen:
            text = f"two groups are named {shown(group.name)}; the other is in {seen[group.name]}"
            problems.add(group.source, 1, "", text)
        seen[group.name] = group.source
    problems.raise_any()
    check_groups(groups)
    names = tuple(name for name, _ in files)
    return AlertFiles(tuple(groups), plan or NotificationPlan(), names)


# --- rules ------------------------------------------------------------------------------------


def _groups(top: Fields, check: Check | None) -> Iterable[RuleGroup]:
    for fields in top.mappings("groups", "group"):
        name = fields.text("name")
        fields.where = f"group {shown(name)}"
        interval_s = fields.read("interval", duration_s, 60.0)
        offset_s = fields.read("query_offset", duration_s, 0.0)
        limit = fields.read("limit", _whole, 0)
        shared = fields.texts("labels")
        read = [_rule(each, name, shared, check) for each in fields.mappings("rules", "rule")]
        rules = tuple(rule for rule in read if rule is not None)
        fields.finish()
        try:
            yield RuleGroup(
                name=name, rules=rules, interval_s=interval_s, offset_s=offset_s,
                limit=limit or ALERTS_MAX, source=top.file,
            )  # fmt: skip
        except SpecError as error:
            for where, text in error.details["problems"]:
                fields.problem(text, where)


def _rule(
    fields: Fields, group: str, shared: dict[str, str], check: Check | None
) -> AlertRule | None:
    if fields.has("record"):
        name = fields.text("record")
        fields.where = f"group {shown(group)}, record {shown(name)}"
        fields.problem(RECORDS, "record")
        return None
    name = fields.text("alert")
    fields.where = f"group {shown(group)}, alert {shown(name)}"
    expression = fields.text("expr")
    kept_while = fields.text("keep_firing_while", default="")
    options: dict[str, Any] = {
        "for_s": fields.read("for", duration_s, 0.0),
        "keep_firing_for_s": fields.read("keep_firing_for", duration_s, 0.0),
        "on_missing": fields.read("on_missing", _on_missing, OnMissing.RESOLVE),
        "labels": shared | fields.texts("labels"),
        "annotations": fields.texts("annotations"),
    }
    fields.finish()
    for where, text in (("expr", expression), ("keep_firing_while", kept_while)):
        if check is not None and text.strip():
            try:
                check(text)
            except UsageError as error:
                fields.problem(f"{where}: {error}", where)
    try:
        return AlertRule(  # What is missing is a problem already.
            name=name or "missing",
            expression=expression or "0",
            keep_firing_while=kept_while,
            **options,
        )
    except SpecError as error:
        for where, text in error.details["problems"]:
            fields.problem(text, where)
        return None


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise UsageError(f"{shown(text)} is no whole number.")
    return int(text)


def _on_missing(text: str) -> OnMissing:
    try:
        return OnMissing(text)
    except ValueError:
        raise UsageError(f"{shown(text)} is none of resolve, keep, ignore.") from None


# --- notifications ------------------------------------------------------------------------------


def _plan(top: Fields) -> NotificationPlan | None:
    before = len(top.problems.found)
    receivers = tuple(
        filter(None, [_receiver(fields) for fields in top.mappings("receivers", "receiver")])
    )
    fields = top.mapping("route", "route")
    route = AlertRoute(receiver=LOG.name) if fields is None else _route(fields, None)
    inhibitions = []
    for each in top.mappings("inhibit_rules", "inhibit rule"):
        source = each.list_of_texts("source_matchers", matcher)
        target = each.list_of_texts("target_matchers", matcher)
        inhibitions.append(
            Inhibition(source=source, target=target, equal=each.list_of_texts("equal", str))
        )
        if not source or not target:
            each.problem("source_matchers and target_matchers are needed")
        each.finish()
    if len(top.problems.found) > before or route is None:
        return None
    try:
        return NotificationPlan(
            receivers=receivers or (LOG,), route=route, inhibitions=tuple(inhibitions)
        )
    except SpecError as error:
        for text in error.details["problems"]:
            top.problem(text)
        return None


def _receiver(fields: Fields) -> Receiver | None:
    name = fields.text("name")
    fields.where = f"receiver {shown(name)}"
    found: list[Receiver] = []
    for option, kind in KINDS.items():
        for each in fields.mappings(option, f"receiver {shown(name)}, {option}"):
            url = "" if kind == ReceiverKind.LOG else each.text("url")
            sends_resolved = each.truth("send_resolved", default=True)
            each.finish()
            try:
                found.append(Receiver(name, kind, url, sends_resolved))
            except SpecError as error:
                each.problem(str(error))
    fields.finish(f"a receiver has one of {', '.join(KINDS)}")
    if len(found) != 1:
        fields.problem("a receiver has one target; for several, use routes that `continue`")
        return None
    return found[0]


def _route(fields: Fields, above: AlertRoute | None) -> AlertRoute | None:
    """A route; what it leaves out is as in the route above."""
    parent = above or AlertRoute(receiver="")
    receiver = fields.text("receiver", default=None if above is None else parent.receiver)
    group_by = fields.list_of_texts("group_by", str) if fields.has("group_by") else parent.group_by
    matchers = fields.list_of_texts("matchers", matcher)
    continues = fields.truth("continue", default=False)
    times: dict[str, Any] = {
        f"{name}_s": fields.read(name, duration_s, getattr(parent, f"{name}_s"))
        for name in ("group_wait", "group_interval", "repeat_interval")
    }
    if above is None and matchers:
        fields.problem("the first route takes all alerts, and has no matchers")
    try:
        made = AlertRoute(
            receiver=receiver, matchers=matchers, group_by=group_by, continues=continues, **times
        )
    except SpecError as error:
        fields.problem(str(error))
        made = parent
    children = [_route(each, made) for each in fields.mappings("routes", f"{fields.where}, route")]
    fields.finish()
    try:
        return AlertRoute(
            receiver=receiver, matchers=matchers, group_by=group_by, continues=continues,
            routes=tuple(filter(None, children)), **times,
        )  # fmt: skip
    except SpecError:
        return None  # It is a problem already.


# --- writing ------------------------------------------------------------------------------------


def rules_text(groups: Iterable[RuleGroup]) -> str:
    """Rules as a file for `read_files`; Prometheus reads it too, without Callboard's own fields."""
    text: str = yaml.safe_dump(
        {"groups": [_group_data(group) for group in groups]}, sort_keys=False, width=100
    )
    return text


def _group_data(group: RuleGroup) -> dict[str, Any]:
    data: dict[str, Any] = {"name": group.name, "interval": duration_text(group.interval_s)}
    if group.offset_s:
        data["query_offset"] = duration_text(group.offset_s)
    if group.limit != ALERTS_MAX:
        data["limit"] = group.limit
    data["rules"] = [_rule_data(rule) for rule in group.rules]
    return data


def _rule_data(rule: AlertRule) -> dict[str, Any]:
    data: dict[str, Any] = {"alert": rule.name, "expr": rule.expression}
    for name, seconds in (("for", rule.for_s), ("keep_firing_for", rule.keep_firing_for_s)):
        if seconds:
            data[name] = duration_text(seconds)
    if rule.keep_firing_while:
        data["keep_firing_while"] = rule.keep_firing_while
    if rule.on_missing is not OnMissing.RESOLVE:
        data["on_missing"] = str(rule.on_missing)
    for name, texts in (("labels", rule.labels), ("annotations", rule.annotations)):
        if texts:
            data[name] = dict(texts)
    return data
