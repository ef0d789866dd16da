"""The pictures of a training that a visitor asks for: a folder on the server or an uploaded zip, and what is in it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from .. import charts, config, datasets, zips
from ..errors import DataError
from . import url, widgets
from .text import plain

WAYS: dict[str, str] = {"folder": "A folder on the server", "zip": "Upload a zip"}
FEW = 50
"""Pictures of a class below which little can be learned."""
LOOKED_AT = 1000
"""Pictures of a folder whose headers are read, spread over all of them."""
SHOWN = 200
"""Problems that are listed."""

Counts = Mapping[str, Mapping[str, int]]


@dataclasses.dataclass(frozen=True)
class Preview:
    """What is known of pictures before the training."""

    dataset: str
    counts: Counts
    """Pictures per split and class."""
    problems: tuple[str, ...] = ()
    """What cannot be used, a line each."""
    refusals: tuple[str, ...] = ()
    """Why no training can begin with them."""

    @property
    def labels(self) -> list[str]:
        """The classes."""
        return list(next(iter(self.counts.values())))

    def of(self, label: str) -> int:
        """Return how many pictures a class has."""
        return sum(split[label] for split in self.counts.values())


@dataclasses.dataclass(frozen=True)
class Source:
    """Pictures that a training could begin with."""

    data: Path | bytes
    name: str
    """In words for every visitor, without a path."""
    previews: tuple[Preview, ...]

    @property
    def refusals(self) -> list[str]:
        """Why no training can begin with them."""
        return [line for preview in self.previews for line in preview.refusals]


def choose(*, anywhere: bool) -> Source | None:
    """Let the visitor choose pictures; None while there are none, or none that can be used.

    Args:
        anywhere: any folder of the server may be named, not only those in the data folder.
    """
    way = st.segmented_control(
        "Where they are", list(WAYS), format_func=WAYS.get, required=True, **url.choice("data", list(WAYS))
    )
    try:
        return _archive() if way == "zip" else _folder(anywhere)
    except DataError as error:
        st.error(plain(str(error)), icon=":material/error:")
    except OSError as error:
        st.error(f"The server cannot read it ({plain(error.strerror or str(error))}).", icon=":material/error:")
    return None


def show(source: Source) -> None:
    """Draw what the pictures are, and what is wrong with them."""
    for preview in source.previews:
        facts = {"labels": preview.labels, "counts": preview.counts}
        widgets.show(charts.class_counts(facts, preview.dataset), f"preview-{preview.dataset}")
        if few := [f"{label} ({preview.of(label)})" for label in preview.labels if 0 < preview.of(label) < FEW]:
            st.warning(
                f"Few pictures of {plain(', '.join(few))}: with less than about {FEW} a class, expect little.",
                icon=":material/warning:",
            )
        if preview.problems:
            count = len(preview.problems)
            with st.expander(f"{_pictures(count)} cannot be used and will be left out", icon=":material/rule:"):
                for line in preview.problems[:SHOWN]:
                    st.caption(plain(line))
                if count > SHOWN:
                    st.caption(f"… and {count - SHOWN:,} more.")
    for line in source.refusals:
        st.error(plain(line), icon=":material/error:")


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _folder(anywhere: bool) -> Source | None:
    root = config.data_dir()
    text = st.text_input(
        "Folder",
        placeholder="my-faces" if anywhere else "the name of a folder in the server's data folder",
        help="It holds a folder of pictures a class, such as `happy/` and `sad/`, with or without `train/`, `val/` and "
        "`test/` above them; or one of the datasets that the README names.",
        max_chars=500,
        key="training_folder",
    ).strip()
    if not text:
        return None
    place = within(text, root, anywhere=anywhere)
    names = datasets.find_datasets(place)
    if not names:
        raise DataError(f"{text}: no pictures to train on; a dataset needs {datasets.READERS['folder'].wanted}")
    if len(names) > 1:
        names = st.multiselect(
            "Datasets", names, default=names[:1], format_func=charts.dataset_title, key=f"training_sets_{place}"
        )
    if not names:
        return None
    return Source(place, place.name or str(place), tuple(_look(name, str(place)) for name in names))


def within(text: str, root: Path, *, anywhere: bool) -> Path:
    """Return the folder that a visitor named, taken from the data folder where it is not found otherwise.

    Raises:
        DataError: there is none, or the visitor may not name it.
    """
    given = config.expanded(text) if anywhere else Path(text)
    for place in (given, root / given) if anywhere else (root / given,):
        if not os.path.isdir(place):
            continue
        found = place.resolve()
        if anywhere or found.is_relative_to(root.resolve()):
            return found
    where = "no such folder on the server" if anywhere else "no such folder in the server's data folder"
    raise DataError(f"{text}: {where}; check its name")


@st.cache_data(max_entries=8, ttl=60, show_spinner="Looking at the pictures …")
def _look(name: str, folder: str) -> Preview:
    dataset = datasets.load(name, folder, strict=False)
    problems = [*dataset.problems, *datasets.damaged(dataset, most=LOOKED_AT)]
    lines = tuple(str(problem).removeprefix(f"{dataset.root}{os.sep}") for problem in problems)
    counts = dataset.counts()
    return Preview(name, counts, lines, tuple(refusals(charts.dataset_title(name), counts)))


def _archive() -> Source | None:
    most = min(st.get_option("server.maxUploadSize"), zips.LIMITS.archive >> 20)
    upload = st.file_uploader(
        "Zip of class-named folders",
        ["zip"],
        max_upload_size=most,
        help="Such as `happy/1.jpg` and `sad/2.jpg`, with or without `train/`, `val/` and `test/` above them.",
        key="training_zip",
    )
    st.caption(
        "The archive stays in memory until the training begins. It is then unpacked into a private folder of this server, "
        "which is deleted, with all that was made of the pictures, when the training ends."
    )
    if upload is None:
        return None
    data = upload.getvalue()
    return Source(data, upload.name, (_look_inside(upload.file_id, _data=data),))


@st.cache_data(scope="session", max_entries=2, show_spinner="Looking into the archive …")
def _look_inside(upload: str, *, _data: bytes) -> Preview:
    contents = zips.inspect(_data)
    counts = {{"unsplit": "all"}.get(name, name): split for name, split in contents.counts().items()}
    problems = tuple(str(problem) for problem in contents.left_out)
    return Preview("folder", counts, problems, tuple(refusals("The archive", counts)))


def refusals(what: str, counts: Counts) -> list[str]:
    """Return why no training can begin with so many pictures per split and class, a line each."""
    labels = list(next(iter(counts.values())))
    empty = [label for label in labels if not sum(split[label] for split in counts.values())]
    lines = [f"{what}: no picture of class {', '.join(empty)}; add some, or delete the class's folder"] if empty else []
    learned = counts.get("train") or next(iter(counts.values()))
    lacking = [label for label in labels if label not in empty and not learned[label]]
    if lacking:
        lines.append(
            f"{what}: no picture of class {', '.join(lacking)} in its train split; add some, or leave the class out"
        )
    if "train" not in counts and not {"all", "unsplit"} & set(counts):
        lines.append(f"{what}: has no train split; add one, or take the folders {', '.join(counts)} away")
    if sum(sum(split.values()) for split in counts.values()) < 3 * len(labels):
        lines.append(f"{what}: fewer than three pictures a class; one each is needed to learn, to choose and to test")
    return lines
