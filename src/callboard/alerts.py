"""Alerts: rules over metrics, the states of their alerts, receivers and silences."""

from callboard.actors.alerts.actor import AlertManager
from callboard.actors.alerts.files import AlertFiles, rules_text
from callboard.actors.alerts.grouping import Notification
from callboard.actors.alerts.matching import matcher
from callboard.actors.alerts.messages import (
    ALERT_MANAGER,
    AddSilence,
    AlertChanged,
    AlertsReloaded,
    AlertsView,
    AlertText,
    AlertView,
    EndSilence,
    FollowAlerts,
    Followed,
    QueryAlerts,
    ReloadAlerts,
    RuleView,
    SilenceAdded,
    SilenceEnded,
    SilenceView,
)
from callboard.actors.alerts.ports import KnowsMissing, Target, Undelivered
from callboard.actors.alerts.routing import AlertRoute, Inhibition, NotificationPlan, Receiver
from callboard.actors.alerts.rules import AlertRule, OnMissing, RuleGroup
from callboard.actors.alerts.settings import AlertSettings
from callboard.actors.alerts.states import Alert, AlertState
from callboard.actors.alerts.window_evaluator import WindowEvaluator
from callboard.messages.core.yaml_fields import FilesRefused
from callboard.runtime.api.alerts import alert_files, reload_alerts, start_alerts
from callboard.runtime.telemetry.default_rules import default_groups

__all__ = [
    "ALERT_MANAGER",
    "AddSilence",
    "Alert",
    "AlertChanged",
    "AlertFiles",
    "AlertManager",
    "AlertRoute",
    "AlertRule",
    "AlertSettings",
    "AlertState",
    "AlertText",
    "AlertView",
    "AlertsReloaded",
    "AlertsView",
    "EndSilence",
    "FilesRefused",
    "FollowAlerts",
    "Followed",
    "Inhibition",
    "KnowsMissing",
    "Notification",
    "NotificationPlan",
    "OnMissing",
    "QueryAlerts",
    "Receiver",
    "ReloadAlerts",
    "RuleGroup",
    "RuleView",
    "SilenceAdded",
    "SilenceEnded",
    "SilenceView",
    "Target",
    "Undelivered",
    "WindowEvaluator",
    "alert_files",
    "default_groups",
    "matcher",
    "reload_alerts",
    "rules_text",
    "start_alerts",
]
