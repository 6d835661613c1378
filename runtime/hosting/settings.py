"""Settings of one system: code first, checked once, a wrong one is refused by name.

What the code leaves open, the environment may say: `CALLBOARD_ENGINE`, `CALLBOARD_HOSTS`,
`CALLBOARD_ADDRESS`, `CALLBOARD_NAME` and `CALLBOARD_JOURNAL`. `callboard run` sets them from
its options, so one driver runs on this machine and on a cluster without a change.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypedDict

from callboard.messages.control.hosts import HOSTS_MAX, HostSpec, host_specs
from callboard.messages.control.spec import AutoShutdown, Backoff, Intensity, SupervisorSpec
from callboard.messages.core.errors import SpecError
from callboard.messages.core.limits import DEFAULT_LIMITS, Limits

__all__ = ["ENGINES", "FROM_ENVIRONMENT", "Settings", "SettingsOptions", "settings_of"]

LOGGER: Final = logging.getLogger("callboard")
ENGINES: Final = ("ray", "inline")
TRUTHS: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
DURABILITIES: Final = ("full", "normal", "off")
FROM_ENVIRONMENT: Final = {
    "engine": "CALLBOARD_ENGINE",
    "hosts": "CALLBOARD_HOSTS",
    "address": "CALLBOARD_ADDRESS",
    "name": "CALLBOARD_NAME",
    "journal": "CALLBOARD_JOURNAL",
}
"""The settings that the environment may give, and the variables that give them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a system is run. Times in seconds."""

    engine: str = "ray"
    hosts: int | Sequence[HostSpec] | None = None
    """Hosts that run actors, or what each of them is; None: one for each CPU of the cluster."""
    standbys: int = 1
    """Warm, empty processes that take over when a host dies."""
    address: str | None = None
    """A running cluster (`host:port`); None starts Ray on this machine, embedded."""
    name: str = "callboard"
    detached: bool = False
    """Whether the system outlives this driver: others `attach` to it by its name, and
    `callboard down` stops it. It needs a cluster that outlives the driver."""
    dashboard: bool = False
    """Whether an embedded Ray starts its dashboard too; a cluster's is there anyway."""
    show_host_logs: bool = False
    """Whether what hosts print and log appears in the driver's terminal too."""
    ask_timeout_s: float = 30.0
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0
    """The last resort: how long all hosts may take to stop before their processes are ended.
    Each actor has a stop timeout of its own, and a host as much as its actors need."""
    blocked_s: float = 0.5
    """From when on a handler that keeps the event loop from running is reported."""
    metrics_s: float = 5.0
    """How often each host publishes its figures as Ray's metrics; 0 for never."""
    heartbeat_s: float = 1.0
    heartbeats_missed_max: int = 5
    """A host that misses so many in a row counts as dead and is killed."""
    host_supervision: SupervisorSpec = field(
        default_factory=lambda: SupervisorSpec(
            intensity=Intensity(restarts=30, period_s=30.0), backoff=Backoff(max_s=5.0)
        )
    )
    """How lost hosts are replaced."""
    limits: Limits = DEFAULT_LIMITS
    journal: str = "auto"
    """Where executions are journalled: a path, `sqlite:///path`, `postgresql://...`, `memory:`,
    or `off`. By default, with the engine `ray`, a file of the system's own below
    `CALLBOARD_HOME`."""
    journal_node: str = ""
    """Of a detached system whose journal is a file: the address of the node that has it, in
    Ray's words. By default that of the driver that starts the system."""
    blobs: str = "auto"
    """Where results are kept that are too large for the journal (`Job.large_results`): a folder,
    or `off`. By default beside a journal that is a file, with `.blobs` behind its name."""
    states: str = "off"
    """Where the states of executions are kept, fed from the journal: a path or a URL as for the
    journal (a file of its own), or `off`."""
    states_cache: str = ""
    """A Redis URL: the second tier of the cache in front of them."""
    durability: str = "full"
    """What a commit of an SQLite journal survives: `full` (loss of power), `normal` (the end of
    any process), `off`."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            _refuse("engine", self.engine, f"one of {', '.join(ENGINES)}")
        if self.hosts is not None:
            self._check_hosts(self.hosts)
        if not 0 <= self.standbys <= HOSTS_MAX:
            _refuse("standbys", self.standbys, f"a number from 0 to {HOSTS_MAX}")
        if self.engine == "inline" and self.address is not None:
            _refuse("address", self.address, "None for the inline engine: it has no cluster")
        if self.engine == "inline" and self.detached:
            _refuse("detached", self.detached, "False for the inline engine: it is one process")
        for name in ("ask_timeout_s", "start_timeout_s", "stop_timeout_s", "heartbeat_s"):
            if not getattr(self, name) > 0:
                _refuse(name, getattr(self, name), "over 0")
        if not isinstance(self.blobs, str) or not self.blobs:
            _refuse("blobs", self.blobs, "a folder, auto, or off")
        has_journal = self.journal != "off" and (self.journal != "auto" or self.engine == "ray")
        if self.states != "off" and not has_journal:
            _refuse("states", self.states, "off where there is no journal: it feeds them")
        if self.durability not in DURABILITIES:
            _refuse("durability", self.durability, f"one of {', '.join(DURABILITIES)}")
        if not self.metrics_s >= 0:
            _refuse("metrics_s", self.metrics_s, "over 0, or 0 for no metrics")

    @classmethod
    def from_words(
        cls, words: Iterable[str], environment: Mapping[str, str] = os.environ
    ) -> "Settings":
        """The settings that words such as `hosts=2` and `detached=yes` name.

        For scripts that pass on the words of their command line. What the words leave open, the
        environment may say. Raises `SpecError`.
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

    def _check_hosts(self, hosts: int | Sequence[HostSpec]) -> None:
        wanted = f"a number from 1 to {HOSTS_MAX}, HostSpecs, or None"
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
    """The settings as keyword arguments, of `run` and `start` for instance; see `Settings`.

    One that is left out, or None, the environment may say.
    """

    engine: str | None
    hosts: int | Sequence[HostSpec] | None
    standbys: int | None
    address: str | None
    name: str | None
    detached: bool | None
    dashboard: bool | None
    show_host_logs: bool | None
    ask_timeout_s: float | None
    start_timeout_s: float | None
    stop_timeout_s: float | None
    blocked_s: float | None
    metrics_s: float | None
    heartbeat_s: float | None
    heartbeats_missed_max: int | None
    host_supervision: SupervisorSpec | None
    limits: Limits | None
    journal: str | None
    journal_node: str | None
    blobs: str | None
    states: str | None
    states_cache: str | None
    durability: str | None


