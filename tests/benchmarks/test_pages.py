"""Figures of the documentation's pages, made of the kept records."""

from functools import cache

import numpy as np
import pytest

from benchmarks.compare.tasks import TASKS
from benchmarks.show.losses import losses, mean_logarithms
from benchmarks.show.ranking import REFERENCE, rankings
from benchmarks.show.results import results, results_by_task
from benchmarks.show.tables import comparison_tables
from tests.benchmarks.evidence import full, kept, markdown, outcomes, page, prose, ranked, text

KINDS = {
    "multilabel": "label sets",
    "label distribution": "distributions",
    "regression": "numbers",
    "classification": "classes",
    "all targets": "all",
}
"""Kinds of targets in the words of the pages."""


def short(task, method):
    """Name that a method has for every kind of target: that of its metric, if it has one before neighbours."""
    if task not in TASKS:
        return method
    return "no metric" if method == TASKS[task].predictor else TASKS[task].short(method)


def ranks(given, reference, rows):
    """Ranks of methods, the best in bold, and their losses against one of them; rows are short names by their words."""
    columns = {KINDS[ranking.task]: _ranks(ranking, reference, rows.values()) for ranking in given}
    return markdown(["", *columns], zip(["data sets, methods", *rows], *columns.values(), strict=True))


def _ranks(ranking, reference, methods):
    names = {short(ranking.task, method): method for method in ranking.ranks}
    percent = ranking.against(names[reference])["percent"]
    lowest = ranking.average.min()
    words = [f"{ranking.ranks.shape[0]}, {ranking.ranks.shape[1]}"]
    for method in (names[name] for name in methods):
        rank = f"{ranking.average[method]:.1f}"
        loss = f", {percent[method]:+z.0f} %" if method in percent else ""
        words.append(f"**{rank}**{loss}" if ranking.average[method] == lowest else f"{rank}{loss}")
    return words


# Which estimator?

CHOSEN = {
    "relational estimators": REFERENCE,
    "kernel ridge regression": "Kernel ridge",
    "`HRAMLTransformer` and soft votes": "HRAML + soft neighbours",
    "CatBoost": "CatBoost",
    "`RAMLLinear` and soft votes": "RAMLLinear + soft neighbours",
    "300 extremely randomised trees": "ExtraTrees",
    "soft votes without a metric": "Soft neighbours",
}


def test_ranks_to_choose_by():
    assert ranks(ranked().values(), REFERENCE, CHOSEN) in page("docs/choose.md")


def test_times_to_choose_by():
    timed = {
        "`RAMLLinear` and `MLkNN`, `AAKNN` or nearest neighbours": "RAMLLinear",
        "`RAMLLinear` and soft votes": "RAMLLinear + soft neighbours",
        "`HRAMLTransformer` and soft votes": "HRAML + soft neighbours",
        "relational estimators": REFERENCE,
        "300 extremely randomised trees": "ExtraTrees",
        "CatBoost": "CatBoost",
        "kernel ridge regression": "Kernel ridge",
    }
    columns = {}
    for task, of_task in results_by_task(full()).items():
        seconds = {method: [] for method in timed.values()}
        for row in (row for result in of_task for row in result.rows if row.means):
            seconds.get(short(task, row.method), []).append(row.seconds)
        columns[KINDS[task]] = [f"{np.median(of_method):.2f}" for of_method in seconds.values()]
    assert markdown(["", *columns], zip(timed, *columns.values(), strict=True)) in page("docs/choose.md")


def test_claims_to_choose_by():
    written = prose("docs/choose.md")
    macro = ranked()["multilabel"].by_criterion["Macro F1 ↑"]
    logistic, chain, relational = (macro[name] for name in ("Logistic regression", "Classifier chain", REFERENCE))
    assert f"(ranks {logistic:.1f} and {chain:.1f} of 20 methods; relational neighbours {relational:.1f})" in written
    assert f"the {15 - len(ranked()['multilabel'].too_slow['CatBoost'])} data sets that it finished" in written


# Which metric

METRICS = {
    "no metric": "no metric",
    "NCA": "NCA",
    "LMNN": "LMNN",
    "GMML": "GMML",
    "`RAMLLinear`": "RAMLLinear",
    "`HRAMLTransformer`": "HRAML",
}
WORDS = {"enron", "medical", "bibtex", "tmc2007-500", "Langlog", "Arts1500", "Business1500"}
CHANGED = {
    "RAMLLinear": {
        '`psd="constrained"`': "RAMLLinear constrained",
        '`solver="krr"`': "RAML-KRR",
        '`solver="svr"`': "RAML-SVR",
    },
    "HRAML": {
        '`encoder="mlp"`, trained under the exact head': "HRAML trained",
        "as published: a perceptron trained on drawn pairs": "HRAML as published",
    },
}


