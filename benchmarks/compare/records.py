"""Records as lines of JSON in a file, each whole."""

import json
import lzma
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO, TypedDict, TypeVar, Union, get_args, get_origin, get_type_hints

Plain = bool | int | float | str | None
"""Values that JSON has."""


class Record(TypedDict, total=False):
    """Record of a fold of a method: its circumstances and its outcome.

    Records of older versions may lack some of the keys. A failure has "error" and no "scores"; where it is only that
    the method did not come to an end in its time, "too_slow" is true.
    """

    dataset: str
    task: str
    method: str
    data: str | None  # digest of a file of one's own
    folds: int | str
    most_samples: int | None
    groups: str | None  # "parted" where folds part what belongs together
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
    too_slow: bool  # beside its error: it did not end within the time that it had
    timeout: float
    warnings: list[str]
    jobs: int
    alone: bool


_Kept = TypeVar("_Kept", bound=Mapping[str, object])


def read(path: Path, kind: type = Record) -> list[Any]:
    """Lines of a file, without the part of one that a run may have left that was killed while it wrote.

    Parameters
    ----------
    path : Path
        The file, packed where its name ends in ".xz"; without it there are no lines.
    kind : type, default=Record
        Typed dictionary whose fields have their types, where a line has them.

    Returns
    -------
    list of dict

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If a line is not a record, or a field of it is of another type.
    """
    if not path.exists():
        return []
    content = _unpacked(path) if is_packed(path) else path.read_bytes()
    return _parsed(content.rpartition(b"\n")[0], path, kind)


def is_packed(path: Path) -> bool:
    """Whether a file has records to read, and none can be appended."""
    return path.suffix == ".xz"


def _unpacked(path: Path) -> bytes:
    try:
        return lzma.decompress(path.read_bytes())
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be unpacked ({error}). Get it again, or name another file with --out."
        ) from error


def is_outcome(record: Record) -> bool:
    """Whether a record has an error, or a time and the scores that it says it has."""
    scored = record.get("scores", {}).keys() >= set(record.get("criteria", ())) and "fit_seconds" in record
    return scored if "scores" in record else "error" in record


def is_failure(record: Record) -> bool:
    """Whether a record has an error other than that the method was too slow, which is a result."""
    return "error" in record and not record.get("too_slow", False)


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
        _parsed(whole, path, Record)
        if not tail:
            return
        try:
            _parsed(tail, path, Record)
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


def _parsed(content: bytes, path: Path, kind: type) -> list[Any]:
    hints = get_type_hints(kind)
    records = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise TypeError
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"Line {number} of {path} is no record: {line[:60]!r}. Name another file with --out."
            ) from error
        wrong = [name for name in record if name in hints and not _fits(record[name], hints[name])]
        if wrong:
            raise ValueError(
                f"Line {number} of {path} is no record: its {wrong[0]!r} has a value of another type. Mend or delete "
                "the line, or name another file with --out."
            )
        records.append(record)
    return records


def _fits(value: object, hint: Any) -> bool:
    """Whether a value that JSON has is of a type; a whole number is a float, and neither a Boolean nor NaN is one."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    if kind is list:
        return isinstance(value, list) and all(_fits(each, inner[0]) for each in value)
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return abs(value) <= sys.float_info.max
    return type(value) is kind


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
