"""Kept records of the full profile, and what is written of them."""

from pathlib import Path

import numpy as np
import pytest

import benchmarks
from benchmarks.compare.cells import cells, shown
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.records import is_outcome, read
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS
from benchmarks.show.formats import exported
from benchmarks.show.ranking import REFERENCE, rankings
from benchmarks.show.results import results
from benchmarks.show.tables import comparison_tables, headline_tables, summary_tables

HERE = Path(benchmarks.__file__).parent
RECORDS = HERE / "evidence/full.jsonl.xz"
README = HERE.parent / "README.md"
MARK = "<!-- tables -->\n\n"


FULL = PROFILES["full"]


def kept(names, keep_groups=True):
    """Kept records of some data sets of the profile, as the command line shows them."""
    planned = [
        cell
        for source in (DATASETS[name] for name in names)
        for cell in cells(
            source, FULL.methods(TASKS[source.task]), FULL.settings(source)._replace(keep_groups=keep_groups)
        )
    ]
    return shown(planned, list(filter(is_outcome, read(RECORDS))))


@pytest.fixture(scope="module")
def records():
    """Records of the whole profile."""
    return kept(FULL.datasets)


def test_records_are_kept_small_and_of_every_data_set(records):
    assert RECORDS.stat().st_size < 3_000_000
    assert {record["dataset"] for record in records} == set(FULL.datasets)


def text(tables):
    return "\n\n".join(exported(table, "markdown") for table in tables) + "\n"


def test_results_are_those_of_the_records(records):
    _, summary, faces, bibtex = (HERE / "RESULTS.md").read_text(encoding="utf-8").split(MARK)
    assert summary.startswith(text(summary_tables(records)))
    photographs = ["SBU_3DFE", "FG-Net"]
    together = comparison_tables([record for record in records if record["dataset"] in photographs])
    parted = comparison_tables(kept(photographs, keep_groups=False))
    assert faces.startswith(text(table for pair in zip(together, parted, strict=True) for table in pair))
    assert bibtex == text(comparison_tables(record for record in records if record["dataset"] == "bibtex"))


def test_the_table_of_the_readme_is_that_of_the_records(records):
    (headline,) = headline_tables(rankings(records))
    table = exported(headline, "markdown").split("\n\n")[1]
    assert table in README.read_text(encoding="utf-8")


def test_claims_of_the_readme(records):
    ranked = {ranking.task: ranking for ranking in rankings(records)}
    for task in ("multilabel", "label distribution", "regression", "all targets"):
        assert ranked[task].average.index[0] == REFERENCE
    for task in ("multilabel", "all targets"):
        others = ranked[task].against(REFERENCE)
        assert (others["holm"] < 0.05).all()
        assert (others["percent"] > 0).all()
    for task in ("label distribution", "regression"):
        assert len(ranked[task].ranks) == 6
    numbers = ranked["regression"].against(REFERENCE)
    assert numbers.loc[["Kernel ridge", "CatBoost"], "percent"].abs().max() < 2
    classes = ranked["classification"]
    assert classes.average.index[0] == "HRAML + soft neighbours"
    assert (classes.against("HRAML + soft neighbours")["holm"] > 0.05).all()
    by_criterion = ranked["multilabel"].by_criterion
    for method in ("Logistic regression", "Classifier chain"):
        assert by_criterion.loc[method, "Macro F1 ↑"] < by_criterion.loc[REFERENCE, "Macro F1 ↑"]
    assert by_criterion["Samples F1 ↑"].idxmin() == "HRAML + MLkNN"
    assert set(ranked["multilabel"].too_slow["CatBoost"]) == {"Langlog", "Corel5k", "bibtex"}


def test_times_of_the_readme(records):
    results_of = [result for result in results(records) if result.task == "multilabel"]

    def median(method):
        return np.median([row.seconds for result in results_of for row in result.rows if row.method == method])

    assert 1.5 < median(REFERENCE) / median("ExtraTrees") < 2.5
    slow = [row.seconds for result in results_of for row in result.rows if row.method == "CatBoost" and row.means]
    assert median(REFERENCE) < np.median(slow) / 2