def behind(metrics):
    """Names of the methods that are the same neighbours behind each of some metrics."""
    names = [name for task in KINDS if task in TASKS for name in TASKS[task].methods if short(task, name) in metrics]
    return [name for name in names if "soft" not in name]


@cache
def of_metrics():
    """Rankings of metrics behind the same neighbours, by kind of target."""
    alone = (record for record in full() if record["method"] in behind(METRICS.values()))
    return {ranking.task: ranking for ranking in rankings(alone)}


def test_metrics_behind_the_same_neighbours():
    assert ranks(of_metrics().values(), "no metric", METRICS) in page("docs/results/metrics.md")


def test_claims_of_metrics():
    for task, ranking in of_metrics().items():
        best, second, *_ = (short(task, method) for method in ranking.average.index)
        assert (best, second) == ("HRAML", "GMML" if task == "multilabel" else "RAMLLinear")
    against = of_metrics()["all targets"].against("HRAML")
    assert (against["holm"] < 0.05).all()
    linear = of_metrics()["all targets"].against("RAMLLinear").loc["HRAML"]
    said = f"on {linear.won:.0f} of 31 data sets, by {-linear.percent:.0f} % in the mean"
    assert said in prose("docs/guide/nonlinear.md")
    gains = {result.dataset: gain(result) for result in results(full()) if result.dataset in WORDS}
    assert len(gains) == 7
    assert [name for name, found in gains.items() if found > 4] == ["medical"]


def gain(result):
    """Percent by which the loss of the nonlinear metric is below that of the linear one."""
    rows = [row for row in result.rows if row.method in behind(["RAMLLinear", "HRAML"])]
    logarithms = mean_logarithms(losses(result, rows), rows[0].n_test)
    return 100 * -np.expm1(logarithms["HRAML + MLkNN"] - logarithms["RAMLLinear + MLkNN"])


def changed(metric):
    """Comparison of a metric with its variants, behind the same neighbours and on the same folds."""
    datasets = list(dict.fromkeys(record["dataset"] for record in outcomes("variants")))
    records = kept("full", datasets, behind([metric]), repeats=1)
    records += kept("full", datasets, behind(CHANGED[metric].values()), "variants", repeats=1)
    of_all = next(ranking for ranking in rankings(records) if ranking.task == "all targets")
    assert len(of_all.ranks) == 18
    return of_all.against(metric)


@pytest.mark.parametrize("metric", CHANGED)
def test_variants_of_metrics(metric):
    against = changed(metric)
    rows = [
        [words, f"{of.percent:+.1f} [{of.low:+.1f},{of.high:+.1f}]", f"{of.won:.0f}", f"{of.lost:.0f}"]
        for words, of in ((words, against.loc[method]) for words, method in CHANGED[metric].items())
    ]
    table = markdown(["18 data sets", "loss, in %", "better on", "worse on"], rows)
    assert table in page("docs/results/metrics.md")


def test_claims_of_variants():
    trained = changed("HRAML")
    assert (trained["holm"] < 0.05).all()
    percent = [f"{trained['percent'][name]:.0f} %" for name in ("HRAML trained", "HRAML as published")]
    assert f"two trainings of a perceptron had {' and '.join(percent)} more loss" in prose("docs/guide/nonlinear.md")
    assert (changed("RAMLLinear")["holm"] > 0.05).all()
    of = changed("RAMLLinear").loc["RAMLLinear constrained"]
    said = f"worse on {of.lost:.0f} of 18 data sets, by {of.percent:.0f} % of the loss in the mean"
    assert said in prose("docs/how_it_works.md")


# Official splits and the papers


def test_official_splits():
    splits = ["emotions", "flags", "yeast", "scene"]
    methods = ["MLkNN", "RAMLLinear + MLkNN", "HRAML + MLkNN", "HRAML + soft neighbours", REFERENCE, "ExtraTrees"]
    assert of_papers(comparison_tables(kept("full", splits, methods))) in page("docs/results/papers.md")


def of_papers(tables):
    """Tables of the papers' criteria alone."""
    return text(table for table in tables if "further criteria" not in table.title)
