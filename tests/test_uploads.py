"""What the server keeps of uploads: bounds in number and size, and nothing that no page shows any more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from fercore.ui import classification, intake, uploads
from made_run import made_run
from test_pages import jpeg, texts, visit, warm  # noqa: F401

SESSION = "test session id"


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[MemoryUploadedFileManager, str]]:
    """The files that are removed from now on, each with what keeps the others."""
    found: list[tuple[MemoryUploadedFileManager, str]] = []
    remove = MemoryUploadedFileManager.remove_file

    def noted(manager: MemoryUploadedFileManager, session_id: str, file_id: str) -> None:
        name = manager.file_storage[session_id][file_id].name
        remove(manager, session_id, file_id)
        found.append((manager, name))

    monkeypatch.setattr(MemoryUploadedFileManager, "remove_file", noted)
    return found


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_run(tmp_path, "single", faces=60)
    monkeypatch.setenv("FER_ARTIFACTS", str(tmp_path))
    monkeypatch.delenv("FER_RUN", raising=False)


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [([], 0), ([5, 5, 5], 3), ([5, 5, 5, 5], 3), ([9, 9, 1], 1), ([11, 1], 0), ([4, 6], 2), ([4, 7], 1)],
)
def test_the_first_files_that_fit_are_kept(sizes: list[int], kept: int) -> None:
    assert uploads.fitting(sizes, most_files=3, most_bytes=15 if len(sizes) > 2 and sizes[0] == 5 else 10) == kept


def test_the_server_keeps_no_more_of_a_visitor_than_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryUploadedFileManager, "add_file", MemoryUploadedFileManager.add_file)
    monkeypatch.setattr(uploads, "MOST_FILES", 3)
    monkeypatch.setattr(uploads, "MOST_MEGABYTES", 2)
    uploads.bound()
    bounded = MemoryUploadedFileManager.add_file
    uploads.bound()
    assert MemoryUploadedFileManager.add_file is bounded
    manager = MemoryUploadedFileManager("/upload")

    def give(session: str, file_id: str, size: int) -> None:
        manager.add_file(session, UploadedFileRec(file_id, "a.jpg", "image/jpeg", bytes(size)))

    for number in range(5):
        give("many", str(number), 10)
    assert list(manager.file_storage["many"]) == ["0", "1", "2"]
    give("many", "2", 20)
    assert len(manager.get_files("many", ["2"])[0].data) == 20, "what takes the place of another is no further file"
    for number in range(3):
        give("large", str(number), 1 << 20)
    assert list(manager.file_storage["large"]) == ["0", "1"]
    manager.remove_file("large", "0")
    give("large", "3", 1 << 20)
    assert list(manager.file_storage["large"]) == ["1", "3"]


@pytest.mark.parametrize(("photos", "megabytes"), [(2, 128), (24, 0)])
def test_surplus_photos_leave_the_memory_and_the_page_says_so(
    photos: int, megabytes: int, runs: None, removed: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classification, "MOST_PHOTOS", photos)
    monkeypatch.setattr(intake, "MOST_TOGETHER", megabytes)
    kept = ["0.png", "1.png"] if megabytes else []
    data = jpeg(np.full((64, 64, 3), 128, np.uint8))
    app = visit("classify")
    app.file_uploader[0].set_value([(f"{number}.png", data, "image/png") for number in range(4)]).run()
    assert not app.exception
    gone = [f"{number}.png" for number in range(len(kept), 4)]
    assert sorted(name for _, name in removed) == gone
    manager, _ = removed[-1]
    assert [file.name for file in manager.file_storage[SESSION].values()] == kept
    assert [file.getvalue() for file in app.session_state["photos"]] == [data] * len(kept) + [b""] * len(gone)
    assert f"These are the first {len(kept)} of 4 photos; the others were forgotten" in texts(app)


def test_photos_are_let_go_of_when_another_source_is_chosen(runs: None, removed: list) -> None:
    data = jpeg(np.full((64, 64, 3), 128, np.uint8))
    app = visit("classify")
    app.file_uploader[0].set_value([("mine.png", data, "image/png")]).run()
    assert not removed
    assert "forgotten" not in "".join(element.value for element in app.warning)
    held = app.session_state[uploads._HELD]
    assert len(held) == 1
    ids: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryUploadedFileManager, "remove_file", lambda _, session, file_id: ids.append(file_id))
        app.segmented_control(key="from").set_value("video").run()
    assert set(ids) == held
    assert app.session_state[uploads._HELD] == set()
