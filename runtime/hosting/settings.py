"""The settings of one system. They are checked once; an error names the wrong setting.

Code comes first. For a setting that the code leaves out, the environment counts:
`CALLBOARD_ENGINE`, `CALLBOARD_HOSTS`, `CALLBOARD_ADDRESS`, `CALLBOARD_NAME`,
`CALLBOARD_JOURNAL`, `CALLBOARD_METRICS`, `CALLBOARD_MODULES`, `CALLBOARD_FRAME_PORTS`,
`CALLBOARD_TRACING` and `CALLBOARD_UI` (yes, no, or a port).
`callboard run` sets most of them from its options, so one driver runs on this machine and on a
cluster without a change.
"""

import ipaddress
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn, TypedDict

from callboard.actors.alerts.settings import AlertsSetting, alert_settings
from callboard.actors.metrics.recording.options import RecordingOptions
from callboard.messages.control.hosts import HOSTS_MAX, AutoHosts, HostSpec, host_specs
from callboard.messages.control.spec import AutoShutdown, Backoff, Intensity, SupervisorSpec
from callboard.messages.core.errors import SpecError
from callboard.messages.core.limits import DEFAULT_LIMITS, Limits
from callboard.messages.core.names import check_name
from callboard.messages.core.timeouts import TIMEOUT_S_MAX

from ..telemetry.tracing.settings import TracingSettings
from ..transport.tcp import ANY_PORT, ports_of
from ..web.settings import WebSettings
from .ui_settings import UiSettings

__all__ = ["ENGINES", "FROM_ENVIRONMENT", "Settings", "SettingsOptions", "settings_of"]

LOGGER: Final = logging.getLogger("callboard")
ENGINES: Final = ("ray", "inline")
TRUTHS: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
DURABILITIES: Final = ("full", "normal", "off")
NAME_BYTES_MAX: Final = 200
"""The longest name of a system: it is the name of a file, with an ending."""
FROM_ENVIRONMENT: Final = {
    "engine": "CALLBOARD_ENGINE",
    "hosts": "CALLBOARD_HOSTS",
    "address": "CALLBOARD_ADDRESS",
    "name": "CALLBOARD_NAME",
    "journal": "CALLBOARD_JOURNAL",
    "metrics": "CALLBOARD_METRICS",
    "modules": "CALLBOARD_MODULES",
    "frame_ports": "CALLBOARD_FRAME_PORTS",
    "tracing": "CALLBOARD_TRACING",
    "ui": "CALLBOARD_UI",
}
"""The settings that the environment may give, and their variables."""


