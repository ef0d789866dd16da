"""The stream on scripted probabilities: how late a change is told, what is not told, and in which order events come."""

from __future__ import annotations

import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fercore.errors import ConfigError, FerError, ImageError
from fercore.inference import Predictor
from fercore.labels import LABELS
from fercore.stream import ExpressionStream, TrackedFace
from fercore.tracking import Tracker
from fercore.video import VideoError
from scripted import BLANK, BOX, ScriptedPredictor, towards, write_clip

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "emotion_aware.py"
"""The application that the README shows."""
RATES = (8, 15, 30, 60)

Event = tuple[float, str, int, str | None, str | None]


class Recorder:
    """Notes every event: (time, kind, face, old, new)."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.faces: list[TrackedFace] = []

    def options(self) -> dict:
        return {"on_appear": self.appear, "on_change": self.change, "on_leave": self.leave}

    def appear(self, face: TrackedFace) -> None:
        self._note(face, "appear", None, None)

    def change(self, face: TrackedFace, old: str | None, new: str) -> None:
        self._note(face, "change", old, new)

    def leave(self, face: TrackedFace) -> None:
        self._note(face, "leave", None, None)

    def changes(self) -> list[tuple[float, str | None, str | None]]:
        return [(time, old, new) for time, kind, _, old, new in self.events if kind == "change"]

    def _note(self, face: TrackedFace, kind: str, old: str | None, new: str | None) -> None:
        self.events.append((face.time, kind, face.id, old, new))
        self.faces.append(face)


def follow(rows: list[np.ndarray], fps: float, **options: float) -> tuple[Recorder, list[TrackedFace]]:
    """Show one still face with these probabilities; return the events and the face at every frame from its birth."""
    recorder = Recorder()
    stream = ExpressionStream(ScriptedPredictor([[(BOX, row)] for row in rows]), **options, **recorder.options())
    states = [stream.update(BLANK, frame / fps) for frame in range(len(rows))]
    return recorder, [face for faces in states for face in faces]


def noisy(label: str, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return softmax rows that favour a label, under noise that changes the likeliest label every few frames."""
    logits = rng.normal(0, 1, (count, len(LABELS)))
    logits[:, LABELS.index(label)] += 1.8
    powers = np.exp(logits)
    return list(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("fps", RATES)
def test_a_clear_change_is_told_once_and_at_the_stated_time(fps: int) -> None:
    """The labels swap 0.76 and 0.04, so that each leads the other by 0.72 while it lasts."""
    rows = [towards("neutral")] * (3 * fps) + [towards("happy")] * (3 * fps)
    recorder, _ = follow(rows, fps)
    stated = 0.5 * math.log((0.72 + 0.72) / (0.72 - 0.1)) + 0.5
    (first, old, label), (second, *names) = recorder.changes()
    assert (old, label, names) == (None, "neutral", ["neutral", "happy"])
    assert 0.5 - 1e-9 <= first <= 0.5 + 1 / fps
    assert stated - 1 / fps - 1e-9 <= second - 3.0 <= stated + 1 / fps + 1e-9


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize(
    "options", [{}, {"time_constant": 0.4, "hold": 1.0}, {"time_constant": 1.0, "hold": 0.2, "margin": 0.3}]
)
def test_a_change_in_noise_is_told_once_and_in_time(fps: int, options: dict[str, float]) -> None:
    rng = np.random.default_rng(fps)
    rows = noisy("sad", 6 * fps, rng) + noisy("surprise", 6 * fps, rng)
    flicker = np.count_nonzero(np.diff([row.argmax() for row in rows]))
    assert flicker > 2 * fps, "the script is too calm to test anything"
    recorder, _ = follow(rows, fps, **options)
    before, after = (np.mean(part, axis=0) for part in (rows[: 6 * fps], rows[6 * fps :]))
    sad, surprise = LABELS.index("sad"), LABELS.index("surprise")
    lead_before, lead_after = before[sad] - before[surprise], after[surprise] - after[sad]
    constant, hold, margin = (
        options.get(name, default) for name, default in (("time_constant", 0.5), ("hold", 0.5), ("margin", 0.1))
    )
    stated = constant * math.log((lead_before + lead_after) / (lead_after - margin)) + hold
    assert [(old, new) for _, old, new in recorder.changes()] == [(None, "sad"), ("sad", "surprise")]
    delay = recorder.changes()[1][0] - 6.0
    assert hold <= delay <= stated + 0.6, "noise may add a little"


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("rest", [0.76, 0.2])
def test_a_disturbance_shorter_than_hold_is_not_told(fps: int, rest: float) -> None:
    """However strong: here certainty, over a face that is clearly or only just neutral."""
    disturbed = math.ceil(0.5 * fps) - 1
    rows = (
        [towards("neutral", rest)] * (2 * fps)
        + [towards("happy", 1.0)] * disturbed
        + [towards("neutral", rest)] * (4 * fps)
    )
    recorder, _ = follow(rows, fps, threshold=0.0)
    assert [new for _, _, new in recorder.changes()] == ["neutral"]


def test_single_frames_of_flicker_are_not_told() -> None:
    rows = [towards("fear" if frame % 4 == 3 else "neutral", 0.9) for frame in range(300)]
    recorder, faces = follow(rows, 30)
    assert [new for _, _, new in recorder.changes()] == ["neutral"]
    assert max(face.probabilities["fear"] for face in faces) > 0.2, "the flicker does reach the average"


def test_two_labels_that_alternate_above_the_shown_one_do_not_add_up_their_time() -> None:
    """Each leads for 0.3 s at a time."""
    start = [towards("neutral", 1.0)] * 60
    swings = [towards("sad" if (frame // 9) % 2 else "angry", 1.0) for frame in range(120)]
    recorder, _ = follow(start + swings, 30, time_constant=0.0)
    assert [new for _, _, new in recorder.changes()] == ["neutral"]


def test_a_lead_that_comes_and_goes_does_not_add_up_its_time() -> None:
    rows = [towards("neutral", 1.0)] * 60 + [
        towards("sad" if (frame // 9) % 2 else "neutral", 1.0) for frame in range(120)
    ]
    recorder, _ = follow(rows, 30, time_constant=0.0)
    assert [new for _, _, new in recorder.changes()] == ["neutral"]


def test_a_lead_below_the_margin_is_not_told() -> None:
    near = np.full(len(LABELS), 0.1)
    near[[LABELS.index("sad"), LABELS.index("neutral")]] = 0.29, 0.21
    rows = [towards("neutral")] * 60 + [near] * 300
    assert len(follow(rows, 30, margin=0.1, threshold=0.0)[0].changes()) == 1
    assert len(follow(rows, 30, margin=0.05, threshold=0.0)[0].changes()) == 2


def test_below_the_threshold_a_face_keeps_its_label() -> None:
    rows = [towards("happy", 0.8)] * 60 + [towards("sad", 0.4)] * 200
    recorder, faces = follow(rows, 30, threshold=0.5)
    assert [new for _, _, new in recorder.changes()] == ["happy"]
    assert (faces[-1].label, faces[-1].uncertain, faces[40].uncertain) == ("happy", True, False)
    assert faces[-1].confidence == pytest.approx(0.1, abs=0.01)


def test_a_face_that_was_never_certain_has_no_label() -> None:
    recorder, faces = follow([towards("happy", 0.4)] * 90, 30, threshold=0.5)
    assert recorder.changes() == []
    assert {(face.label, face.confidence, face.uncertain) for face in faces} == {(None, 0.0, True)}


def test_the_threshold_is_the_runs_unless_given() -> None:
    rows = [towards("happy", 0.4)] * 60
    for own, given, told in ((0.5, None, 0), (0.3, None, 1), (0.5, 0.0, 1), (0.3, 0.6, 0)):
        recorder = Recorder()
        predictor = ScriptedPredictor([[(BOX, row)] for row in rows], threshold=own)
        stream = ExpressionStream(predictor, threshold=given, **recorder.options())
        for frame in range(60):
            stream.update(BLANK, frame / 30)
        assert len(recorder.changes()) == told


def test_probabilities_are_the_weighted_mean_of_the_frames_so_far() -> None:
    rng = np.random.default_rng(1)
    rows, times = rng.dirichlet(np.ones(len(LABELS)), 12), np.cumsum(rng.uniform(0, 0.3, 12))
    stream = ExpressionStream(
        ScriptedPredictor([[(BOX, row)] for row in rows]), time_constant=0.4, tracker=Tracker(birth=0)
    )
    for count, time in enumerate(times, start=1):
        (face,) = stream.update(BLANK, time)
        weights = np.exp((times[:count] - time) / 0.4)
        expected = weights @ rows[:count] / weights.sum()
        assert list(face.probabilities.values()) == pytest.approx(expected)
        assert list(face.raw.probabilities.values()) == pytest.approx(rows[count - 1])


def test_without_a_time_constant_every_frame_counts_alone() -> None:
    _, faces = follow([towards("happy"), towards("sad"), towards("fear")] * 4, 10, time_constant=0.0)
    assert faces[-1].probabilities == pytest.approx(dict(zip(LABELS, towards("fear"), strict=True)))


def test_each_face_keeps_its_own_state() -> None:
    other = (230.0, 90.0, 50.0, 55.0)
    script = [[(BOX, towards("happy")), (other, towards("sad"))] for _ in range(40)]
    script += [[(other, towards("sad")), (BOX, towards("angry"))] for _ in range(80)]
    recorder = Recorder()
    stream = ExpressionStream(ScriptedPredictor(script), **recorder.options())
    faces = [stream.update(BLANK, frame / 30) for frame in range(120)][-1]
    assert [(face.id, face.label, face.box) for face in faces] == [(1, "angry", BOX), (2, "sad", other)]
    assert [event[2:] for event in recorder.events if event[1] == "change"] == [
        (1, None, "happy"),
        (2, None, "sad"),
        (1, "happy", "angry"),
    ]


def test_events_of_a_face_from_its_arrival_to_its_departure() -> None:
    script = [[(BOX, towards("happy"))]] * 30 + [[]] * 5 + [[(BOX, towards("happy"))]] * 10 + [[]] * 40
    recorder = Recorder()
    stream = ExpressionStream(ScriptedPredictor(script), tracker=Tracker(patience=0.95), **recorder.options())
    states = [stream.update(BLANK, frame / 30) for frame in range(len(script))]
    assert [(kind, round(time, 3)) for time, kind, *_ in recorder.events] == [
        ("appear", 0.2),
        ("change", 0.5),
        ("leave", 2.433),
    ]
    appeared, changed, left = recorder.faces
    assert (appeared.label, appeared.since, appeared.appeared, appeared.seen) == (None, 0.0, 0.0, True)
    assert (changed.label, changed.since) == ("happy", 0.5)
    assert (left.label, left.since, left.box, left.seen) == ("happy", 0.5, BOX, False)
    assert [len(faces) for faces in states] == [0] * 6 + [1] * 67 + [0] * 12
    assert [faces[0].seen for faces in states[6:73]] == [True] * 24 + [False] * 5 + [True] * 10 + [False] * 28


def test_what_is_not_yet_a_face_is_followed_and_not_told() -> None:
    recorder = Recorder()
    stream = ExpressionStream(ScriptedPredictor([[(BOX, towards("happy"))]] * 9), **recorder.options())
    counts = [(len(stream.update(BLANK, frame / 10)), len(stream.followed())) for frame in range(4)]
    assert counts == [(0, 1), (0, 1), (1, 1), (1, 1)]
    assert [event[:2] for event in recorder.events] == [(0.2, "appear")]


def test_a_label_that_came_before_the_birth_is_told_after_the_arrival() -> None:
    recorder = Recorder()
    predictor = ScriptedPredictor([[(BOX, towards("happy"))]] * 30)
    stream = ExpressionStream(predictor, hold=0.1, tracker=Tracker(birth=0.5), **recorder.options())
    for frame in range(30):
        stream.update(BLANK, frame / 30)
    assert [event[:2] for event in recorder.events] == [(0.5, "appear"), (0.5, "change")]


def test_run_yields_every_frame_and_ends_with_departures() -> None:
    recorder = Recorder()
    predictor = ScriptedPredictor([[(BOX, towards("happy"))]] * 20)
    frames = [np.full((4, 4, 3), number, np.uint8) for number in range(20)]
    stream = ExpressionStream(predictor, **recorder.options())
    moments = list(stream.run(frames, rate=10))
    assert [moment.time for moment in moments] == pytest.approx([number / 10 for number in range(20)])
    assert all(
        moment.frame is frame is seen for moment, frame, seen in zip(moments, frames, predictor.seen, strict=True)
    )
    assert [event[:2] for event in recorder.events] == [(0.2, "appear"), (0.5, "change"), (1.9, "leave")]
    assert moments[-1].faces[0].label == "happy"


def test_run_looks_at_fewer_frames_where_asked() -> None:
    predictor = ScriptedPredictor([[]] * 100)
    times = [moment.time for moment in ExpressionStream(predictor).run([BLANK] * 60, rate=30, fps=6)]
    assert times == pytest.approx(np.arange(12) / 6)


def test_after_finish_time_starts_anew_and_numbers_go_on() -> None:
    recorder = Recorder()
    stream = ExpressionStream(ScriptedPredictor([[(BOX, towards("happy"))]] * 100), **recorder.options())
    for _ in range(2):
        for frame in range(30):
            stream.update(BLANK, frame / 30)
        stream.finish()
    assert [(kind, number) for _, kind, number, *_ in recorder.events] == [
        (kind, number) for number in (1, 2) for kind in ("appear", "change", "leave")
    ]


@pytest.mark.parametrize("time", [0.9, float("nan"), float("inf")])
def test_time_must_go_on(time: float) -> None:
    stream = ExpressionStream(ScriptedPredictor([[]] * 9))
    stream.update(BLANK, 1.0)
    with pytest.raises(FerError, match=f"^time: {time} s after 1.0 s; give the frames in order, or call finish"):
        stream.update(BLANK, time)
    assert stream.update(BLANK, 1.0) == []


def test_without_a_time_the_clock_is_read() -> None:
    stream = ExpressionStream(ScriptedPredictor([[(BOX, towards("happy"))]] * 3), tracker=Tracker(birth=0))
    first, second = (stream.update(BLANK)[0].time for _ in range(2))
    assert 0 <= second - first < 5


def test_an_event_that_fails_leaves_the_stream_in_order() -> None:
    calls = []

    def appear(face: TrackedFace) -> None:
        calls.append(face.id)
        raise RuntimeError("the application's own")

    stream = ExpressionStream(
        ScriptedPredictor([[(BOX, towards("happy"))]] * 9), tracker=Tracker(birth=0), on_appear=appear
    )
    with pytest.raises(RuntimeError):
        stream.update(BLANK, 0.0)
    assert [face.id for face in stream.update(BLANK, 0.1)] == calls == [1]


def test_a_frame_that_cannot_be_read_changes_nothing() -> None:
    class Picky(ScriptedPredictor):
        def predict(self, image: np.ndarray, *, turn: bool = True) -> list:
            if image is None:
                raise ImageError("array: no picture")
            return super().predict(image)

    stream = ExpressionStream(Picky([[(BOX, towards("happy"))]] * 9), tracker=Tracker(birth=0))
    stream.update(BLANK, 0.0)
    with pytest.raises(ImageError):
        stream.update(None, 0.5)
    (face,) = stream.update(BLANK, 0.2)
    assert (face.id, face.seen) == (1, True)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("time_constant", -1.0, "time_constant: expected seconds, 0 or more, got -1.0"),
        ("hold", float("nan"), "hold: expected seconds, 0 or more, got nan"),
        ("margin", 1.5, "margin: expected a probability from 0 to 1, got 1.5"),
        ("threshold", -0.1, "threshold: expected a probability from 0 to 1, got -0.1"),
    ],
)
def test_impossible_options_are_refused(option: str, value: float, told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{told}$"):
        ExpressionStream(ScriptedPredictor([]), **{option: value})


def test_the_example_is_short() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert sum(1 for line in lines if line.strip()) <= 15


def test_the_example_runs_on_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_clip(tmp_path / "clip.avi", [BLANK] * 24, fps=25)
    predictor = ScriptedPredictor([[(BOX, towards("happy"))]] * 24)
    monkeypatch.setattr(Predictor, "load", lambda *args, **options: predictor)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(video)])
    runpy.run_module("examples.emotion_aware", run_name="__main__")
    assert capsys.readouterr().out.strip() == "0.5 s  face 1: None -> happy  Good to see you smile!"
    assert len(predictor.seen) == 24


def test_the_example_says_in_one_line_that_a_video_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Predictor, "load", lambda *args, **options: ScriptedPredictor([]))
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "nowhere.mp4"])
    with pytest.raises(VideoError, match=r"^nowhere.mp4: no such file; check the path$"):
        runpy.run_module("examples.emotion_aware", run_name="__main__")
