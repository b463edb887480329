"""Kept records of comparisons, and pages that are compared with them."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import benchmarks
from benchmarks.compare.cells import cells, shown
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.records import Record, is_outcome, read
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS
from benchmarks.show.formats import Table, exported
from benchmarks.show.ranking import Ranking, rankings

BENCHMARKS = Path(benchmarks.__file__).parent
ROOT = BENCHMARKS.parent


@cache
def outcomes(file: str) -> tuple[Record, ...]:
    """All records of a kept file."""
    return tuple(filter(is_outcome, read(BENCHMARKS / f"evidence/{file}.jsonl.xz")))


def kept(profile: str, datasets: Iterable[str] = (), methods: Iterable[str] = (), file: str = "", **settings):
    """Kept records of a profile, as the command line shows them; what is not given is as the profile has it."""
    of_profile = PROFILES[profile]
    planned = [
        cell
        for source in (DATASETS[name] for name in datasets or of_profile.datasets)
        for cell in cells(
            source,
            list(methods) or of_profile.methods(TASKS[source.task]),
            of_profile.settings(source)._replace(**settings),
        )
    ]
    return shown(planned, list(outcomes(file or profile)))


@cache
def full() -> list[Record]:
    """Records of the whole profile `full`."""
    return kept("full")


@cache
def ranked() -> dict[str, Ranking]:
    """Its rankings, by kind of target."""
    return {ranking.task: ranking for ranking in rankings(full())}


def text(tables: Iterable[Table]) -> str:
    """Tables as the command line prints them in Markdown."""
    return "\n\n".join(exported(table, "markdown") for table in tables) + "\n"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of words as a table in Markdown."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def page(name: str) -> str:
    """Text of a page, by its path in the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    """Text of a page in one line."""
    return " ".join(page(name).split())
