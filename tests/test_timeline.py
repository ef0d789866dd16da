"""The table of a video, and the video with the table drawn in."""

from __future__ import annotations

import builtins
import dataclasses
import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fercore.errors import DataError, FerError
from fercore.faces import BlazeFace
from fercore.inference import Face
from fercore.labels import COLOURS, LABELS
from fercore.timeline import FORMATS, render, save, timeline
from fercore.video import Video, VideoError
from scripted import BLANK, BOX, ScriptedPredictor, towards, write_clip

OTHER = (230.0, 90.0, 50.0, 55.0)


def still(*faces: tuple[tuple[float, ...], np.ndarray], count: int = 60) -> ScriptedPredictor:
    return ScriptedPredictor([list(faces)] * count)


def test_a_row_for_each_frame_and_face() -> None:
    table = timeline(still((BOX, towards("happy", 0.8)), (OTHER, towards("sad", 0.7))), [BLANK] * 30, rate=20)
    probabilities = [f"{kind}_{label}" for kind in ("p", "smooth") for label in LABELS]
    assert list(table.columns) == [
        *("time", "face", "left", "top", "width", "height", "score", "label", "confidence", "uncertain"),
        *probabilities,
    ]
    assert table["time"].tolist() == pytest.approx(np.repeat(np.arange(30) / 20, 2))
    assert table["face"].tolist() == [1, 2] * 30
    assert table.loc[table["face"] == 2, ["left", "top", "width", "height"]].drop_duplicates().to_numpy().tolist() == [
        [*OTHER]
    ]
    last = table.iloc[-2]
    assert (last["label"], last["score"], last["uncertain"]) == ("happy", 0.9, False)
    assert last[["p_happy", "smooth_happy", "confidence"]].tolist() == pytest.approx([0.8] * 3)
    assert table[[name for name in probabilities if name.startswith("p_")]].sum(axis=1).to_numpy() == pytest.approx(1)


def test_the_label_is_what_a_live_stream_shows() -> None:
    script = [[(BOX, towards("happy" if frame < 40 else "fear"))] for frame in range(100)]
    table = timeline(ScriptedPredictor(script), [BLANK] * 100, rate=20)
    assert table.loc[table["time"] < 0.45, "label"].isna().all()
    assert (table.loc[table["time"] < 0.45, "confidence"] == 0).all()
    turns = table.loc[table["label"].ne(table["label"].shift()) & table["label"].notna()]
    assert turns["label"].tolist() == ["happy", "fear"]
    assert turns["time"].tolist() == pytest.approx([0.5, 2 + 0.92], abs=0.06)
    eager = timeline(ScriptedPredictor(script), [BLANK] * 100, rate=20, hold=0.1, time_constant=0.1)
    assert eager.loc[eager["label"] == "fear", "time"].min() == pytest.approx(2.2, abs=0.1)


def test_passing_detections_are_left_out_and_numbers_have_no_gaps() -> None:
    """At the place of the second face the detector errs twice before it comes, too far apart to count."""
    script = [[(BOX, towards("happy"))] for _ in range(40)]
    for frame in (2, 8, *range(15, 30)):
        script[frame] = [(OTHER, towards("sad")), *script[frame]]
    table = timeline(ScriptedPredictor(script), [BLANK] * 40, rate=20)
    seen = table.groupby("face")["time"].agg(["count", "min"])
    assert seen.index.tolist() == [1, 2]
    assert seen.to_numpy() == pytest.approx(np.array([[40, 0], [15, 0.75]]))
    assert timeline(ScriptedPredictor(script), [BLANK] * 40, rate=20, shortest=1.5)["face"].unique().tolist() == [1]
    everything = timeline(ScriptedPredictor(script), [BLANK] * 40, rate=20, shortest=0)
    assert len(everything) == 57


def test_frames_without_the_face_have_no_row() -> None:
    script = [[(BOX, towards("happy"))] if frame not in (8, 9) else [] for frame in range(20)]
    table = timeline(ScriptedPredictor(script), [BLANK] * 20, rate=20)
    assert table["time"].tolist() == pytest.approx([frame / 20 for frame in range(20) if frame not in (8, 9)])
    assert set(table["face"]) == {1}


def test_a_video_without_faces_gives_an_empty_table_with_all_columns() -> None:
    table = timeline(ScriptedPredictor([[]] * 9), [BLANK] * 9)
    assert table.shape == (0, 24)
    assert table["face"].dtype == np.int64


