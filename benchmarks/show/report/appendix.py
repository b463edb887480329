"""Circumstances of a comparison: searches, warnings and versions."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from benchmarks.compare.records import Record


class Search(NamedTuple):
    """Search of a method: of each parameter its values, each with how often it was chosen."""

    task: str
    method: str
    grid: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    n_fits: int
    seconds: float | None


def searches(records: Iterable[Record]) -> list[Search]:
    """Searches of each method of each task."""
    by_method: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.get("grid"):
            by_method[record["task"], record["method"]].append(record)
    return [_search(task, method, of_method) for (task, method), of_method in sorted(by_method.items())]


def _search(task: str, method: str, records: list[Record]) -> Search:
    chosen = [record["chosen"] for record in records if record.get("chosen")]
    seconds = [record["search_seconds"] for record in records if "search_seconds" in record]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for name, values in record["grid"].items():
            counts[name].update(dict.fromkeys(map(str, values), 0))
    for setting in chosen:
        for name, value in setting.items():
            counts[name][str(value)] += 1
    grid = tuple((name, tuple(of_value.items())) for name, of_value in counts.items())
    return Search(task, method, grid, len(chosen), float(np.median(seconds)) if seconds else None)


def caught(records: Iterable[Record]) -> list[tuple[str, list[str], int]]:
    """Warnings, with the methods that gave them and the number of folds, the most frequent first."""
    of_warning: dict[str, list[str]] = defaultdict(list)
    for record in records:
        for warning in record.get("warnings") or ():
            of_warning[str(warning)].append(f"{record['method']} on {record['dataset']}")
    rows = [(warning, sorted(set(where)), len(where)) for warning, where in of_warning.items()]
    return sorted(rows, key=lambda row: -row[2])


def versions(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Packages and their versions, several where records were made by several."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        for package, version in (record.get("versions") or {}).items():
            found[package][str(version)] = None
    return [(package, ", ".join(of_package)) for package, of_package in found.items()]
