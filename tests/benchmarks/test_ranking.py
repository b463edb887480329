import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from benchmarks.compare.tasks import TASKS
from benchmarks.show.ranking import rankings
from benchmarks.show.tables import comparison_tables, ranking_tables

CRITERIA = [criterion for criterion in TASKS["multilabel"].criteria if criterion.ranked]
METHODS = ["MLkNN", "PCA + MLkNN", "LDA + MLkNN", "RBF-SVM"]


def record(dataset, method, fold, values, task="multilabel"):
    scores = {criterion.title: float(value) for criterion, value in zip(CRITERIA, values, strict=True)}
    return {"dataset": dataset, "task": task, "method": method, "fold": fold, "scores": scores, "fit_seconds": 1.0}


def made_up(rng, n_datasets=9, n_folds=2):
    values = rng.random((n_datasets, len(METHODS), n_folds, len(CRITERIA)))
    values[:, 3] -= np.array([0.8] * 4 + [-0.8])  # the last method is the best by all criteria
    records = [
        record(f"d{i}", method, fold, values[i, j, fold])
        for i in range(n_datasets)
        for j, method in enumerate(METHODS)
        for fold in range(n_folds)
    ]
    return records, values


def test_ranks(rng):
    records, values = made_up(rng)
    (ranking,) = rankings(records)
    signs = np.array([-criterion.sign for criterion in CRITERIA])
    by_criterion = rankdata(values.mean(2) * signs, axis=1)
    expected = rankdata(by_criterion.mean(2), axis=1)
    np.testing.assert_allclose(ranking.ranks.to_numpy(), expected)
    assert list(ranking.ranks) == METHODS
    assert ranking.average.index[0] == "RBF-SVM"
    assert ranking.average["RBF-SVM"] == 1
    assert ranking.left_out == ()


def test_p_values(rng):
    records, _ = made_up(rng)
    (ranking,) = rankings(records)
    ranks = ranking.ranks.to_numpy()
    n, k = ranks.shape
    chi2 = 12 * n / (k * (k + 1)) * ((ranks.mean(0) - (k + 1) / 2) ** 2).sum()  # Friedman, without ties
    from scipy.stats import chi2 as distribution
    from scipy.stats import studentized_range

    if all(len(set(row)) == k for row in ranks):
        assert ranking.friedman == pytest.approx(distribution.sf(chi2, k - 1))
    gap = abs(ranks.mean(0)[0] - ranks.mean(0)[3]) / np.sqrt(k * (k + 1) / (6 * n))
    assert ranking.nemenyi.loc["MLkNN", "RBF-SVM"] == pytest.approx(
        studentized_range.sf(gap * np.sqrt(2), k, np.inf), abs=1e-3
    )
    raw = np.array([wilcoxon(ranks[:, 3] - ranks[:, j], zero_method="zsplit").pvalue for j in range(3)])
    order = np.argsort(raw)
    holm = np.empty(3)
    holm[order] = np.minimum(1, np.maximum.accumulate(raw[order] * (3 - np.arange(3))))
    np.testing.assert_allclose(ranking.against("RBF-SVM").to_numpy(), np.column_stack([raw, holm]))
    assert (holm < 0.05).all()


def test_failures_leave_a_method_out(rng):
    records, _ = made_up(rng)
    failed = {key: value for key, value in records[2].items() if key != "scores"} | {"error": "broke"}
    (ranking,) = rankings([*records[:2], failed, *records[3:]])
    assert ranking.left_out == ("PCA + MLkNN",)
    assert list(ranking.ranks) == [method for method in METHODS if method != "PCA + MLkNN"]
    (table,) = ranking_tables([*records[:2], failed, *records[3:]])
    assert "PCA + MLkNN" in table.caption
    assert table.row_count == 3


def test_methods_that_are_all_alike():
    records = [record(f"d{i}", method, 0, [0.1] * 5) for i in range(4) for method in METHODS]
    (ranking,) = rankings(records)
    assert ranking.friedman == 1
    assert (ranking.against("MLkNN") == 1).all(axis=None)
    assert (ranking.average == 2.5).all()
    assert ranking_tables(records)


def test_nothing_to_rank(rng):
    records, _ = made_up(rng, n_datasets=1)
    assert rankings(records) == []
    assert rankings([]) == []
    one = [record(f"d{i}", "MLkNN", 0, [0.1] * 5) for i in range(3)]
    assert ranking_tables(one) == []
    two = [record(f"d{i}", method, 0, rng.random(5)) for i in range(3) for method in METHODS[:2]]
    assert np.isnan(rankings(two)[0].friedman)
    assert ranking_tables(two)[0].row_count == 2


def test_metrics_over_all_kinds_of_targets(rng):
    records = []
    for task, dataset in [("multilabel", "a"), ("multilabel", "b"), ("classification", "c")]:
        predictor = TASKS[task].predictor
        for quality, method in enumerate([predictor, f"PCA + {predictor}", "RBF-SVM"]):
            scores = {criterion.title: criterion.sign * float(quality) for criterion in TASKS[task].criteria}
            identity = {"dataset": dataset, "task": task, "method": method, "fold": 0}
            records.append({**identity, "scores": scores, "fit_seconds": 1.0})
    by_task = {ranking.task: ranking for ranking in rankings(records)}
    assert by_task.keys() == {"multilabel", "all targets"}
    assert by_task["all targets"].average.to_dict() == {"RBF-SVM": 1.0, "PCA": 2.0, "no metric": 3.0}
    assert list(by_task["all targets"].ranks.index) == ["a", "b", "c"]


def test_a_method_that_was_not_on_every_fold_is_left_out(rng):
    records, _ = made_up(rng)
    short = [record for record in records if record["method"] != "RBF-SVM" or record["fold"] == 0]
    (ranking,) = rankings(short)
    assert ranking.left_out == ("RBF-SVM",)
    tables = comparison_tables(short)
    assert [str(cell) for cell in tables[0].columns[-1].cells] == ["2 of 2", "2 of 2", "2 of 2", "1 of 2"]
