"""Files of faces that many photos leave: CSV and Parquet with a row a face, JSON lines with a line a photo.

A file that exists is continued: the photos that are in it are left out. So an interrupted call goes on where it stopped, by
being made again. CSV and JSON lines are appended to as answers come. A Parquet file cannot be, so answers wait in a file of
JSON lines beside it (``faces.parquet.part``) until the end, an interrupted one included.

The columns of CSV and Parquet: ``image``; ``run`` (and head); ``faces`` (how many the photo shows) and ``face`` (1, 2, ... by
size); ``left, top, width, height`` in pixels; ``score`` (the detector's), ``label``, ``confidence``, ``uncertain``;
``p_<label>`` for each label; ``error``. A photo without a face has one row with ``faces`` 0, an unreadable one a row with
``error`` alone.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .batch import Answer
from .errors import FerError

FORMATS = (".csv", ".parquet", ".jsonl")
"""The formats, by the file's suffix."""
_BEFORE = (
    "image",
    "run",
    "faces",
    "face",
    "left",
    "top",
    "width",
    "height",
    "score",
    "label",
    "confidence",
    "uncertain",
)
_START = b'{"image"'
_ROWS = 20_000  # rows that are converted to Parquet at a time


class FaceFile:
    """A file of faces that is begun or continued.

    >>> with FaceFile("faces.csv", "transfer/consensus", predictor.labels) as file:
    ...     for answer in answers(setup, [photo for photo in photos if photo not in file]):
    ...         file.write(answer)

    Args:
        path: the file; its suffix is one of ``FORMATS``.
        run: name of the run and the head, which every row states.
        labels: of that head.

    Raises:
        FerError: another suffix, no such folder, a file that something else wrote, or pyarrow, which Parquet needs, is not
            installed.
    """

    def __init__(self, path: str | os.PathLike[str], run: str, labels: Sequence[str]) -> None:
        self.path = Path(path)
        self.run = run
        self.labels = tuple(labels)
        kind = self.path.suffix.lower()
        check(self.path)
        self._seen: set[str] = set()
        target = self.path
        if kind == ".parquet":
            target = self.path.with_name(self.path.name + ".part")
            self._seen |= set(self._read_parquet())
        self._journal = target
        self._is_csv = kind == ".csv"
        if target.is_file():
            self._seen |= self._continue_csv() if self._is_csv else self._continue_lines()
        self.skipped = len(self._seen)
        self._file: IO[str] = target.open("a", encoding="utf-8", newline="")
        if self._is_csv and not target.stat().st_size:
            _csv(self._file).writerow(self.columns)

    @property
    def columns(self) -> list[str]:
        """The columns of CSV and Parquet."""
        return [*_BEFORE, *(f"p_{label}" for label in self.labels), "error"]

    def __contains__(self, photo: str | os.PathLike[str]) -> bool:
        return _name(os.fspath(photo)) in self._seen

    def write(self, answer: Answer) -> None:
        """Add a photo."""
        line = {"image": _name(answer.image), "run": self.run} | answer.to_dict() | {"image": _name(answer.image)}
        self._seen.add(line["image"])
        if self._is_csv:
            _csv(self._file).writerows(self._rows(line))
        else:
            self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Finish the file; what was written is in it."""
        self._file.close()
        if self._journal != self.path:
            self._convert()

    def __enter__(self) -> FaceFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, line: dict[str, Any]) -> Iterator[list[Any]]:
        """Yield a photo's rows, in the order of ``columns``."""
        faces = line.get("faces")
        start = [line["image"], line["run"], None if faces is None else len(faces)]
        for number, face in enumerate(faces or (), 1):
            values = [number, *face["box"], *(face[key] for key in ("score", "label", "confidence", "uncertain"))]
            yield [*start, *values, *(face["probabilities"][label] for label in self.labels), None]
        if not faces:
            yield [*start, *[None] * (len(_BEFORE) - 3 + len(self.labels)), line.get("error")]

    def _foreign(self, path: Path, why: str) -> FerError:
        return FerError(f"{path}: not a file that this call could continue: {why}; choose another --out")

    def _continue_lines(self) -> set[str]:
        """Return the photos of a file of JSON lines; a line that a sudden end tore is cut off."""
        data = self._journal.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        seen = set()
        for number, text in enumerate(whole.splitlines(), 1):
            try:
                line = json.loads(text)
                seen.add(line["image"])
                run = line["run"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise self._foreign(self._journal, f"line {number} is none of its lines") from None
            if run != self.run:
                raise self._foreign(self._journal, f"line {number} is of {str(run)[:80]}, not of {self.run}")
        if data and not whole and not (data.startswith(_START) or _START.startswith(data)):
            raise self._foreign(self._journal, "line 1 is none of its lines")
        if len(whole) < len(data):
            os.truncate(self._journal, len(whole))
        return seen

    def _continue_csv(self) -> set[str]:
        """Return the photos of a CSV file; the rows of one that a sudden end tore are cut off."""
        try:
            with self._journal.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
        except (ValueError, csv.Error) as error:
            raise self._foreign(self._journal, str(error)[:100]) from None
        if not rows:
            return set()
        if rows[0] != self.columns:
            raise self._foreign(self._journal, "its columns are others")
        body = rows[1:]
        with self._journal.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            torn = file.read() != b"\n"
        if body and (torn or len(body[-1]) != len(self.columns)):
            body.pop()
        for row in body:
            if row[1:2] != [self.run] or len(row) != len(self.columns) or not re.fullmatch("[0-9]*", row[2]):
                raise self._foreign(self._journal, f"a row is of {''.join(row[1:2])[:80]!r}, not of {self.run}")
        if body:
            rest = list(itertools.takewhile(lambda row: row[0] == body[-1][0], reversed(body)))
            if len(rest) != max(1, int(rest[0][2] or 0)):
                del body[-len(rest) :]
        if torn or len(body) < len(rows) - 1:
            self._replace_csv([rows[0], *body])
        return {row[0] for row in body}

    def _replace_csv(self, rows: Iterable[Sequence[str]]) -> None:
        staged = self._staged()
        try:
            with staged.open("w", encoding="utf-8", newline="") as file:
                _csv(file).writerows(rows)
            staged.replace(self.path)
        finally:
            staged.unlink(missing_ok=True)

    def _read_parquet(self) -> set[str]:
        """Return the photos of a Parquet file; none where there is no such file."""
        import pyarrow as pa
        from pyarrow import parquet

        if not self.path.is_file():
            return set()
        try:
            with parquet.ParquetFile(self.path) as file:
                if file.schema_arrow.names != self.columns:
                    raise self._foreign(self.path, "its columns are others")
                table = file.read(["image", "run"])
        except (pa.ArrowException, OSError) as error:
            raise self._foreign(self.path, " ".join(str(error).split())[:100]) from None
        for run in table["run"].unique().to_pylist():
            if run != self.run:
                raise self._foreign(self.path, f"it is of {str(run)[:80]}, not of {self.run}")
        return set(table["image"].to_pylist())

    def _convert(self) -> None:
        """Join what the Parquet file held and what waits beside it into the new Parquet file, in one step."""
        import pyarrow as pa
        from pyarrow import parquet

        if not self._journal.stat().st_size and self.path.is_file():
            self._journal.unlink()
            return
        kinds = {"faces": pa.int32(), "face": pa.int32(), "uncertain": pa.bool_()}
        kinds |= {name: pa.string() for name in ("image", "run", "label", "error")}
        schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in self.columns])
        staged = self._staged()
        try:
            with parquet.ParquetWriter(staged, schema) as writer:
                if self.path.is_file():
                    with parquet.ParquetFile(self.path) as old:
                        for batch in old.iter_batches(_ROWS):
                            writer.write_batch(batch.cast(schema))
                rows: list[list[Any]] = []
                with self._journal.open(encoding="utf-8") as lines:
                    for text in lines:
                        rows += self._rows(json.loads(text))
                        if len(rows) >= _ROWS:
                            writer.write_table(_table(rows, schema))
                            rows = []
                writer.write_table(_table(rows, schema))
            staged.replace(self.path)
        finally:
            staged.unlink(missing_ok=True)
        self._journal.unlink()

    def _staged(self) -> Path:
        return self.path.with_name(f".{self.path.stem}.{uuid.uuid4().hex[:8]}")


def check(path: str | os.PathLike[str]) -> None:
    """Raise ``FerError`` unless a file of faces could be written there."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise FerError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise FerError(f"{path}: there is no folder {path.parent}; make it first")
    if kind == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise FerError(
                f"{path}: Parquet needs pyarrow, which is missing; use .csv, or install fercore[app]"
            ) from None


def _csv(file: IO[str]) -> Any:
    return csv.writer(file, lineterminator="\n")


def _name(image: str) -> str:
    """Return a path as text that every format holds, also where a file's name is no text."""
    return image.encode("utf-8", "backslashreplace").decode("utf-8")


def _table(rows: list[list[Any]], schema: Any) -> Any:
    import pyarrow as pa

    columns = [[row[place] for row in rows] for place in range(len(schema))]
    return pa.Table.from_arrays(
        [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)], schema=schema
    )
