"""Results as lines of JSON in a file, each whole, and what a file already holds."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from benchmarks.experiment import Cell, Record


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
    """End the last line of a file of results, or cut it off where it is a part only; create a file that is not there.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If it is not a file of results, which is then left as it is.
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


def keep(records: Iterable[Record], path: Path) -> Iterator[Record]:
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


def done(cells: list[Cell], records: Iterable[Record]) -> tuple[list[Record], list[Cell]]:
    """Records that cells already have, the newest where there are several, and the cells that have none.

    A cell whose only records are failures has none: it is tried again.
    """
    found = _newest(cells, [record for record in records if "scores" in record])
    missing = [cell for cell, record in zip(cells, found, strict=True) if record is None]
    return [record for record in found if record is not None], missing


def shown(cells: list[Cell], records: list[Record]) -> list[Record]:
    """Newest record of each cell, or else its newest failure; records of other versions are as good."""
    failures_first = sorted(records, key=lambda record: "scores" in record)
    return [record for record in _newest(cells, failures_first, but="versions") if record is not None]


def _newest(cells: list[Cell], records: list[Record], but: str | None = None) -> list[Record | None]:
    identities = [json.loads(json.dumps(cell.identity())) for cell in cells]  # as they come back from a file
    names = sorted({name for identity in identities for name in identity if name != but})
    by_key = {_key(record, names): record for record in records}
    return [by_key.get(_key(identity, names)) for identity in identities]


def _key(record: Record, names: list[str]) -> str:
    return json.dumps([record.get(name) for name in names], sort_keys=True)


def _parsed(content: bytes, path: Path) -> list[Record]:
    records = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            records.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"Line {number} of {path} is no record of results: {line[:60]!r}. Name another file with --out."
            ) from error
    return records


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
