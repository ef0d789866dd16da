"""What several test modules need: the data folder where there is one, and a portrait that may be shipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real datasets that ``$FER_DATA`` names; the test is skipped where there is none."""
    given = os.environ.get("FER_DATA")
    if not given or not Path(given).is_dir():
        pytest.skip("needs the datasets: set FER_DATA to their folder")
    return Path(given)


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """The public-domain portrait of Eileen Collins (NASA): 512x512 RGB uint8, one smiling face."""
    from skimage import data

    return data.astronaut()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests out of the user's cache, unless ``$FER_CACHE`` says which cache they may share."""
    if "FER_CACHE" not in os.environ:
        monkeypatch.setenv("FER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
