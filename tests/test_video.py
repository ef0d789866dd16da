"""Reading and writing videos: right frames at right times, one line for what is no video, and nothing that crashes."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time as clock
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from fercore import video
from fercore.errors import ConfigError, FerError
from fercore.video import CODECS, Video, VideoError, frames_of, is_video, write_video
from scripted import write_clip

WIDTH, HEIGHT = 96, 64


def numbered(count: int, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """Return frames that tell their number by a grey ground, with red at the top left and blue at the bottom right."""
    frames = []
    for number in range(count):
        frame = np.full((height, width, 3), 20 + 10 * number, np.uint8)
        frame[: height // 2, : width // 2] = (220, 20, 20)
        frame[height // 2 :, width // 2 :] = (20, 20, 220)
        frames.append(frame)
    return frames


def number_of(frame: np.ndarray) -> int:
    """Return the number that ``numbered`` wrote; the ground is left at the bottom left."""
    height, width = frame.shape[:2]
    return round((float(frame[height * 3 // 4, width // 4].mean()) - 20) / 10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames at 10 a second, MPEG-4 in MP4."""
    return write_clip(tmp_path_factory.mktemp("video") / "clip.mp4", numbered(20), fps=10, codec="mp4v")


def error_of(path: Path, data: bytes | None = None) -> str:
    """Return the one line that opening or reading a file gives."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(VideoError) as caught:
        list(Video(path))
    message = str(caught.value)
    assert message.isprintable()
    return message


def boxes(data: bytes, path: str) -> list[int]:
    """Return where the nested boxes of an MP4 start, outermost first."""
    found, start = [], 0
    for name in path.split("/"):
        start = data.index(name.encode(), start) - 4
        found.append(start)
        start += 8
    return found


@pytest.mark.parametrize(("suffix", "codec"), [*CODECS.items(), (".mp4", "vp09"), (".avi", "XVID")])
def test_frames_come_in_order_in_rgb_with_their_times(tmp_path: Path, suffix: str, codec: str) -> None:
    film = Video(write_clip(tmp_path / f"clip{suffix}", numbered(12), fps=8, codec=codec))
    assert (film.width, film.height, film.rate, film.duration, len(film)) == (WIDTH, HEIGHT, 8.0, 1.5, 12)
    times, frames = zip(*film, strict=True)
    assert times == pytest.approx(np.arange(12) / 8, abs=1e-3)
    assert [number_of(frame) for frame in frames] == list(range(12))
    assert frames[0].dtype == np.uint8
    assert frames[0][HEIGHT // 4, WIDTH // 4] == pytest.approx((220, 20, 20), abs=25)
    assert frames[0][HEIGHT * 3 // 4, WIDTH * 3 // 4] == pytest.approx((20, 20, 220), abs=25)


def test_a_video_can_be_read_again(clip: Path) -> None:
    film = Video(clip)
    assert len(list(film)) == len(list(film)) == 20


@pytest.mark.parametrize(
    ("degrees", "cosine", "sine", "shape", "red"),
    [
        (90, 0, 1, (WIDTH, HEIGHT), "top right"),
        (180, -1, 0, (HEIGHT, WIDTH), "bottom right"),
        (270, 0, -1, (WIDTH, HEIGHT), "bottom left"),
    ],
)
def test_a_phone_held_upright(
    clip: Path, tmp_path: Path, degrees: int, cosine: int, sine: int, shape: tuple[int, int], red: str
) -> None:
    """The display matrix of the track's header says by how much to turn the frames clockwise."""
    data = bytearray(clip.read_bytes())
    matrix = boxes(data, "moov/trak/tkhd")[-1] + 48
    assert struct.unpack_from(">9i", data, matrix) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    turned = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, matrix, *turned)
    (tmp_path / "turned.mp4").write_bytes(data)
    film = Video(tmp_path / "turned.mp4")
    frame = next(iter(film))[1]
    assert frame.shape[:2] == shape == (film.height, film.width)
    rows, columns = {"top": 1, "bottom": 3}, {"left": 1, "right": 3}
    row, column = red.split()
    assert frame[shape[0] * rows[row] // 4, shape[1] * columns[column] // 4] == pytest.approx((220, 20, 20), abs=25)


def retimed(data: bytes, steps: list[float]) -> bytes:
    """Return an MP4 whose frames last for other times, in seconds: its table of durations is replaced."""
    path = boxes(data, "moov/trak/mdia/minf/stbl/stts")
    (scale,) = struct.unpack_from(">I", data, boxes(data, "moov/trak/mdia/mdhd")[-1] + 20)
    table = b"".join(struct.pack(">II", 1, round(step * scale)) for step in steps)
    start, old = path[-1], struct.unpack_from(">I", data, path[-1])[0]
    new = struct.pack(">I4sII", 16 + len(table), b"stts", 0, len(steps)) + table
    head = bytearray(data[:start])
    for box in path[:-1]:
        struct.pack_into(">I", head, box, struct.unpack_from(">I", head, box)[0] + len(new) - old)
    (movie_scale,) = struct.unpack_from(">I", head, boxes(head, "moov/mvhd")[-1] + 20)
    struct.pack_into(">I", head, boxes(head, "moov/trak/edts/elst")[-1] + 16, round(sum(steps) * movie_scale))
    return bytes(head) + new + data[start + old :]


def test_times_are_the_containers_where_the_rate_varies(clip: Path, tmp_path: Path) -> None:
    steps = [0.1, 0.1, 0.5, 0.05, 0.05, 1.0, 0.2] + [0.1] * 13
    (tmp_path / "varying.mp4").write_bytes(retimed(clip.read_bytes(), steps))
    times = [time for time, _ in Video(tmp_path / "varying.mp4")]
    assert times == pytest.approx(np.cumsum([0, *steps[:-1]]), abs=2e-3)


def test_impossible_times_are_replaced_by_the_rate(clip: Path, tmp_path: Path) -> None:
    """Eleven frames at one time, and a gap of an hour."""
    steps = [0.1] * 4 + [0.0] * 10 + [3600.0] + [0.1] * 5
    (tmp_path / "wrong.mp4").write_bytes(retimed(clip.read_bytes(), steps))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = [time for time, _ in Video(tmp_path / "wrong.mp4")]
    assert len(times) == 20
    assert all(0 < step <= video._MAX_GAP for step in np.diff(times))


@pytest.mark.parametrize(("suffix", "codec"), CODECS.items())
def test_a_video_in_memory_is_read_like_a_file(
    tmp_path: Path, suffix: str, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_clip(tmp_path / f"clip{suffix}", numbered(12), fps=8, codec=codec)
    data = file.read_bytes()
    file.unlink()
    monkeypatch.setattr("tempfile.mkstemp", lambda *_, **__: pytest.fail("a temporary file"))
    film = Video(data)
    assert (film.width, film.height, film.duration, len(film)) == (WIDTH, HEIGHT, 1.5, 12)
    for _ in range(2):
        times, frames = zip(*film, strict=True)
        assert times == pytest.approx(np.arange(12) / 8, abs=1e-3)
        assert [number_of(frame) for frame in frames] == list(range(12))
    assert [time for time, _ in Video(data, fps=2)] == pytest.approx([0, 0.5, 1], abs=1e-3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "uploaded video: empty, 0 bytes"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "uploaded video: no video of a known format; use an MP4"),
        (b"\0\0\0\x18ftypmp42" + bytes(600), "uploaded video: damaged"),
    ],
)
def test_what_is_no_video_in_memory_is_told_in_one_line(data: bytes, told: str) -> None:
    with pytest.raises(VideoError) as caught:
        list(Video(data))
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("fps", "expected"), [(5, np.arange(10) / 5), (3, [0, 0.4, 0.7, 1.0, 1.4, 1.7]), (100, np.arange(20) / 10)]
)
def test_fewer_frames_a_second(clip: Path, fps: float, expected: list[float]) -> None:
    """The first frame at or after each third, or fifth, of a second."""
    film = Video(clip, fps=fps)
    assert [time for time, _ in film] == pytest.approx(expected, abs=1e-3)
    assert len(film) == len(expected)


