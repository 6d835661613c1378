"""Settings from code and environment, and refused values."""

import dataclasses
import logging
import os
import typing
from pathlib import Path
from typing import Any

import pytest

from callboard.messages.control.hosts import AutoHosts
from callboard.messages.control.spec import Intensity, SupervisorSpec
from callboard.messages.core.errors import SpecError
from callboard.runtime.hosting.settings import (
    FROM_ENVIRONMENT,
    Settings,
    SettingsOptions,
    settings_of,
)

EVERY = {
    "CALLBOARD_ENGINE": "ray",
    "CALLBOARD_HOSTS": "7",
    "CALLBOARD_ADDRESS": "192.0.2.10:6379",
    "CALLBOARD_NAME": "theirs",
    "CALLBOARD_JOURNAL": "/journals/theirs.db",
    "CALLBOARD_METRICS": "/metrics/theirs.db",
    "CALLBOARD_MODULES": os.pathsep.join(("/code/shop", "/code/prices.py")),
    "CALLBOARD_FRAME_PORTS": "11000-11999",
    "CALLBOARD_UI": "8123",
    "CALLBOARD_TRACING": "yes",
}


def test_the_environment_says_what_the_code_leaves_open() -> None:
    settings = settings_of({}, EVERY)
    assert (settings.engine, settings.hosts) == ("ray", 7)
    assert (settings.address, settings.name) == ("192.0.2.10:6379", "theirs")
    assert settings.modules == ("/code/shop", "/code/prices.py")
    assert settings.frame_ports == "11000-11999"
    assert settings.metrics == "/metrics/theirs.db"
    assert settings.recording is not None
    assert settings.page is not None
    assert settings.page.web.port == 8123
    assert settings.traces is not None
    assert set(EVERY) == set(FROM_ENVIRONMENT.values())


def test_none_leaves_a_setting_open() -> None:
    assert settings_of(dict.fromkeys(FROM_ENVIRONMENT), EVERY) == settings_of({}, EVERY)
    assert settings_of(dict.fromkeys(FROM_ENVIRONMENT), {}) == Settings()


def test_the_code_wins_and_a_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "callboard"):
        assert settings_of({"hosts": 2}, EVERY).hosts == 2
    assert "CALLBOARD_HOSTS=7 is ignored" in caplog.text


def test_the_same_value_twice_gives_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert settings_of({"hosts": 7, "engine": "ray"}, EVERY).hosts == 7
    assert not caplog.text


def test_a_driver_that_is_inline_by_its_code_needs_no_cluster() -> None:
    settings = settings_of({"engine": "inline"}, EVERY | {"CALLBOARD_ENGINE": ""})
    assert (settings.engine, settings.address) == ("inline", None)


def test_blank_variables_are_ignored() -> None:
    assert settings_of({}, dict.fromkeys(EVERY, "  ")) == Settings()


def test_hosts_may_come_as_text_from_a_command_line() -> None:
    assert Settings.from_words(["hosts=3"], {}).hosts == 3
    assert Settings.from_words(["hosts=auto"], {}).hosts == AutoHosts()


def test_hosts_that_follow_the_cluster_may_come_from_the_environment() -> None:
    assert settings_of({}, {"CALLBOARD_HOSTS": "auto"}).hosts == AutoHosts()
    limits = AutoHosts(at_least=2, at_most=8, idle_s=60.0)
    assert settings_of({"hosts": limits}, {}).hosts == limits


@pytest.mark.parametrize(
    ("options", "environment", "named"),
    [
        ({"hots": 2}, {}, "hots"),
        ({"hosts": "many"}, {}, "hosts"),
        ({"hosts": 0}, {}, "hosts"),
        ({"engine": "cloud"}, {}, "engine"),
        ({"ask_timeout_s": 0}, {}, "ask_timeout_s"),
        ({"blocked_s": 0}, {}, "blocked_s"),
        ({"blocked_s_max": -1.0}, {}, "blocked_s_max"),
        ({"frame_ports": "11000-"}, {}, "frame_ports"),
        ({}, {"CALLBOARD_FRAME_PORTS": "11999-11000"}, "frame_ports"),
        ({}, {"CALLBOARD_HOSTS": "1.5"}, "CALLBOARD_HOSTS"),
        ({}, {"CALLBOARD_ENGINE": "cloud"}, "engine"),
        ({}, {"CALLBOARD_ENGINE": "inline", "CALLBOARD_ADDRESS": "h:1"}, "address"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    options: dict[str, Any], environment: dict[str, str], named: str
) -> None:
    with pytest.raises(SpecError) as refused:
        settings_of(options, environment)
    assert refused.value.details["field"] == named
    assert refused.value.advice


@pytest.mark.parametrize(
    ("said", "text", "is_logged"),
    [
        ("j.db", "sqlite:///j.db", False),
        ("j.db", "{here}/j.db", False),
        ("off", "off", False),
        ("j.db", "k.db", True),
        ("memory:", "j.db", True),
        ("off", "", False),
    ],
)
def test_a_journal_under_another_name_is_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    said: str,
    text: str,
    is_logged: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"CALLBOARD_JOURNAL": text.format(here=tmp_path)}
    with caplog.at_level("WARNING", "callboard"):
        assert settings_of({"journal": said}, environment).journal == said
    assert ("CALLBOARD_JOURNAL" in caplog.text) == is_logged


def test_options_are_the_settings() -> None:
    options = typing.get_type_hints(SettingsOptions)
    settings = typing.get_type_hints(Settings)
    assert options == {name: kind | None for name, kind in settings.items()}
    assert list(options) == [field.name for field in dataclasses.fields(Settings)]


def test_words_of_a_command_line_are_settings() -> None:
    words = ["engine=inline", "hosts=3", "heartbeat_s=0.5", "dashboard=yes", "journal=a=b.db"]
    assert Settings.from_words(words, {"CALLBOARD_NAME": "mine"}) == Settings(
        engine="inline", hosts=3, heartbeat_s=0.5, dashboard=True, journal="a=b.db", name="mine"
    )


@pytest.mark.parametrize(
    "word",
    ["hosts", "hots=2", "hosts=two", "ask_timeout_s=long", "detached=perhaps", "limits=8"],
)
def test_a_word_that_is_no_setting_is_refused_by_its_name(word: str) -> None:
    with pytest.raises(SpecError) as refused:
        Settings.from_words([word], {})
    assert refused.value.details["field"] == word.partition("=")[0]


def test_the_loss_of_a_large_node_is_within_the_default_intensity() -> None:
    assert Settings().supervision_of(2).intensity.restarts == 30
    assert Settings().supervision_of(64).intensity.restarts == 320
    own = SupervisorSpec(intensity=Intensity(restarts=3, period_s=5.0))
    assert Settings(host_supervision=own).supervision_of(64) is own