HOST_SUPERVISION: Final = SupervisorSpec(
    intensity=Intensity(restarts=30, period_s=30.0), backoff=Backoff(max_s=5.0)
)
RESTARTS_A_HOST: Final = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a system. All times are in seconds. A wrong value raises `SpecError`."""

    engine: str = "ray"
    """`ray` runs each host as a Ray actor; `inline` runs all hosts in this process."""
    hosts: int | Sequence[HostSpec] | AutoHosts | None = None
    """The number of hosts that run actors, or a spec for each; `AutoHosts`: as many as the
    cluster has CPUs at the time. None: one for each CPU at the start (`inline`: 2)."""
    standbys: int = 1
    """The number of warm, empty processes that take over when a host dies."""
    address: str | None = None
    """The address of a running cluster (`host:port`); None starts an embedded Ray on this
    machine."""
    modules: Sequence[str | os.PathLike[str]] = ()
    """Paths of packages (folders) and modules (`.py` files) that Ray ships to all hosts, where
    they are imported by their own names. The engine `inline` has no need of it."""
    name: str = "callboard"
    """The name of the system, for the CLI, metrics and `attach`."""
    detached: bool = False
    """Whether the system outlives this driver: other drivers `attach` to it by its name, and
    `callboard down` stops it. It needs a cluster that outlives the driver."""
    dashboard: bool = False
    """Whether an embedded Ray starts its dashboard; a cluster has one anyway."""
    show_host_logs: bool = False
    """Whether the output and logs of hosts appear in the driver's terminal too."""
    ask_timeout_s: float = 30.0
    """The deadline of an `ask` without a `timeout_s` of its own."""
    start_timeout_s: float = 60.0
    """How long Ray and the hosts may take to start."""
    stop_timeout_s: float = 30.0
    """How long all hosts may take to stop before their processes are killed. Each actor has a
    stop timeout of its own, and a host as much time as its actors need."""
    blocked_s: float = 0.5
    """A handler that blocks the event loop for longer is reported in the log."""
    blocked_s_max: float = 60.0
    """A host whose event loop has been blocked for so long is killed and replaced, and its history
    names the blocked actor; 0 for never. With the engine `inline`, only the log names it."""
    metrics_s: float = 5.0
    """The interval at which each host publishes its metrics; 0 for never."""
    metrics_address: str = "127.0.0.1"
    """The address at which each node shows the metrics of its hosts to Prometheus. Everyone who
    reaches it reads them."""
    metrics_ports: str = "any"
    """The ports for that: `any` (a free one), one, a range such as `9464-9499` of which the first
    free one is taken, or `off`. The engine `inline` has no such endpoint."""
    recording: RecordingOptions | None = None
    """How each host records the points of `ctx.meter`, and brings them to the aggregators; None
    for the defaults, and without `metrics` to drop and count them."""
    heartbeat_s: float = 1.0
    """The interval of heartbeats, and the time for the answer to one."""
    heartbeats_missed_max: int = 5
    """A host that misses this many heartbeats in a row is given up: it is killed and replaced."""
    lease_s: float = 25.0
    """How long a host runs on without a heartbeat, unless the root cannot be replaced and runs on
    the same machine. A host that cannot be reached is replaced after a fifth more (30 s). At least
    `heartbeat_s * (heartbeats_missed_max + 2)`: below, that counts."""
    host_supervision: SupervisorSpec = HOST_SUPERVISION
    """The strategy, restart intensity and back-off for lost hosts. The default allows five
    restarts for each host when there are more than six."""
    limits: Limits = DEFAULT_LIMITS
    """The limits of messages, frames and queues."""
    frame_ports: str = ANY_PORT
    """The ports on which the processes listen for frames of other nodes: `any` (a free one), a
    range such as `11000-11999` with at least one for each process of a node, or `off` (Ray calls
    carry the frames). A process takes a port when another node first asks for it."""
    journal: str = "auto"
    """The journal of executions: a path, `sqlite:///path`, `postgresql://...`, `memory:`, or
    `off`. By default (`auto`), with the engine `ray`, a file of the system's own below
    `CALLBOARD_HOME`."""
    journal_node: str = ""
    """For a detached system whose journal is a file: the Ray address of the node with the file.
    By default the node of the driver that starts the system."""
    blobs: str = "auto"
    """The folder for results that are too large for the journal (`Job.large_results`), or `off`.
    By default (`auto`), the path of a journal file with `.blobs` appended."""
    states: str = "off"
    """The store for states of executions, fed from the journal: a path or a URL as for the
    journal (a file of its own), or `off`."""
    states_cache: str = ""
    """A Redis URL for the second tier of the cache of states; empty for none."""
    metrics: str = "off"
    """The store for windows of metrics: a path or a URL as for the journal, `auto` (with a journal
    in a file, a file next to it; else in memory), or `off`. All parts of the system record into
    it, and actors by `ctx.meter`."""
    metrics_objects: str = "off"
    """The object store for windows of `metrics` that are no longer new: a folder, or a URL such as
    `s3://bucket/prefix` (extra `data`). With `off` they stay in the store until they expire."""
    alerts: AlertsSetting | None = None
    """The alerts over `metrics`: paths of files of rules, receivers and routes, or an
    `AlertSettings`; True for the rules for Callboard itself; False for none. None: those rules,
    where `metrics` are in a file or on a server."""
    ui: UiSettings | bool | None = None
    """The page, the HTTP API and the streams (extra `web`): True, or their settings; by default
    the system has none."""
    tracing: TracingSettings | bool | None = None
    """The traces of executions, sub-tasks and asks (extra `tracing`): True, or their settings. With
    True the standard variables of OpenTelemetry say where they go. By default there are none."""
    durability: str = "full"
    """What a commit of an SQLite journal survives: `full` (a power loss), `normal` (the end of
    any process), `off`."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            _refuse("engine", self.engine, f"one of {', '.join(ENGINES)}")
        if self.hosts is not None:
            self._check_hosts(self.hosts)
        check_name(
            "setting name is", self.name, without="/", bytes_max=NAME_BYTES_MAX, field="name"
        )
        if not 0 <= self.standbys <= HOSTS_MAX:
            _refuse("standbys", self.standbys, f"a number from 0 to {HOSTS_MAX}")
        if self.engine == "inline" and self.address is not None:
            _refuse("address", self.address, "None for the inline engine, which has no cluster")
        if self.engine == "inline" and self.detached:
            _refuse("detached", self.detached, "False for the inline engine, which is one process")
        self._check_times()
        self._check_modules()
        self._check_addresses()
        self._check_metrics()
        texts = ("journal", "journal_node", "blobs", "states", "states_cache", "metrics")
        for name in (*texts, "metrics_objects"):
            if "\0" in str(getattr(self, name)):
                _refuse(name, getattr(self, name), "a text without a NUL character")
        if not isinstance(self.blobs, str) or not self.blobs:
            _refuse("blobs", self.blobs, "a folder, auto, or off")
        has_journal = self.journal != "off" and (self.journal != "auto" or self.engine == "ray")
        if self.states != "off" and not has_journal:
            _refuse("states", self.states, "off without a journal, which feeds the states")
        if isinstance(self.ui, bool):
            object.__setattr__(self, "ui", UiSettings() if self.ui else None)
        elif self.ui is not None and not isinstance(self.ui, UiSettings):
            _refuse("ui", self.ui, "True, or UiSettings")
        object.__setattr__(self, "tracing", TracingSettings.of(self.tracing))
        if self.durability not in DURABILITIES:
            _refuse("durability", self.durability, f"one of {', '.join(DURABILITIES)}")

    def _check_addresses(self) -> None:
        for name in ("frame_ports", "metrics_ports"):
            try:
                ports_of(getattr(self, name))
            except (ValueError, AttributeError):
                _refuse(name, getattr(self, name), "any, off, or a range such as 11000-11999")
        try:
            ipaddress.ip_address(self.metrics_address)
        except ValueError:
            _refuse("metrics_address", self.metrics_address, "an IP address of the nodes")

    def _check_modules(self) -> None:
        paths = self.modules
        if not isinstance(paths, list | tuple) or not all(
            isinstance(path, str | os.PathLike) and os.fspath(path) for path in paths
        ):
            _refuse("modules", paths, "a list of paths")
        # Not later: the driver may change its folder.
        absolute = tuple(os.path.abspath(path) for path in paths)  # noqa: PTH100 - links stay
        object.__setattr__(self, "modules", absolute)

    def _check_metrics(self) -> None:
        if not isinstance(self.metrics, str) or not self.metrics:
            _refuse("metrics", self.metrics, "a path or a URL, auto, or off")
        if self.metrics != "off" and self.recording is None:
            object.__setattr__(self, "recording", RecordingOptions())
        if not isinstance(self.metrics_objects, str) or not self.metrics_objects:
            _refuse("metrics_objects", self.metrics_objects, "a folder, a URL, or off")
        if self.metrics == "off" != self.metrics_objects:
            _refuse("metrics_objects", self.metrics_objects, "off without the setting metrics")

        if self.alerts not in (None, False):
            object.__setattr__(self, "alerts", alert_settings(self.alerts))
            if self.metrics == "off":
                _refuse("alerts", "on", "False without the setting metrics")

    def _check_times(self) -> None:
        for name in (
            "ask_timeout_s", "start_timeout_s", "stop_timeout_s", "heartbeat_s", "lease_s",
        ):  # fmt: skip
            if not 0 < getattr(self, name) <= TIMEOUT_S_MAX:
                _refuse(name, getattr(self, name), f"over 0, and at most {TIMEOUT_S_MAX:g}")
        if not self.metrics_s >= 0:
            _refuse("metrics_s", self.metrics_s, "over 0, or 0 for no metrics")
        if not self.blocked_s > 0:
            _refuse("blocked_s", self.blocked_s, "over 0")
        if not self.blocked_s_max >= 0:
            _refuse("blocked_s_max", self.blocked_s_max, "over 0, or 0 for never")

    def supervision_of(self, hosts: int) -> SupervisorSpec:
        """The supervision of so many hosts.

        All hosts of a node may be lost at once: that must not count as hosts that keep dying.
        """
        spec = self.host_supervision
        if spec != HOST_SUPERVISION:
            return spec
        restarts = max(spec.intensity.restarts, RESTARTS_A_HOST * hosts)
        return replace(spec, intensity=replace(spec.intensity, restarts=restarts))

    @property
    def page(self) -> UiSettings | None:
        """The setting `ui` after its check."""
        return self.ui if isinstance(self.ui, UiSettings) else None

    @property
    def traces(self) -> TracingSettings | None:
        """The setting `tracing` after its check."""
        return self.tracing if isinstance(self.tracing, TracingSettings) else None

    @property
    def host_lease_s(self) -> float:
        """The lease of a host: it does not end before the root gives the host up."""
        return max(self.lease_s, self.heartbeat_s * (self.heartbeats_missed_max + 2))

    @classmethod
    def from_words(
        cls, words: Iterable[str], environment: Mapping[str, str] = os.environ
    ) -> "Settings":
        """The settings of words such as `hosts=2` and `detached=yes`.

        For scripts that pass on their command line. For a setting that the words leave out,
        `environment` counts. Raises `SpecError`.
        """
        options: dict[str, Any] = {}
        for word in words:
            name, equals, text = word.partition("=")
            if not equals:
                raise SpecError(
                    f"{word!r} is not a setting.", advice="Write name=value.", field=name
                )
            options[name] = _value_of(name, text)
        return settings_of(options, environment)

    def _check_hosts(self, hosts: int | Sequence[HostSpec] | AutoHosts) -> None:
        wanted = f"a number from 1 to {HOSTS_MAX}, HostSpecs, AutoHosts, or None"
        if isinstance(hosts, AutoHosts):
            return
        if isinstance(hosts, int):
            if isinstance(hosts, bool) or not 1 <= hosts <= HOSTS_MAX:
                _refuse("hosts", hosts, wanted)
            return
        if not isinstance(hosts, list | tuple) or not all(
            isinstance(spec, HostSpec) for spec in hosts
        ):
            _refuse("hosts", hosts, wanted)
        object.__setattr__(self, "hosts", tuple(hosts))  # A list could change after the check.
        ends_never = self.host_supervision.auto_shutdown is AutoShutdown.NEVER
        for spec in host_specs(hosts):
            if spec.significant and ends_never:
                _refuse(
                    "hosts", spec, "without significant, or host_supervision with auto_shutdown"
                )


class SettingsOptions(TypedDict, total=False):
    """The settings as keyword arguments, for example of `run` and `start`; see `Settings`.

    For one that is left out, or None, the environment counts.
    """

    engine: str | None
    hosts: int | Sequence[HostSpec] | AutoHosts | None
    standbys: int | None
    address: str | None
    modules: Sequence[str | os.PathLike[str]] | None
    name: str | None
    detached: bool | None
    dashboard: bool | None
    show_host_logs: bool | None
    ask_timeout_s: float | None
    start_timeout_s: float | None
    stop_timeout_s: float | None
    blocked_s: float | None
    blocked_s_max: float | None
    metrics_s: float | None
    metrics_address: str | None
    metrics_ports: str | None
    recording: RecordingOptions | None
    heartbeat_s: float | None
    heartbeats_missed_max: int | None
    lease_s: float | None
    host_supervision: SupervisorSpec | None
    limits: Limits | None
    frame_ports: str | None
    journal: str | None
    journal_node: str | None
    blobs: str | None
    states: str | None
    states_cache: str | None
    metrics: str | None
    metrics_objects: str | None
    alerts: AlertsSetting | None
    ui: UiSettings | bool | None
    tracing: TracingSettings | bool | None
    durability: str | None


def _refuse(name: str, value: Any, wanted: str) -> NoReturn:
    raise SpecError(f"setting {name} is {value!r}.", advice=f"It must be {wanted}.", field=name)


def settings_of(options: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings of `options`; for those left out or None, `environment` counts.

    Raises `SpecError` for an option that is not a setting, and for a wrong value.
    """
    for name in options:
        if name not in Settings.__dataclass_fields__:
            known = ", ".join(sorted(Settings.__dataclass_fields__))
            raise SpecError(
                f"there is no setting {name!r}.", advice=f"Settings are: {known}.", field=name
            )
    said = {name: value for name, value in options.items() if value is not None}
    for name, variable in FROM_ENVIRONMENT.items():
        text = environment.get(variable, "").strip()
        if not text:
            continue
        if name not in said:
            said[name] = _value_of(name, text, variable)
        elif not _is_same(name, str(said[name]), text):
            LOGGER.warning(
                "%s=%s is ignored: the code sets %s=%r. Remove %s there to use the variable.",
                variable, text, name, said[name], name,
            )  # fmt: skip
    if options.get("engine") == "inline" and options.get("address") is None:
        said.pop("address", None)  # The code wants no cluster.
    settings = Settings(**said)
    if settings.traces is not None:
        # The driver's variable counts for all hosts: theirs may be those of another machine.
        settings = replace(settings, tracing=settings.traces.resolved(environment))
    return settings


