"""Figures of the documentation's pages, made of the kept records."""

from functools import cache

import numpy as np
import pytest

from benchmarks.compare.tasks import TASKS
from benchmarks.show.losses import losses, mean_logarithms
from benchmarks.show.published import PAPER, best
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


TIMED = {
    "`RAMLLinear` and `MLkNN`, `AAKNN` or nearest neighbours": "RAMLLinear",
    "`RAMLLinear` and soft votes": "RAMLLinear + soft neighbours",
    "`HRAMLTransformer` and soft votes": "HRAML + soft neighbours",
    "relational estimators": REFERENCE,
    "300 extremely randomised trees": "ExtraTrees",
    "CatBoost": "CatBoost",
    "kernel ridge regression": "Kernel ridge",
}


@cache
def seconds():
    """Median over data sets of the time of a fit, by kind of target and method."""
    found = {task: {name: [] for name in TIMED.values()} for task in results_by_task(full())}
    for result in results(full()):
        for row in result.rows:
            if row.means and short(result.task, row.method) in TIMED.values():
                found[result.task][short(result.task, row.method)].append(row.seconds)
    return {task: {name: np.median(times) for name, times in of_task.items()} for task, of_task in found.items()}


def test_times_to_choose_by():
    columns = {KINDS[task]: [f"{median:.2f}" for median in of_task.values()] for task, of_task in seconds().items()}
    assert markdown(["", *columns], zip(TIMED, *columns.values(), strict=True)) in page("docs/choose.md")
    ratios = [of_task[REFERENCE] / of_task["HRAML + soft neighbours"] for of_task in seconds().values()]
    assert 3 < min(ratios) < max(ratios) < 5
    assert "three to five times that of `HRAMLTransformer` and soft votes" in prose("docs/guide/neighbours.md")


def test_claims_to_choose_by():
    written = prose("docs/choose.md")
    assert [len(of_task) for of_task in results_by_task(full()).values()] == [15, 7, 6, 5]
    assert "15 sets of labels, seven of distributions, six of numbers and five of classes" in written
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
        first, second, *_ = (short(task, method) for method in ranking.average.index)
        assert (first, second) == ("HRAML", "GMML" if task == "multilabel" else "RAMLLinear")
    against = of_metrics()["all targets"].against("HRAML")
    assert (against["holm"] < 0.05).all()
    linear = of_metrics()["all targets"].against("RAMLLinear").loc["HRAML"]
    said = f"on {linear.won:.0f} of 31 data sets, by {-linear.percent:.0f} % in the mean"
    assert said in prose("docs/guide/nonlinear.md")
    gains = {result.dataset: gain(result) for result in results(full()) if result.dataset in WORDS}
    assert len(gains) == len(WORDS) == 7
    assert [name for name, found in gains.items() if found > 4] == ["medical"]
    assert "gains more than 4 % over `RAMLLinear` on one, medical" in prose("docs/results/metrics.md")


def gain(result):
    """Percent by which the loss of the nonlinear metric is below that of the linear one."""
    rows = [row for row in result.rows if row.method in behind(["RAMLLinear", "HRAML"])]
    logarithms = mean_logarithms(losses(result, rows), rows[0].n_test)
    return 100 * -np.expm1(logarithms["HRAML + MLkNN"] - logarithms["RAMLLinear + MLkNN"])


def changed(metric):
    """Comparison of a metric with its variants, behind the same neighbours and on the same folds."""
    datasets = list(dict.fromkeys(record["dataset"] for record in outcomes("variants")))
    records = kept("full", datasets, behind([metric, *CHANGED[metric].values()]), "variants", repeats=1)
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


def of_papers(records, **options):
    """Tables of the papers' criteria alone."""
    return text(table for table in comparison_tables(records, **options) if "further criteria" not in table.title)


OFFICIAL = ["emotions", "flags", "yeast", "scene"]