def test_a_file_is_sampled_and_progress_is_told(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [BLANK] * 30, fps=15)
    lengths = []

    def progress(frames: Iterable) -> Iterable:
        lengths.append(len(frames))
        return frames

    table = timeline(still((BOX, towards("happy"))), clip, fps=5, progress=progress)
    assert table["time"].tolist() == pytest.approx(np.arange(10) / 5)
    assert lengths == [10]


def test_one_frame_a_second_is_enough_for_a_face() -> None:
    table = timeline(still((BOX, towards("happy"))), [BLANK] * 5, rate=1)
    assert table["label"].isna().tolist() == [True, False, False, False, False]


def test_a_missing_video_and_missing_pandas_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VideoError, match=r"^none.mp4: no such file; check the path$"):
        timeline(ScriptedPredictor([]), "none.mp4")
    found = builtins.__import__

    def without_pandas(name: str, *rest: object) -> object:
        if name == "pandas":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(FerError, match=r"^a timeline needs pandas, which is missing; install fercore with its extra"):
        timeline(ScriptedPredictor([]), [])


def test_a_saved_timeline_reads_back(tmp_path: Path) -> None:
    table = timeline(still((BOX, towards("happy")), (OTHER, towards("sad"))), [BLANK] * 20, rate=20)
    for suffix in FORMATS:
        save(table, tmp_path / f"t{suffix}")
    back = {
        ".csv": pd.read_csv(tmp_path / "t.csv"),
        ".parquet": pd.read_parquet(tmp_path / "t.parquet"),
        ".jsonl": pd.DataFrame([json.loads(line) for line in (tmp_path / "t.jsonl").read_text("utf-8").splitlines()]),
    }
    for read in back.values():
        assert list(read.columns) == list(table.columns)
        assert read["label"].isna().tolist() == [True] * 20 + [False] * 20
        assert read["label"].dropna().tolist() == table["label"].dropna().tolist()
        numbers = table.select_dtypes("number")
        assert read[numbers.columns].to_numpy(float) == pytest.approx(numbers.to_numpy(float), rel=1e-5, abs=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.jsonl", "t.parquet"]


def test_a_timeline_that_cannot_be_saved_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = timeline(ScriptedPredictor([]), [])

    def missing(*_: object, **__: object) -> None:
        raise ImportError

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    for name, told in (
        ("t.txt", f"{tmp_path}/t.txt: cannot write .txt; use .csv, .parquet, .jsonl"),
        ("no/t.csv", f"{tmp_path}/no/t.csv: there is no folder {tmp_path}/no; make it first"),
        (
            "t.parquet",
            f"{tmp_path}/t.parquet: Parquet needs pyarrow, which is missing; use .csv, or install fercore[app]",
        ),
    ):
        with pytest.raises(FerError) as caught:
            save(table, tmp_path / name)
        assert str(caught.value) == told
    assert list(tmp_path.iterdir()) == []


class Detected:
    """Finds faces with the detector that is shipped, and calls all of them happy."""

    def __init__(self) -> None:
        scripted = ScriptedPredictor([])
        self.labels, self.head = scripted.labels, scripted.head
        self.detector = BlazeFace(tiles=False)

    def predict(self, image: np.ndarray, *, turn: bool = True) -> list[Face]:
        boxes = self.detector.detect(image).boxes.tolist()
        return [dataclasses.replace(face, box=tuple(face.box)) for face in self._faces(boxes)]

    def _faces(self, boxes: list[list[float]]) -> list[Face]:
        return ScriptedPredictor([[(tuple(box), towards("happy")) for box in boxes]]).predict(BLANK)


def test_a_portrait_that_moves_through_a_video_is_one_face(portrait: np.ndarray, tmp_path: Path) -> None:
    """It slides by 200 pixels in 2 seconds; the eyes are known to be at 224, 118 of 512."""
    import cv2

    small = cv2.resize(portrait, (240, 240), interpolation=cv2.INTER_AREA)
    frames = []
    for number in range(30):
        frame = np.full((240, 480, 3), 90, np.uint8)
        frame[:, (x := round(200 * number / 29)) : x + 240] = small
        frames.append(frame)
    table = timeline(Detected(), write_clip(tmp_path / "clip.mp4", frames, fps=15, codec="mp4v"))
    assert set(table["face"]) == {1}
    assert len(table) >= 28
    centres = table["left"] + table["width"] / 2
    assert centres.to_numpy() == pytest.approx(224 / 512 * 240 + 100 * table["time"].to_numpy(), abs=12)
    assert table["label"].iloc[-1] == "happy"


def tracks(*rows: tuple[float, int, float, str | None]) -> pd.DataFrame:
    """Return a table of (time, face, left, label); all boxes are 40 x 50 at top 60."""
    base = timeline(still((BOX, towards("happy"))), [BLANK] * 30).iloc[[-1]]
    parts = [
        base.assign(time=time, face=face, left=left, top=60.0, width=40.0, height=50.0, label=label)
        for time, face, left, label in rows
    ]
    return pd.concat(parts, ignore_index=True)


def box_left(frame: np.ndarray, label: str = "happy") -> int | None:
    """Return where a box of a class's colour starts, seen at half its height."""
    colour = np.array(tuple(bytes.fromhex(COLOURS[label][1:])))
    near = np.flatnonzero((np.abs(frame[100:104].astype(int) - colour).max(axis=2) < 60).all(axis=0))
    return int(near[0]) if len(near) else None


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of grey, 10 frames a second."""
    return write_clip(tmp_path / "clip.avi", [np.full((240, 320, 3), 100, np.uint8)] * 20, fps=10)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
def test_render_draws_each_face_at_its_time(clip: Path, tmp_path: Path, suffix: str) -> None:
    """A face at rest from 0.5 to 1 s, in a table of every frame."""
    table = tracks(*((time / 10, 1, 200.0, "happy") for time in range(5, 11)))
    render(clip, table, tmp_path / f"out{suffix}")
    film = Video(tmp_path / f"out{suffix}")
    assert (film.width, film.height, film.rate, len(film)) == (320, 240, 10.0, 20)
    seen = [box_left(frame) is not None for _, frame in film]
    assert seen == [5 <= number <= 10 for number in range(20)]


def test_boxes_move_evenly_between_the_rows_of_a_sparse_table(clip: Path, tmp_path: Path) -> None:
    table = tracks((0.0, 1, 100.0, "happy"), (0.5, 1, 150.0, "happy"), (1.0, 1, 200.0, "happy"))
    render(clip, table, tmp_path / "out.avi")
    lefts = [box_left(frame) for _, frame in Video(tmp_path / "out.avi")]
    assert lefts[:11] == pytest.approx(np.arange(100, 201, 10), abs=4)
    assert lefts[16:] == [None] * 4


def test_a_face_is_not_drawn_while_it_is_away(clip: Path, tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 1.7, 1.8]
    render(clip, tracks(*((time, 1, 200.0, "happy") for time in times)), tmp_path / "out.avi")
    seen = [box_left(frame) is not None for _, frame in Video(tmp_path / "out.avi")]
    assert seen == [True] * 3 + [False] * 14 + [True] * 2 + [False]


def test_render_takes_a_table_read_back_from_a_file(clip: Path, tmp_path: Path) -> None:
    table = tracks((0.0, 1, 200.0, None), (0.1, 1, 200.0, "happy"), (0.2, 1, 200.0, "happy"))
    render(clip, table, tmp_path / "a.avi")
    render(clip, pd.read_csv(io.StringIO(table.to_csv(index=False))), tmp_path / "b.avi")
    pairs = zip(Video(tmp_path / "a.avi"), Video(tmp_path / "b.avi"), strict=True)
    assert all((one == other).all() for (_, one), (_, other) in pairs)
    first = next(iter(Video(tmp_path / "a.avi")))[1]
    assert box_left(first) is None, "no class's colour before there is a label"
    assert tuple(first[102, 200]) == pytest.approx((0x55, 0x55, 0x55), abs=30)


def test_render_of_an_empty_table_copies_the_video(clip: Path, tmp_path: Path) -> None:
    render(clip, timeline(ScriptedPredictor([[]]), [BLANK]), tmp_path / "out.avi")
    frames = [frame for _, frame in Video(tmp_path / "out.avi")]
    assert len(frames) == 20
    assert np.abs(np.stack(frames).astype(int) - 100).max() < 5


def test_what_render_refuses(clip: Path, tmp_path: Path) -> None:
    table = tracks((0.0, 1, 200.0, "happy"))
    with pytest.raises(FerError, match=r"clip.avi: this is the video itself; name another file to write to$"):
        render(clip, table, clip)
    with pytest.raises(DataError, match=r"^timeline: no column score; make it with 'timeline'$"):
        render(clip, table.drop(columns="score"), tmp_path / "out.avi")
    with pytest.raises(DataError, match=r"^timeline: no column smooth_<label>; make it with 'timeline'$"):
        render(clip, table[[name for name in table if not name.startswith("smooth_")]], tmp_path / "out.avi")
    with pytest.raises(VideoError, match=r"out.png: cannot write .png; use .mp4"):
        render(clip, table, tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.avi"]