def test_sampling_bears_with_times_that_a_container_rounds(tmp_path: Path) -> None:
    """WebM counts milliseconds, so the third of 15 frames a second is at 0.133 s, a little before 2/15."""
    film = Video(write_clip(tmp_path / "clip.webm", numbered(15), fps=15, codec="VP80"), fps=7.5)
    assert [number_of(frame) for _, frame in film] == list(range(0, 15, 2))


def frames_in(data: bytes) -> list[int]:
    """Return where the pictures of an AVI start; their marks stand in its index and once in its header as well."""
    start = data.index(b"movi")
    return [place + 8 for place in range(start, data.index(b"idx1")) if data[place : place + 4] == b"00dc"]


def test_pictures_that_end_early_are_told(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "clip.avi", numbered(20), fps=1).read_bytes()
    (tmp_path / "half.avi").write_bytes(data[: frames_in(data)[12]])
    with pytest.warns(UserWarning, match=r"half.avi: the pictures end at 12\.0 of 20\.0 s; the file may be damaged$"):
        frames = [frame for _, frame in Video(tmp_path / "half.avi")]
    assert [number_of(frame) for frame in frames] == list(range(12))


def test_damaged_frames_are_left_out_and_reading_goes_on(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "clip.avi", numbered(20), fps=10).read_bytes())
    for number in (5, 6, 7):
        place = frames_in(data)[number]
        data[place : place + 200] = bytes(200)
    (tmp_path / "damaged.avi").write_bytes(data)
    times, frames = zip(*Video(tmp_path / "damaged.avi"), strict=True)
    expected = [number for number in range(20) if number not in (5, 6, 7)]
    assert [number_of(frame) for frame in frames] == expected
    assert times == pytest.approx(np.array(expected) / 10)


