"""Pipelines in files: YAML or JSON, with the line of every problem.

A file has the fields of `DataPipeline`, and those of `PipelineStage` for each stage. It is data:
aliases, tags of other types and unknown fields are refused.
"""

import dataclasses
import enum
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.names import shown
from callboard.messages.core.yaml_text import YamlRefused, inner_path, yaml_values

from .errors import PipelineRefused
from .spec import DataPipeline, ErrorHandlingStrategy, MonitoringConfiguration, PipelineStage

__all__ = ["pipeline_from_data", "read_pipeline"]

FILE_BYTES_MAX: Final = 1_000_000
NESTED: Final[Mapping[str, type[Any]]] = {
    "error_handling": ErrorHandlingStrategy,
    "monitoring": MonitoringConfiguration,
    "backoff": Backoff,
}


def read_pipeline(path: str | Path) -> DataPipeline:
    """The pipeline in a file. Raises `PipelineRefused` with every problem and its line."""
    file = Path(path)
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise UsageError(
                f"{file} has more than {FILE_BYTES_MAX:,} bytes.", advice="Is it a pipeline?"
            )
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the pipeline {file} cannot be read: {error}.", advice="Check the path."
        ) from error
    try:
        read = yaml_values(text)
    except YamlRefused as error:
        where = f"{file.name}, line {error.line}"
        raise PipelineRefused.of(file.stem, [f"{where}: {error.problem}"]) from None
    if read.problems:
        problems = [f"{file.name}, line {line}: {problem}" for line, problem in read.problems]
        raise PipelineRefused.of(file.stem, problems)
    data = read.value
    if file.suffix == ".json":
        # JSON's own numbers and texts: YAML reads some of them otherwise, such as 1e3.
        try:
            data = json.loads(text)
        except ValueError as error:
            raise PipelineRefused.of(file.stem, [f"{file.name}: {error}"]) from None
    places = {path: f"{file.name}, line {line}" for path, line in read.lines.items()}
    return pipeline_from_data(data, places, file.stem)


def pipeline_from_data(
    data: Any, places: Mapping[str, str] | None = None, name: str = "pipeline"
) -> DataPipeline:
    """The pipeline in plain values. Raises `PipelineRefused` with every problem and its place."""
    reader = _Reader(places or {})
    found: DataPipeline = reader.read(DataPipeline, data, "")
    if reader.problems:
        given = data.get("name", name) if isinstance(data, Mapping) else name
        raise PipelineRefused.of(str(given), reader.problems)
    return dataclasses.replace(found, places=dict(places or {}))


class _Reader:
    """Makes specs of mappings, and collects every problem."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self.problems: list[str] = []

    def _refuse(self, path: str, text: str) -> None:
        where = DataPipeline("", (), places=self._places).place(path)
        self.problems.append(f"{where or 'the file'}: {text}")

    def read(self, cls: type[Any], data: Any, path: str) -> Any:
        """A frozen spec of this class; None after a problem."""
        if not isinstance(data, Mapping):
            self._refuse(path, f"is a {type(data).__name__}, and must be a mapping")
            return None
        fields = {each.name: each for each in dataclasses.fields(cls) if each.name != "places"}
        for key in data:
            if key not in fields:
                known = ", ".join(fields)
                self._refuse(inner_path(path, key), f"{shown(key)} is unknown; there are: {known}")
        hints = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        before = len(self.problems)
        for name, each in fields.items():
            if name in data:
                values[name] = self._field(name, hints[name], data[name], inner_path(path, name))
            elif each.default is dataclasses.MISSING and each.default_factory is (
                dataclasses.MISSING
            ):
                self._refuse(path, f"the field {name!r} is missing")
        if len(self.problems) > before:
            return None
        try:
            return cls(**values)
        except CallboardError as error:
            self._refuse(path, error.message)
            return None

    def _field(self, name: str, hint: Any, value: Any, path: str) -> Any:
        if name in NESTED:
            return self.read(NESTED[name], value, path)
        if name == "stages":
            if not isinstance(value, list | tuple):
                self._refuse(path, "must be a list of stages")
                return ()
            return tuple(
                self.read(PipelineStage, each, f"{path}[{number}]")
                for number, each in enumerate(value)
            )
        kind = _kind(hint)
        if issubclass(kind, enum.Enum):
            try:
                return kind(value)
            except ValueError:
                choices = ", ".join(str(each.value) for each in kind)
                self._refuse(path, f"is {shown(value)}; choose one of {choices}")
                return None
        if kind is float and type(value) is int:
            return float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._refuse(path, f"is {shown(value)}, and must be a {NAMES[kind]}")
            return None
        return value


NAMES: Final[Mapping[type, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    dict: "mapping",
}


def _kind(hint: Any) -> type[Any]:
    """The type that a value of this annotation has in a file."""
    if isinstance(hint, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    if isinstance(hint, type):
        return hint
    return dict
