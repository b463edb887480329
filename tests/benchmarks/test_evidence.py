"""Kept records of the full profile, and what is written of them."""

from pathlib import Path

import numpy as np
import pytest

import benchmarks
from benchmarks.compare import fine_tuning
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


FINE_TUNED = HERE / "evidence/flowers.jsonl.xz"
PRECISIONS = ("MAP@R ↑", "MAP@R joined ↑")


@pytest.fixture(scope="module")
def of_flowers():
    """Records of flowers, by method and seed."""
    found = {}
    for record in filter(is_outcome, read(FINE_TUNED)):
        found.setdefault(record["method"], {})[record["seed"]] = record
    return found


def percents(of_flowers, method, seeds):
    """Mean average precisions in percent, separated and joined, one row for each seed."""
    return np.array([[100 * of_flowers[method][seed]["scores"][title] for title in PRECISIONS] for seed in seeds])


def markdown(header, rows):
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def gains(of_flowers):
    """Rows of DRML over the loss that it is built over: means over seeds, and paired differences ± standard errors."""
    rows = []
    for loss in fine_tuning.LOSSES:
        seeds = sorted(of_flowers[loss].keys() & of_flowers[f"DRML-{loss}"].keys())
        plain, drml = (percents(of_flowers, method, seeds) for method in (loss, f"DRML-{loss}"))
        errors = (drml - plain).std(0, ddof=1) / np.sqrt(len(seeds))
        means = [f"{separated:.1f} / {joined:.1f}" for separated, joined in (plain.mean(0), drml.mean(0))]
        differences = [f"{mean:+.1f} ± {error:.1f}" for mean, error in zip((drml - plain).mean(0), errors, strict=True)]
        rows.append([loss, *means, *differences])
    return rows


def of_first_seed(of_flowers, methods):
    """Precisions of the first seed, separated and joined, of methods that have it."""
    return ["{:.1f} / {:.1f}".format(*percents(of_flowers, method, [0])[0]) for method in methods]


def test_tables_of_fine_tuning_are_those_of_the_records(of_flowers):
    written = (HERE / "FINE_TUNING.md").read_text(encoding="utf-8")
    main = [name for name in fine_tuning.METHODS if ", paper" not in name and ", code" not in name]
    records = [record for method in main for record in of_flowers[method].values()]
    assert {record["seed"] for record in records} == {0, 1, 2}
    assert text(comparison_tables(records)) in written
    header = ["MAP@R, separated / joined", "plain", "DRML", "difference, separated", "joined"]
    assert markdown(header, gains(of_flowers)) in written
    readings = [
        [loss, *of_first_seed(of_flowers, [loss, *(f"DRML-{loss}{reading}" for reading in ("", ", paper", ", code"))])]
        for loss in fine_tuning.LOSSES
    ]
    assert markdown(["First seed", "plain", "DRML", "paper", "code"], readings) in written
    changes = [name for name in fine_tuning.ON_REQUEST if name in of_flowers]
    assert markdown(["First seed", "MAP@R"], zip(changes, of_first_seed(of_flowers, changes), strict=True)) in written
