"""Records as lines of JSON in a file, each whole."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypedDict, TypeVar

Plain = bool | int | float | str | None
"""Values that JSON has."""


class Record(TypedDict, total=False):
    """Record of a fold of a method: its circumstances and its outcome.

    Records of older versions may lack some of the keys. A failure has "error" and no "scores".
    """

    dataset: str
    task: str
    method: str
    data: str | None  # digest of a file of one's own
    folds: int | str
    repeat: int
    fold: int
    seed: int
    search: bool
    n_train: int
    n_test: int
    parameters: dict[str, Plain]
    grid: dict[str, list[Plain]]
    inner_folds: int | None
    criteria: list[str]
    versions: dict[str, str]
    scores: dict[str, float]  # by the title of the criterion
    fit_seconds: float
    score_seconds: float
    search_seconds: float
    chosen: dict[str, Plain]
    memory_mib: dict[str, float]
    error: str
    warnings: list[str]
    jobs: int
    alone: bool


_Kept = TypeVar("_Kept", bound=Mapping[str, object])


def read(path: Path) -> list[Record]:
    """Records of a file, without the part of a line that a run may have left that was killed while it wrote.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If a line is not a record.
    """
    return _parsed(path.read_bytes().rpartition(b"\n")[0], path) if path.exists() else []


def mend(path: Path) -> None:
    """End the last line of a file of records, or cut it off where it is a part only; create a file that is not there.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If it is not a file of records, which is then left as it is.
    """
    with path.open("ab+") as file, _locked(file):
        file.seek(0)
        whole, end_of_line, tail = file.read().rpartition(b"\n")
        _parsed(whole, path)
        if not tail:
            return
        try:
            _parsed(tail, path)
        except ValueError:
            if not tail.startswith(b'{"'):
                raise
            file.truncate(len(whole) + len(end_of_line))
        else:
            file.write(b"\n")


def keep(records: Iterable[_Kept], path: Path) -> Iterator[_Kept]:
    """Append each record to a file, at once and in one piece, and pass it on.

    Raises
    ------
    OSError
        If one could not be written whole, as where the disk is full.
    """
    with path.open("ab", buffering=0) as file:
        for record in records:
            line = (json.dumps(record, allow_nan=False) + "\n").encode()
            with _locked(file):
                if file.write(line) != len(line):
                    raise OSError(f"A record could not be written to {path} whole: is the disk full?")
            yield record


def _parsed(content: bytes, path: Path) -> list[Record]:
    records = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            records.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"Line {number} of {path} is no record: {line[:60]!r}. Name another file with --out."
            ) from error
    return records  # type: ignore[return-value]  # what JSON holds is known to those who wrote it


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    """The file for one process at a time, where the system can do that."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
