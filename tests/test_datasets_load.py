"""Loading by name: what is there is named, what is not is told in one line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fercore import datasets
from fercore.errors import ConfigError, DataError
from test_datasets_expw import SEVEN, make_expw
from test_datasets_folders import make_ckplus, make_jaffe


@pytest.fixture
def data(tmp_path) -> Path:
    """A data folder with three datasets."""
    make_expw(tmp_path / "expw", SEVEN)
    make_ckplus(tmp_path / "ckplus" / "CK+48")
    make_jaffe(tmp_path / "jaffe")
    return tmp_path


def test_names_what_is_there(data, tmp_path):
    assert datasets.find_datasets(data) == ["expw", "ckplus", "jaffe"]
    assert datasets.find_datasets(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", ["expw", "ckplus", "jaffe"])
def test_every_dataset_has_the_same_table_and_says_where_it_is_from(data, name):
    faces = datasets.load(name, data)
    assert tuple(faces.table.columns) == datasets.COLUMNS
    assert faces.name == name
    assert set(faces.table["split"]) <= set(datasets.SPLITS)
    assert "research" in faces.licence
    assert re.search(r"(19|20)\d\d", faces.source)
    assert datasets.load(name, data).digest() == faces.digest()
    locators = faces.locators()
    assert len(set(locators)) == len(locators)


def test_the_data_folder_comes_from_the_environment(data, monkeypatch):
    monkeypatch.setenv("FER_DATA", str(data))
    assert len(datasets.load("expw")) == 7


def test_another_seed_gives_other_splits(data):
    first, second = (datasets.load("ckplus", data, seed=seed).table["split"] for seed in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("expv", "", "unknown dataset 'expv'; did you mean 'expw'? (expw, fer2013, ferplus, ckplus, jaffe, folder)"),
        ("FER2013", "", "unknown dataset 'FER2013'; did you mean 'fer2013'?"),
        ("imagenet", "", "unknown dataset 'imagenet'; known: (expw, "),
        ("expw", "gone", "gone: no such folder; give the data folder with --data or FER_DATA"),
        ("fer2013", "", "no dataset 'fer2013' here; it needs fer2013.csv (also .gz, .xz, .zip)"),
        ("fer2013", "", "; found there: expw, ckplus, jaffe"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(data, name, where, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        datasets.load(name, data / where)
    assert "\n" not in str(caught.value)


def test_labelled_boxes_have_their_own_framing(data):
    with pytest.raises(ConfigError, match="framing 'crop' does not fit dataset 'expw'"):
        datasets.load("expw", data, framing="crop")


def test_an_unwritable_cache_does_no_harm(data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "file"))
    assert len(datasets.load("expw", data)) == 7


def test_the_readers_import_no_framework():
    code = "import sys, fercore.datasets; print([m for m in ('tensorflow', 'keras', 'sklearn', 'torch') if m in sys.modules])"
    root = Path(__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.strip() == "[]"
