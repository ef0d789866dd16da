"""Tracks: who is who from frame to frame, whatever the frame rate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fercore.errors import ConfigError
from fercore.tracking import Tracker, assign

SIZE = 60.0


def box(x: float, y: float = 100.0, size: float = SIZE) -> tuple[float, float, float, float]:
    """Return a square box around a centre."""
    return (x - size / 2, y - size / 2, size, size)


def ids(tracker: Tracker, boxes: list, time: float) -> list[int]:
    return [track.id for track in tracker.update(boxes, time)[0]]


def test_a_face_keeps_its_number_and_another_gets_the_next() -> None:
    tracker = Tracker()
    assert ids(tracker, [box(100)], 0.0) == [1]
    assert ids(tracker, [box(300), box(104)], 0.1) == [2, 1]
    assert ids(tracker, [box(108), box(300)], 0.2) == [1, 2]
    assert tracker.tracks[0].box == pytest.approx([78, 70, 60, 60])


def test_no_faces_at_all() -> None:
    assert Tracker().update(np.zeros((0, 4)), 0.0) == ([], [])


@pytest.mark.parametrize("fps", [2, 5, 30, 60])
def test_a_face_is_followed_at_any_frame_rate(fps: int) -> None:
    """It walks 2 face sizes a second and stops; at 2 fps its boxes of successive frames just touch."""
    tracker = Tracker()
    for frame in range(6 * fps):
        time = frame / fps
        assert ids(tracker, [box(100 + 2 * SIZE * min(time, 4))], time) == [1]


@pytest.mark.parametrize("fps", [10, 30])
def test_a_pan_over_neighbours_does_not_pass_the_numbers_on(fps: int) -> None:
    """Five faces stand 1.2 sizes apart; the camera starts to pan by 4 sizes a second."""
    tracker = Tracker()
    numbers = [
        ids(tracker, [box(100 + 1.2 * SIZE * n + 4 * SIZE * frame / fps) for n in range(5)], frame / fps)
        for frame in range(fps)
    ]
    assert all(row == [1, 2, 3, 4, 5] for row in numbers)


@pytest.mark.parametrize("fps", [10, 30])
def test_two_faces_pass_each_other(fps: int) -> None:
    """They walk in opposite directions; the farther one is hidden while the boxes overlap by more than a half."""
    tracker = Tracker()
    for frame in range(4 * fps):
        time = frame / fps
        near, far = 100 + 100 * time, 500 - 100 * time
        hidden = abs(near - far) < SIZE / 2
        found = ids(tracker, [box(near)] if hidden else [box(near), box(far, 95)], time)
        assert found == ([1] if hidden else [1, 2])


def test_two_faces_pass_each_other_between_few_frames() -> None:
    """At 3 frames a second each comes to stand where the other just was: only their motion tells them apart."""
    tracker = Tracker()
    times = np.arange(13) / 3
    steps = [ids(tracker, [box(100 + 100 * time), box(533.3 - 100 * time)], time) for time in times]
    assert steps == [[1, 2]] * 13


def test_a_face_that_stops_while_it_is_hidden_is_not_sought_far_ahead() -> None:
    tracker = Tracker()
    for frame in range(31):
        ids(tracker, [box(100 + 4 * SIZE * frame / 30)], frame / 30)
    for frame in range(31, 57):
        ids(tracker, [], frame / 30)
    assert ids(tracker, [box(100 + 4 * SIZE)], 1.9) == [1]


def test_size_tells_which_of_two_near_boxes_is_the_face() -> None:
    tracker = Tracker()
    ids(tracker, [box(100, size=60)], 0.0)
    assert ids(tracker, [box(110, size=90), box(115, size=60)], 0.1) == [2, 1]


def test_a_face_that_was_missed_before_a_long_pause_has_left() -> None:
    tracker = Tracker(birth=0)
    ids(tracker, [box(100)], 0.0)
    ids(tracker, [], 0.5)
    (track,), gone = tracker.update([box(100)], 5.0)
    assert (track.id, [old.id for old in gone]) == (2, [1])


def test_short_misses_are_bridged_and_a_long_one_is_a_departure() -> None:
    tracker = Tracker(patience=1.0)
    for frame in range(10):
        ids(tracker, [box(100)], frame / 10)
    for frame in range(10, 19):
        assert tracker.update([], frame / 10) == ([], [])
    assert ids(tracker, [box(110)], 1.9) == [1]
    assert tracker.update([], 2.8)[1] == []
    assert [track.id for track in tracker.update([], 2.95)[1]] == [1]
    assert ids(tracker, [box(110)], 3.0) == [2]


def test_who_was_just_there_takes_a_box_before_who_was_missed() -> None:
    tracker = Tracker()
    for time in (0.0, 0.1, 0.2):
        ids(tracker, [box(100), box(140)], time)
    ids(tracker, [box(140)], 0.3)
    assert ids(tracker, [box(118), box(190)], 0.4)[0] == 2


def test_a_passing_detection_is_no_face() -> None:
    tracker = Tracker(birth=0.2)
    for frame in range(3):
        (track,), _ = tracker.update([box(100)], frame / 30)
        assert not tracker.is_face(track)
    gone = [tracker.update([], frame / 30)[1] for frame in range(3, 10)]
    assert not any(gone)
    assert tracker.tracks == [], "it is forgotten 0.2 s after it was last seen"


@pytest.mark.parametrize(("fps", "frames"), [(30, 7), (10, 3), (1, 2)])
def test_a_face_counts_after_its_birth_in_seconds(fps: int, frames: int) -> None:
    tracker = Tracker(birth=0.2)
    states = [tracker.is_face(tracker.update([box(100)], frame / fps)[0][0]) for frame in range(8)]
    assert states == [False] * (frames - 1) + [True] * (9 - frames)


def test_a_box_of_another_size_is_another_face() -> None:
    tracker = Tracker()
    ids(tracker, [box(100, size=60)], 0.0)
    assert ids(tracker, [box(100, size=150)], 0.1) == [2]
    assert ids(tracker, [box(100, size=70)], 0.2) == [1]


def test_a_frame_long_after_the_last_one_still_knows_the_faces() -> None:
    """As in a timeline of one frame every five seconds."""
    tracker = Tracker()
    assert [ids(tracker, [box(100), box(300)], time) for time in (0, 5, 10)] == [[1, 2]] * 3


def test_two_frames_of_one_time_are_taken() -> None:
    tracker = Tracker()
    assert ids(tracker, [box(100)], 1.0) == ids(tracker, [box(101)], 1.0) == [1]


def test_clear_returns_the_faces_and_numbers_go_on() -> None:
    tracker = Tracker(birth=0.1)
    ids(tracker, [box(100)], 5.0)
    ids(tracker, [box(100), box(300)], 5.2)
    assert [track.id for track in tracker.clear()] == [1]
    assert ids(tracker, [box(100)], 0.0) == [3]


@pytest.mark.parametrize("option", ["reach", "speed", "birth", "patience"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{option}: expected a number of 0 or more, got {value}$"):
        Tracker(**{option: value})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_assign_is_the_best_of_all_assignments(data: st.DataObject) -> None:
    """Against every permutation: as many pairs as possible, and of those the least total cost."""
    rows, columns = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 5))
    cost = st.one_of(st.integers(0, 20).map(float), st.just(np.inf))
    costs = np.array(data.draw(st.lists(cost, min_size=rows * columns, max_size=rows * columns))).reshape(rows, columns)
    best = (0, 0.0)
    wide = costs if rows <= columns else costs.T
    for chosen in itertools.permutations(range(wide.shape[1]), wide.shape[0]):
        values = [wide[row, column] for row, column in enumerate(chosen) if np.isfinite(wide[row, column])]
        best = min(best, (-len(values), sum(values)))
    pairs = assign(costs)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert (-len(pairs), sum(costs[pair] for pair in pairs)) == best
