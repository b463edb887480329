"""Page of HTML on a comparison: one file that shows everything without a network."""

import math
import os
import re
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import joblib
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.compare.records import Record, is_failure
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS, OF_UNSEEN_CLASSES
from benchmarks.show.formats import Table
from benchmarks.show.notes import effect, notes, probabilities, span
from benchmarks.show.ranking import Ranking, rankings
from benchmarks.show.report import appendix, findings
from benchmarks.show.report.dots import Plot, forest
from benchmarks.show.report.pictures import (
    Picture,
    TooLargeError,
    critical_difference,
    illustrations,
    quality_against_time,
)
from benchmarks.show.report.sections import Section, section, usable
from benchmarks.show.results import USAGE, Result, results
from benchmarks.show.tables import cost_table

_FOLDER = Path(__file__).parent


_MOST_OPEN = 6
"""Data sets of a task up to which their sections are open from the beginning; more have no chart of times each."""


class Ranked(NamedTuple):
    """Method of a ranking: its ranks, and pairs of a number to sort by and words against the reference."""

    method: str
    average: float
    span: str
    ranks: tuple[float, ...]
    against: tuple[tuple[float | None, str], ...]


class Ranks(NamedTuple):
    """Ranks over the data sets of a task, best method first, with columns against a reference."""

    datasets: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Ranked, ...]
    friedman: float
    notes: tuple[str, ...]
    picture: Picture
    reference: str
    forest: Plot | None


class Chapter(NamedTuple):
    """Task: what holds across its data sets, then each of them, with a picture or none."""

    task: str
    ranks: Ranks | None
    costs: Table | None
    sections: tuple[tuple[Section, Picture | None], ...]
    illustrated: str
    illustrations: tuple[Picture, ...]
    trouble: str

    @property
    def is_folded(self) -> bool:
        """Whether sections of data sets are closed until they are asked for."""
        return len(self.sections) > _MOST_OPEN


