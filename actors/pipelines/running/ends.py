"""The source and the sink that a pipeline's configuration names, for pipelines in files.

```yaml
configuration:
  source: {type: files, pattern: in/*.jsonl, follow: false}
  # or {type: events, journal: journal.db, channels: [orders]}
  sink: {type: table, key: [id]}        # or {type: files, folder: out}
```
"""

from collections.abc import Callable, Mapping
from typing import Any

from callboard.messages.storage.events import EventStore

from ..errors import PipelineRefused
from ..registry import StageSettings
from ..spec import DataPipeline
from .ports import PipelineSink, PipelineSource
from .sinks import FileSink, TableSink
from .sources import EventSource, FileSource

__all__ = ["sink_of", "source_of"]


OpensLog = Callable[[str], EventStore]
"""Gives the log at a URL, for reading."""


def source_of(spec: DataPipeline, open_log: OpensLog) -> PipelineSource:
    """The source that a pipeline names. Raises `PipelineRefused`, and what `open_log` raises."""
    settings = _settings(spec, "source")
    if settings.choice("type", ("files", "events"), "files") == "events":
        journal = settings.require("journal", str, "")
        channels = settings.texts("channels")
        if not channels:
            settings.refuse("channels", "the source names no channel")
        _check(spec, "source", settings)
        return EventSource(open_log(journal), channels)
    pattern = settings.require("pattern", str, "")
    follow = settings.take("follow", bool, False)  # noqa: FBT003 - a default
    _check(spec, "source", settings)
    return FileSource(pattern, follow=follow)


def sink_of(spec: DataPipeline) -> PipelineSink:
    """The sink that a pipeline names. Raises `PipelineRefused`."""
    settings = _settings(spec, "sink")
    if settings.choice("type", ("table", "files"), "table") == "files":
        folder = settings.require("folder", str, "")
        _check(spec, "sink", settings)
        return FileSink(folder)
    key = settings.texts("key")
    _check(spec, "sink", settings)
    return TableSink(key)


def _settings(spec: DataPipeline, name: str) -> StageSettings:
    given: Any = spec.configuration.get(name)
    if not isinstance(given, Mapping):
        raise PipelineRefused.of(
            spec.name,
            [f"{spec.place(f'configuration.{name}')}: the pipeline names no {name}"],
        )
    return StageSettings(given)


def _check(spec: DataPipeline, name: str, settings: StageSettings) -> None:
    problems = [
        f"{spec.place(f'configuration.{name}.{path}')}: {text}"
        for path, text in settings.check_rest()
    ]
    if problems:
        raise PipelineRefused.of(spec.name, problems)
