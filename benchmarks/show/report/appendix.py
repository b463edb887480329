"""Circumstances of a comparison: searches, warnings and versions."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from benchmarks.compare.records import Record
from benchmarks.show.ranking import some

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")
_DOTS = "…"


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
    """Warnings, with the methods that gave them and where, and the number of folds, the most frequent first.

    Those that are the same but for numbers are one, with dots in place of numbers that differ.
    """
    found: dict[str, dict[str, Counter[tuple[str, str]]]] = defaultdict(lambda: defaultdict(Counter))
    for record in records:
        for warning in record.get("warnings") or ():
            kind = _NUMBER.sub(_DOTS, str(warning))
            found[kind][str(warning)][record["method"], record["dataset"]] += 1
    rows = [(_common(list(of_kind)), *_places(sum(of_kind.values(), Counter()))) for of_kind in found.values()]
    return sorted(rows, key=lambda row: -row[2])


def _common(texts: list[str]) -> str:
    """Text of several that differ in numbers alone, with dots for those."""
    numbers = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    same = iter([of_place[0] if len(set(of_place)) == 1 else _DOTS for of_place in numbers])
    return _NUMBER.sub(lambda _: next(same), texts[0])


def _places(counts: Counter[tuple[str, str]]) -> tuple[list[str], int]:
    """Methods, each with its data sets, and the number of folds of all."""
    by_method: dict[str, list[str]] = defaultdict(list)
    for method, dataset in sorted(counts):
        by_method[method].append(dataset)
    return [f"{method} on {some(names)}" for method, names in by_method.items()], counts.total()


def versions(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Packages and their versions, several where records were made by several."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        for package, version in (record.get("versions") or {}).items():
            found[package][str(version)] = None
    return [(package, ", ".join(of_package)) for package, of_package in found.items()]