def write_report(records: Iterable[Record], path: Path, command: str) -> None:
    """Write a page of HTML on records, in place of one that may be there, at once or not at all.

    Parameters
    ----------
    records : iterable of dict
        As :func:`benchmarks.compare.runs.run_cell` makes them.
    path : Path
        File to write.
    command : str
        Command that repeats the comparison.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    page = render(records, command)
    path = Path(path)
    beside = path.with_name(f"{path.name}.part")  # if this process is killed, the next report takes it over
    try:
        beside.write_text(page, encoding="utf-8", newline="\n")
        if path.exists():
            beside.chmod(path.stat().st_mode & 0o777)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def render(records: Iterable[Record], command: str) -> str:
    """Page of HTML on records; see :func:`write_report`."""
    given = list(records)
    records = usable(given)
    compared = results(records)
    ranked = rankings(records)
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": _seconds, "sentence": _sentence, "sortable": _sortable}
    return environment.get_template("page.html").render(
        chapters=[_chapter(k, task, compared, ranked, records) for k, task in enumerate(_tasks(compared))],
        overall=[(each.task, _ranks(each, f"overall-{k}")) for k, each in enumerate(ranked) if each.task not in TASKS],
        findings=findings.findings(compared, ranked, records),
        methods=list(dict.fromkeys(row.method for table in compared for row in table.rows)),
        n_datasets=len(compared),
        n_records=len(records),
        n_failed=sum(map(is_failure, records)),
        n_slow=sum(record.get("too_slow", False) for record in records),
        n_unusable=len(given) - len(records),
        searches=appendix.searches(records),
        caught=appendix.caught(records),
        versions=appendix.versions(records),
        seeds=sorted({record["seed"] for record in records if "seed" in record}),
        command=command,
        n_cores=joblib.cpu_count(),
        usage=list(USAGE),
        date=datetime.now().astimezone(),
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=b64encode(sha256(script.encode()).digest()).decode(),
    )


def _tasks(compared: Iterable[Result]) -> list[str]:
    found = {table.task for table in compared}
    return [task for task in TASKS if task in found]


def _chapter(number: int, task: str, compared: list[Result], ranked: list[Ranking], records: list[Record]) -> Chapter:
    of_task = [table for table in compared if table.task == task]
    sections = [section(table, records) for table in of_task]
    pictures = [
        _of_time(section, f"time-{number}-{k}") if k < _MOST_OPEN else None for k, section in enumerate(sections)
    ]
    has_costs = len(of_task) > 1 and any(row.means for table in of_task for row in table.rows)
    return Chapter(
        task,
        next((_ranks(each, f"ranks-{number}") for each in ranked if each.task == task), None),
        cost_table(task, of_task) if has_costs else None,
        tuple(zip(sections, pictures, strict=True)),
        *_illustrated([section.name for section in sections], task, records, f"samples-{number}"),
    )


def _of_time(section: Section, name: str) -> Picture | None:
    if sum(line.seconds is not None for line in section.lines) < 2:
        return None
    column = section.headline
    return quality_against_time(section.lines, section.task, section.criteria[column], column, name)


def _ranks(ranking: Ranking, name: str) -> Ranks:
    reference = ranking.reference
    columns = (
        f"Loss against {reference}, %",
        "Won/lost",
        "p, Wilcoxon–Holm",
        "p, Nemenyi",
        "Better/equal/worse, %",
    )
    found = ranking.against(reference).assign(nemenyi=ranking.nemenyi[reference])
    words = {method: _against(of, len(ranking.ranks)) for method, of in found.iterrows()}
    told = [place for place in range(len(columns)) if any(of[place][0] is not None for of in words.values())]
    words[reference] = ((None, "–"),) * len(columns)
    spans = ranking.intervals
    rows = [
        Ranked(
            method,
            rank,
            span(spans.loc[method], ".2f"),
            tuple(ranking.ranks[method]),
            tuple(words[method][place] for place in told),
        )
        for method, rank in ranking.average.items()
    ]
    picture = critical_difference(ranking, name)
    return Ranks(
        tuple(ranking.ranks.index),
        tuple(columns[place] for place in told),
        tuple(rows),
        ranking.friedman,
        tuple(notes(ranking)),
        picture,
        reference,
        forest(ranking),
    )


def _against(of: pd.Series, n_rows: int) -> tuple[tuple[float | None, str], ...]:
    return (
        (of.percent if of.n_ratios else None, effect(of, n_rows)),
        (of.won, f"{of.won:g}/{of.lost:g}"),
        (of.holm, _p_value(of.holm)),
        (of.nemenyi, _p_value(of.nemenyi)),
        (None if math.isnan(of.better) else of.better, probabilities(of)),
    )


def _illustrated(names: list[str], task: str, records: list[Record], name: str) -> tuple[str, tuple[Picture, ...], str]:
    """Name of the first data set that pictures can be made of, these pictures, and else what kept them from it.

    Images, whose trainings take too long, files of one's own, which records do not hold, and large data have none.
    """
    trouble = ""
    for dataset in names if task not in OF_UNSEEN_CLASSES else []:
        if dataset not in DATASETS:
            continue
        first = min((r for r in records if r["dataset"] == dataset), key=lambda r: r.get("seed", 0))
        try:
            return dataset, tuple(illustrations(DATASETS[dataset], first, name)), ""
        except TooLargeError:
            continue
        except Exception as error:  # whatever keeps pictures from being drawn, the tables are worth a page
            trouble = trouble or f"{dataset} could not be drawn: {error}"
    return "", (), trouble


def _sortable(words: str) -> str:
    """Number to sort by of words that are one, and else the words."""
    number = words.replace(",", "")
    return number if re.fullmatch(r"[+-]?\d+(\.\d+)?", number) else words


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:,.2f}" if seconds >= 0.005 else "< 0.01"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _sentence(words: object) -> str:
    """Words with a capital at the beginning."""
    text = str(words)
    return text[:1].upper() + text[1:]