def _refuse(name: str, value: Any, wanted: str) -> NoReturn:
    raise SpecError(f"setting {name} is {value!r}.", advice=f"It must be {wanted}.", field=name)


def settings_of(options: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings that `options` name; what they leave open or None, `environment` may say.

    Raises `SpecError` for an option that is not a setting, and for a wrong value from anywhere.
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
            said[name] = _whole_number(variable, text) if name == "hosts" else text
        elif not _is_same(name, str(said[name]), text):
            LOGGER.warning(
                "%s=%s is not used: the code says %s=%r. Leave %s out there to choose it outside.",
                variable, text, name, said[name], name,
            )  # fmt: skip
    if options.get("engine") == "inline" and options.get("address") is None:
        said.pop("address", None)  # The code wants no cluster, wherever the others run.
    return Settings(**said)


def _is_same(name: str, said: str, text: str) -> bool:
    """Whether both mean the same: a journal's file has many names."""
    if said == text or name != "journal":
        return said == text
    from ..stores.choose import path_of  # A driver without a journal loads no stores.

    try:
        one, other = path_of(said), path_of(text)
    except SpecError:
        return False
    return one is not None and other is not None and one.resolve() == other.resolve()


def _value_of(name: str, text: str) -> Any:
    """What a text means as the value of a setting; that of another name is left as it is."""
    field = Settings.__dataclass_fields__.get(name)
    kind = None if field is None else field.type
    if kind is int or name == "hosts":
        return _whole_number(name, text)
    if kind is float:
        try:
            return float(text)
        except ValueError:
            _refuse(name, text, "a number")
    if kind is bool:
        if text.lower() not in TRUTHS:
            _refuse(name, text, "yes or no")
        return TRUTHS[text.lower()]
    if kind in {Limits, SupervisorSpec}:
        _refuse(name, text, f"a {kind.__name__}, so it must be given in code")
    return text


def _whole_number(variable: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        _refuse(variable, text, "a whole number")