def _is_same(name: str, said: str, text: str) -> bool:
    """Whether both mean the same: a journal file has many paths."""
    if name in {"modules", "ui", "tracing"}:
        return said == str(_value_of(name, text))
    if said == text or name != "journal":
        return said == text
    from ..stores.choose import path_of  # A driver without a journal loads no stores.

    try:
        one, other = path_of(said), path_of(text)
    except SpecError:
        return False
    return one is not None and other is not None and one.resolve() == other.resolve()


def _value_of(name: str, text: str, variable: str = "") -> Any:
    """The value of a setting from a text; a text for an unknown name stays as it is."""
    field = Settings.__dataclass_fields__.get(name)
    kind = None if field is None else field.type
    if name == "hosts":
        return _hosts_of(variable or name, text)
    if name == "ui":
        return _ui_of(variable or name, text)
    if kind is int:
        return _whole_number(variable or name, text)
    if name in ("alerts", "tracing") and text.lower() in TRUTHS:
        return TRUTHS[text.lower()]
    if name in ("modules", "alerts"):
        return [path for path in text.split(os.pathsep) if path]
    if kind is float:
        try:
            return float(text)
        except ValueError:
            _refuse(name, text, "a number")
    if kind is bool:
        if text.lower() not in TRUTHS:
            _refuse(name, text, "yes or no")
        return TRUTHS[text.lower()]
    if name == "tracing":
        _refuse(name, text, "yes, no, or TracingSettings, which only code can give")
    if kind in {Limits, SupervisorSpec}:
        _refuse(name, text, f"a {kind.__name__}, which only code can give")
    if name == "recording":
        _refuse(name, text, "a RecordingOptions, which only code can give")
    return text


def _ui_of(variable: str, text: str) -> UiSettings | bool:
    """Whether there is a page, or its port."""
    if text.lower() in TRUTHS and text not in ("0", "1"):
        return TRUTHS[text.lower()]
    port = _whole_number(variable, text, "yes, no, or a port")
    return UiSettings(web=WebSettings(port=port))


def _hosts_of(variable: str, text: str) -> int | AutoHosts:
    """A number of hosts, or `auto`."""
    if text == "auto":
        return AutoHosts()
    try:
        return int(text)
    except ValueError:
        _refuse(variable, text, "a whole number, or auto")


def _whole_number(variable: str, text: str, wanted: str = "a whole number") -> int:
    try:
        return int(text)
    except ValueError:
        _refuse(variable, text, wanted)