def test_what_is_no_video_is_told_in_one_line(clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    end = "; use an MP4, MOV, WebM, MKV, AVI or MPEG video"
    assert error_of(tmp_path / "none.mp4") == f"{tmp_path}/none.mp4: no such file; check the path"
    assert error_of(tmp_path) == f"{tmp_path}: is a folder; name a video in it"
    assert error_of(clip / "x.mp4").endswith("no such file; check the path")
    assert error_of(tmp_path / "e.mp4", b"") == f"{tmp_path}/e.mp4: empty, 0 bytes; copy it again"
    for data in (b"hello " * 999, b"\xff\xd8\xff\xe0" + bytes(999), b"RIFF\0\0\0\0WAVE" + bytes(999), b"\0"):
        assert error_of(tmp_path / "n.mp4", data) == f"{tmp_path}/n.mp4: no video of a known format{end}"
    damaged = f"{tmp_path}/d.mp4: damaged, or of a codec that cannot be read{end}"
    for data in (
        whole[: len(whole) // 2],
        whole[:8],
        b"\x1a\x45\xdf\xa3" + bytes(5000),
        b"RIFF\0\0\0\0AVI " + bytes(5000),
    ):
        assert error_of(tmp_path / "d.mp4", data) == damaged
    assert error_of(tmp_path / "a\nb.mp4").endswith("a\\nb.mp4': no such file; check the path")
    assert error_of(Path("a\0b.mp4")) == "'a\\x00b.mp4': no such file; check the path"


def test_a_file_whose_frames_are_all_damaged(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "clip.mp4", numbered(9)).read_bytes())
    start, end = boxes(data, "mdat")[0] + 8, boxes(data, "moov")[0]
    data[start:end] = bytes(end - start)
    told = error_of(tmp_path / "zero.mp4", bytes(data))
    assert told.endswith("zero.mp4: no frame in it can be read; copy or convert it again")


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n", "\ufeff<MPD>{}</MPD>"]
)
def test_a_list_that_names_other_files_is_never_followed(clip: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "other.mp4").write_bytes(clip.read_bytes())
    assert "no video of a known format" in error_of(tmp_path / "list.mp4", text.format("other.mp4").encode())


