"""Where things live on this machine, and the base of every frozen configuration.

A configuration is a frozen dataclass whose fields are JSON values: it travels inside a run as ``run.json`` and comes
back with ``from_dict``, which refuses a key that it does not know, so that an old or misspelt option never passes
silently.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from pathlib import Path
from typing import Any, Self

from .errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of frozen configurations: JSON in and out, unknown keys refused by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values (tuples become lists)."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from JSON values.

        Raises:
            ConfigError: not an object, a key that is not a field (with the nearest known name), or a field left out
                that has no default.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{cls.__name__}: expected an object of names and values, got {type(values).__name__}")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in values:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}"
                raise ConfigError(f"{cls.__name__}: unknown option {key!r}; {hint}")
        for name, field in fields.items():
            if name not in values and field.default is field.default_factory is dataclasses.MISSING:
                raise ConfigError(f"{cls.__name__}: option {name!r} is missing")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; unknown names are refused as in ``from_dict``."""
        return type(self).from_dict({**self.to_dict(), **changes})


def data_dir(option: str | os.PathLike[str] | None = None) -> Path:
    """Return the data folder: the option, else ``$FER_DATA``, else ``./data``. It need not exist."""
    return expanded(option or os.environ.get("FER_DATA") or "data")


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` replaced by the home folder; where there is no such home, as it is."""
    return Path(os.path.expanduser(path))


def cache_dir() -> Path:
    """Return the folder for what can be made again: ``$FER_CACHE``, else ``fercore`` in the user's cache folder."""
    if given := os.environ.get("FER_CACHE"):
        return expanded(given)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fercore"


def artifacts_dir() -> Path:
    """Return the folder of runs and of the detector: ``$FER_ARTIFACTS``, else the repository's or the package's own.

    In a checkout ``artifacts/`` stands beside ``fercore/``; an installed wheel carries it inside the package.
    """
    if given := os.environ.get("FER_ARTIFACTS"):
        return expanded(given)
    package = Path(__file__).resolve().parent
    inside = package / "artifacts"
    return inside if inside.is_dir() else package.parent / "artifacts"
