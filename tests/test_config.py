"""Frozen configurations, and where things live on a machine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fercore import config
from fercore.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kettle(config.Config):
    volume: float
    colour: str = "red"
    presets: tuple[int, ...] = (80, 100)
    notes: dict[str, str] = dataclasses.field(default_factory=dict)


def test_a_configuration_comes_back_from_json() -> None:
    kettle = Kettle(volume=1.5, presets=(70,), notes={"a": "b"})
    values = kettle.to_dict()
    assert values == {"volume": 1.5, "colour": "red", "presets": [70], "notes": {"a": "b"}}
    assert Kettle.from_dict(json.loads(json.dumps(values))) == kettle


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"volume": 1, "color": "red"}, "Kettle: unknown option 'color'; did you mean 'colour'?"),
        ({"volume": 1, "xyz": 1}, "Kettle: unknown option 'xyz'; known: volume, colour, presets, notes"),
        ({"colour": "red"}, "Kettle: option 'volume' is missing"),
        ([1], "Kettle: expected an object of names and values, got list"),
        (None, "Kettle: expected an object of names and values, got NoneType"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(values: object, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Kettle.from_dict(values)
    assert str(caught.value) == told


def test_replace_changes_a_copy_and_refuses_unknown_names() -> None:
    kettle = Kettle(volume=1.5)
    assert kettle.replace(colour="blue", presets=(1, 2)) == Kettle(volume=1.5, colour="blue", presets=(1, 2))
    assert kettle.colour == "red"
    with pytest.raises(ConfigError, match="did you mean 'volume'"):
        kettle.replace(volum=2)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Kettle(volume=1).colour = "blue"


def test_data_folder_is_the_option_then_the_variable_then_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_DATA", "/from/variable")
    assert config.data_dir("/from/option") == Path("/from/option")
    assert config.data_dir() == Path("/from/variable")
    monkeypatch.setenv("FER_DATA", "")
    assert config.data_dir() == Path("data")
    monkeypatch.delenv("FER_DATA")
    assert config.data_dir(None) == Path("data")


def test_tilde_is_the_home_folder_where_there_is_one() -> None:
    assert config.data_dir("~/faces") == Path.home() / "faces"
    assert config.data_dir("~no-such-user-here/faces") == Path("~no-such-user-here/faces")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_CACHE", "/given")
    assert config.cache_dir() == Path("/given")
    monkeypatch.delenv("FER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    for platform, base in (
        ("linux", Path("/xdg")),
        ("win32", Path("/local")),
        ("darwin", Path.home() / "Library" / "Caches"),
    ):
        monkeypatch.setattr(config.sys, "platform", platform)
        assert config.cache_dir() == base / "fercore"
    monkeypatch.setattr(config.sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert config.cache_dir() == Path.home() / ".cache" / "fercore"


def test_artifacts_lie_beside_the_package_or_inside_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FER_ARTIFACTS", raising=False)
    package = tmp_path / "fercore"
    package.mkdir()
    monkeypatch.setattr(config, "__file__", str(package / "config.py"))
    assert config.artifacts_dir() == tmp_path / "artifacts"
    (package / "artifacts").mkdir()
    assert config.artifacts_dir() == package / "artifacts"
    monkeypatch.setenv("FER_ARTIFACTS", str(tmp_path / "elsewhere"))
    assert config.artifacts_dir() == tmp_path / "elsewhere"