@pytest.mark.parametrize("name", ["concat:{}|{}", "file:{}", "http://localhost:9/x.mp4", "rtsp://localhost:9/x"])
def test_addresses_and_protocols_are_never_opened(clip: Path, name: str) -> None:
    assert error_of(Path(name.format(clip, clip))).endswith("no such file; check the path")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a colon in a file's name")
def test_a_name_that_looks_like_a_protocol_is_a_name(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "http:clip.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(list(Video("http:clip.mp4"))) == 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert error_of(tmp_path / "pipe.mp4").endswith("pipe.mp4: is not a regular file; name a video file")


def test_frames_that_are_too_large_are_refused_before_they_are_read(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "MAX_PIXELS", 6000)
    assert error_of(clip).endswith("clip.mp4: frames of 6,144 pixels, more than the 6,000 allowed; scale it down")


@pytest.mark.parametrize(("suffix", "codec"), CODECS.items())
def test_files_with_random_faults_end_in_frames_or_in_one_line(tmp_path: Path, suffix: str, codec: str) -> None:
    data = write_clip(tmp_path / f"clip{suffix}", numbered(8), codec=codec).read_bytes()
    rng = np.random.default_rng(len(data))
    ends = {"read": 0, "refused": 0}
    for _ in range(40):
        bad = bytearray(data)
        for place in rng.integers(0, len(bad), rng.integers(1, 30)) % rng.choice([len(bad), 1000, 300]):
            bad[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        if rng.random() < 0.3:
            del bad[rng.integers(len(bad)) :]
        file = tmp_path / f"bad{suffix}"
        file.write_bytes(bad)
        start = clock.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                times = [time for time, _ in Video(file)]
            assert all(step > 0 for step in np.diff(times))
            ends["read"] += 1
        except VideoError:
            ends["refused"] += 1
        assert clock.perf_counter() - start < 10
    assert min(ends.values()) > 0, "the faults are too mild or too hard to test anything"


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(clip: Path, fps: float) -> None:
    for attempt in (lambda: Video(clip, fps=fps), lambda: frames_of([], fps=fps)):
        with pytest.raises(ConfigError, match=f"^fps: expected frames a second, above 0, got {fps}$"):
            attempt()
    with pytest.raises(ConfigError, match=f"^rate: expected frames a second, above 0, got {fps}$"):
        frames_of([], rate=fps)


def test_videos_are_told_by_their_names() -> None:
    names = ("a/B.MP4", Path("x.webm"), "x.jpg", "mp4")
    assert [is_video(name) for name in names] == [True, True, False, False]


def test_frames_of_a_file_a_list_and_pairs(clip: Path) -> None:
    frames = numbered(5)
    assert [number_of(frame) for _, frame in frames_of(str(clip))] == list(range(20))
    assert [time for time, _ in frames_of(frames, rate=4)] == [0, 0.25, 0.5, 0.75, 1.0]
    assert [time for time, _ in frames_of(np.stack(frames))] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    pairs = [(time, frame) for time, frame in zip((3.0, 3.5, 9.0), frames, strict=False)]
    assert list(frames_of(iter(pairs))) == pairs
    assert list(frames_of(pairs, fps=1)) == [pairs[0], pairs[2]]


@pytest.mark.parametrize("source", [None, 1.5, b"x", np.zeros((8, 8, 3), np.uint8)])
def test_other_sources_are_refused(source: object) -> None:
    with pytest.raises(
        FerError, match=r"^source: expected a video file, the number of a camera or a list of frames, got "
    ):
        frames_of(source)


class FakeCamera:
    """Stands for ``cv2.VideoCapture`` of a camera that gives three blue frames and is then pulled out."""

    released = 0

    def __init__(self, number: int) -> None:
        self.number, self.left = number, 3

    def isOpened(self) -> bool:
        return self.number == 0

    def set(self, *_: float) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.full((4, 4, 3), (255, 0, 0), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        FakeCamera.released += 1


def test_a_camera_gives_rgb_frames_until_it_is_pulled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(FakeCamera, "released", 0)
    camera = frames_of(0)
    found = [next(camera) for _ in range(3)]
    assert all((frame == (0, 0, 255)).all() for _, frame in found)
    assert 0 <= found[0][0] <= found[1][0] <= found[2][0] < 5
    with pytest.raises(VideoError, match=r"^camera 0: gives no more frames; check that it is still connected$"):
        next(camera)
    assert FakeCamera.released == 1
    unfinished = frames_of(0)
    next(unfinished)
    unfinished.close()
    assert FakeCamera.released == 2
    with pytest.raises(
        VideoError, match=r"^camera 7: cannot be opened; check that it is connected and not in use elsewhere$"
    ):
        next(frames_of(7))


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(VideoError, match=r"^camera 97: cannot be opened"):
        next(frames_of(97))


@pytest.mark.parametrize("suffix", CODECS)
def test_a_written_video_shows_each_frame_at_its_time(tmp_path: Path, suffix: str) -> None:
    """Frames at varying distances, one of them too near to the next to be shown at 10 a second."""
    times = [5.0, 5.1, 5.4, 5.52, 5.54, 6.0]
    write_video(tmp_path / f"out{suffix}", zip(times, numbered(6), strict=True), rate=10)
    shown = [(round(time, 2), number_of(frame)) for time, frame in Video(tmp_path / f"out{suffix}")]
    assert shown == list(enumerate_tenths([0, 1, 1, 1, 2, 4, 4, 4, 4, 4, 5]))
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]


def enumerate_tenths(numbers: list[int]) -> list[tuple[float, int]]:
    return [(round(position / 10, 2), number) for position, number in enumerate(numbers)]


def test_a_video_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"old")
    frames = [(0.0, np.zeros((64, 64, 3), np.uint8))]

    def refusal(name: str, frames: list = frames) -> str:
        with pytest.raises(VideoError) as caught:
            write_video(tmp_path / name, frames, rate=25)
        return str(caught.value)

    assert refusal("x.gif").endswith("x.gif: cannot write .gif; use .mp4, .mov, .mkv, .avi, .webm")
    assert refusal("x").endswith("x: cannot write a file without suffix; use .mp4, .mov, .mkv, .avi, .webm")
    assert refusal("no/x.mp4").endswith(f"x.mp4: there is no folder {tmp_path / 'no'}; make it first")
    assert refusal("old.mp4", []).endswith("old.mp4: no frame to write")
    sizes = [*frames, (0.1, np.zeros((32, 64, 3), np.uint8))]
    assert refusal("old.mp4", sizes) == "frames: 64 x 32 pixels after others of another size; scale them to one size"
    assert refusal("old.mp4", [(0.0, np.zeros((1, 1, 3), np.uint8))]).endswith(
        "no video of 1 x 1 pixels can be written there"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["old.mp4"]
    assert (tmp_path / "old.mp4").read_bytes() == b"old"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files makes writing fail as a full disk does."""
    script = f"""
import resource
import numpy as np
from fercore.video import CODECS, VideoError, write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0).integers(0, 255, (16, 240, 320, 3), np.uint8)
for suffix in CODECS:
    try:
        write_video({str(tmp_path / "out")!r} + suffix, enumerate(noise), rate=1)
    except VideoError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    told = [
        f"{tmp_path}/out{suffix}: could not be written whole; is the disk full, or the picture tiny?"
        for suffix in CODECS
    ]
    assert done.stdout.splitlines() == told, done.stderr
    assert list(tmp_path.iterdir()) == []
