"""Results as lines of JSON in a file, each whole, and what a file already holds."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Cell


def read(path: Path) -> list[dict[str, Any]]:
    """Records of a file; none where there is no file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If a line is not a record.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            records.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"Line {number} of {path} is not a record of results: {line[:60]!r}.") from error
    return records


def mend(path: Path) -> None:
    """Cut off the part of a line that a run left that was killed while it wrote; create the file where there is none.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def keep(records: Iterable[dict[str, Any]], path: Path) -> Iterator[dict[str, Any]]:
    """Append each record to a file, at once and in one piece, and pass it on."""
    with path.open("ab", buffering=0) as file:
        for record in records:
            file.write((json.dumps(record, allow_nan=False) + "\n").encode())
            yield record


def done(cells: list[Cell], records: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Cell]]:
    """Records that cells already have, the newest where there are several, and the cells that have none.

    A cell whose only records are failures has none: it is tried again.
    """
    identities = [json.loads(json.dumps(cell.identity())) for cell in cells]  # as they come back from a file
    names = sorted(identities[0]) if identities else []
    scored = {_key(record, names): record for record in records if "scores" in record}
    found, missing = [], []
    for cell, identity in zip(cells, identities, strict=True):
        record = scored.get(_key(identity, names))
        if record is None:
            missing.append(cell)
        else:
            found.append(record)
    return found, missing


def _key(record: dict[str, Any], names: list[str]) -> str:
    return json.dumps([record.get(name) for name in names], sort_keys=True)