def test_official_splits():
    methods = ["MLkNN", "RAMLLinear + MLkNN", "HRAML + MLkNN", "HRAML + soft neighbours", REFERENCE, "ExtraTrees"]
    records = kept("full", OFFICIAL, methods)
    assert of_papers(records) in page("docs/results/papers.md")
    bests = {
        result.dataset: [
            {row.method for row in result.rows if row.means[criterion.title] == result.best(criterion)}
            for criterion in result.criteria
        ]
        for result in results(records)
    }
    assert bests.pop("emotions") == [{"ExtraTrees"}] * 5
    others = [methods for of_dataset in bests.values() for methods in of_dataset]
    assert (sum(REFERENCE in methods for methods in others), len(others)) == (9, 15)
    assert "relational neighbours are the best by nine of fifteen criteria" in prose("docs/results/papers.md")
    assert all(any(name.startswith("HRAML") for name in methods) for methods in others if REFERENCE not in methods)


def test_tables_of_the_paper():
    written = page("docs/results/papers.md")
    assert of_papers(kept("paper", OFFICIAL[:2]), paper=True) in written
    assert of_papers(kept("paper", ["Natural_Scene"], search=False), paper=True) in written


def beaten(result):
    """Criteria by which each method beats the best of the paper."""
    signs = {criterion.title: criterion.sign for criterion in result.criteria}
    of_paper = best(result.dataset).items()
    return {
        row.method: [title for title, figure in of_paper if signs[title] * (row.means[title] - figure) > 0]
        for row in result.rows
    }


def test_claims_beside_the_paper():
    emotions, flags = map(beaten, results(kept("paper", OFFICIAL[:2])))
    assert {method for method, titles in flags.items() if len(titles) == 5} == {
        REFERENCE,
        "HRAML + MLkNN",
        "HRAML + soft neighbours",
    }
    assert max(map(len, emotions.values())) == len(emotions["Vote of metrics + MLkNN"]) == 4
    linear = emotions["RAMLLinear + soft neighbours"]
    assert len(linear) == 3
    assert set(linear) - set(emotions["Vote of metrics + MLkNN"]) == {"One-error ↓"}
    assert len(emotions[REFERENCE]) == 1
    written = prose("docs/results/papers.md")
    for method in ("HRAML as published + MLkNN", "RAML-KRR + MLkNN"):
        for result in results(kept("paper", OFFICIAL[:2], [method])):
            figures = result.rows[0].means["Average precision ↑"], PAPER[result.dataset][method]["Average precision ↑"]
            assert " for ".join(f"{figure:.3f}"[1:] for figure in figures) in written
    (scenes,) = map(beaten, results(kept("paper", ["Natural_Scene"], search=False)))
    assert [len(scenes[method]) for method in ("AAKNN", "RAMLLinear + AAKNN", "HRAML + AAKNN")] == [4, 5, 5]
    for method in ("RAMLLinear + soft neighbours", "HRAML + soft neighbours"):
        assert set(scenes["HRAML + AAKNN"]) - set(scenes[method]) == {"Clark ↓", "Canberra ↓"}


def test_claims_of_the_search():
    methods = ["MLkNN", "NCA + MLkNN", "RAMLLinear + MLkNN", "HRAML + MLkNN"]
    methods += ["RAMLLinear + soft neighbours", "HRAML + soft neighbours"]
    searched, by_default = (results(kept(profile, OFFICIAL[:2], methods)) for profile in ("paper", "full"))
    emotions, flags = (
        np.subtract(*(mean_logarithms(losses(result, list(result.rows)), 0) for result in pair))
        for pair in zip(searched, by_default, strict=True)
    )
    assert ((emotions < 0).sum(), (flags > 0).sum(), len(methods)) == (5, 5, 6)
    better, worse = (abs(100 * np.expm1(ratios.mean())) for ratios in (emotions, flags))
    written = prose("docs/results/papers.md")
    assert f"it made five of six better on emotions, by {better:.0f} % of the loss in the mean" in written
    assert f"five of six worse on flags, by {worse:.0f} %" in written
