from time import perf_counter

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from benchmarks.compare.tasks import TASKS, Criterion
from benchmarks.data.sources import FAMILIES
from benchmarks.show.ranking import REFERENCE, rankings
from benchmarks.show.tables import comparison_tables, criterion_tables, ranking_tables, summary_tables

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
    assert ranking.left_out == {}


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
    assert ranking.log_losses is None, "some losses are below 0, so the test is on ranks"
    found = ranking.against("RBF-SVM")
    np.testing.assert_allclose(found[["p", "holm"]].to_numpy(), np.column_stack([raw, holm]))
    assert found[["percent", "low", "high", "better", "equal", "worse"]].isna().all(axis=None)
    assert (found["n_ratios"] == 0).all()
    assert (found["lost"] == 9).all()
    assert (holm < 0.05).all()


def test_failures_leave_a_method_out(rng):
    records, _ = made_up(rng)
    failed = {key: value for key, value in records[2].items() if key != "scores"} | {"error": "broke"}
    (ranking,) = rankings([*records[:2], failed, *records[3:]])
    assert ranking.left_out == {"PCA + MLkNN": "failed on d0"}
    assert list(ranking.ranks) == [method for method in METHODS if method != "PCA + MLkNN"]
    (table,) = ranking_tables(rankings([*records[:2], failed, *records[3:]]))
    assert "Left out: PCA + MLkNN (failed on d0)." in table.caption
    assert len(table.rows) == 3


def test_methods_that_are_all_alike():
    records = [record(f"d{i}", method, 0, [0.1] * 5) for i in range(4) for method in METHODS]
    (ranking,) = rankings(records)
    assert ranking.friedman == 1
    found = ranking.against("MLkNN")
    assert (found[["p", "holm"]] == 1).all(axis=None)
    assert (found[["won", "lost", "percent"]] == 0).all(axis=None)
    assert (found["equal"] > 0.99).all()
    assert (ranking.average == 2.5).all()
    assert ranking_tables(rankings(records))


def test_nothing_to_rank(rng):
    records, _ = made_up(rng, n_datasets=1)
    assert rankings(records) == []
    assert rankings([]) == []
    one = [record(f"d{i}", "MLkNN", 0, [0.1] * 5) for i in range(3)]
    assert ranking_tables(rankings(one)) == []
    two = [record(f"d{i}", method, 0, rng.random(5)) for i in range(3) for method in METHODS[:2]]
    assert np.isnan(rankings(two)[0].friedman)
    assert len(ranking_tables(rankings(two))[0].rows) == 2


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
    assert ranking.left_out == {"RBF-SVM": "not run on all folds of d0, d1, d2 and 6 more"}
    tables = comparison_tables(short)
    assert [row[-1].text for row in tables[0].rows] == ["2 of 2", "2 of 2", "2 of 2", "1 of 2"]


# Families, and what is too slow

METHODS_OF_ALL = [*METHODS, REFERENCE]
SETS = ["Yeast_alpha", "d0", "Yeast_cdc", "d1", "Arts1500", "Business1500", "d2", "d3"]


def too_slow(record):
    return {key: value for key, value in record.items() if key != "scores"} | {"error": "Timeout", "too_slow": True}


def many(rng, sets=SETS, methods=METHODS_OF_ALL, n_test=50):
    values = {name: {method: rng.uniform(0.1, 0.9, len(CRITERIA)) for method in methods} for name in sets}
    records = [record(name, m, 0, values[name][m]) | {"n_test": n_test} for name in sets for m in methods]
    slow = {("d1", "RBF-SVM"), ("d1", "MLkNN"), ("Yeast_cdc", "MLkNN")}
    return [too_slow(r) if (r["dataset"], r["method"]) in slow else r for r in records], values, slow


def by_definition(values, slow):
    """Ranks and mean log losses of each row, one number after another."""
    ranks, logs = {}, {}
    for name, of_set in values.items():
        places = {method: [] for method in of_set}
        for k, criterion in enumerate(CRITERIA):
            loss = {
                m: np.inf if (name, m) in slow else v[k] if criterion.sign < 0 else 1 - v[k] for m, v in of_set.items()
            }
            for m in of_set:
                better = sum(loss[o] < loss[m] for o in of_set)
                same = sum(loss[o] == loss[m] for o in of_set)
                places[m].append(better + (same + 1) / 2)
                logs.setdefault(name, {}).setdefault(m, []).append(np.log(loss[m]))
        ranks[name] = place({m: np.mean(of_method) for m, of_method in places.items()})
        logs[name] = {m: np.nan if (name, m) in slow else np.mean(of_method) for m, of_method in logs[name].items()}
    rows = {}
    for name in values:
        rows.setdefault(FAMILIES.get(name, name), []).append(name)
    together = {
        row: place({m: np.mean([ranks[name][m] for name in names]) for m in METHODS_OF_ALL})
        for row, names in rows.items()
    }
    return together, {
        row: {m: np.mean([logs[name][m] for name in names]) for m in METHODS_OF_ALL} for row, names in rows.items()
    }


def place(of):
    return {m: sum(o < of[m] for o in of.values()) + (sum(o == of[m] for o in of.values()) + 1) / 2 for m in of}


def test_families_count_once_and_too_slow_is_last(rng):
    records, values, slow = many(rng)
    (ranking,) = rankings(records)
    ranks, logs = by_definition(values, slow)
    assert sorted(ranking.ranks.index) == sorted(ranks) == ["Yahoo", "Yeast", "d0", "d1", "d2", "d3"]
    ranks = {row: ranks[row] for row in ranking.ranks.index}
    for row in ranks:
        assert ranking.ranks.loc[row].to_dict() == pytest.approx(ranks[row])
        assert ranking.log_losses.loc[row].to_dict() == pytest.approx(logs[row], nan_ok=True)
    assert ranking.ranks.loc["d1", ["RBF-SVM", "MLkNN"]].tolist() == [4.5, 4.5]
    assert ranking.too_slow == {"MLkNN": ("Yeast_cdc", "d1"), "RBF-SVM": ("d1",)}
    assert ranking.families == {"Yeast": ("Yeast_alpha", "Yeast_cdc"), "Yahoo": ("Arts1500", "Business1500")}
    assert ranking.n_datasets == 8
    assert ranking.left_out == {}
    (table,) = ranking_tables(rankings(records))
    for words in (
        "8 data sets count as 6, since those of a family are one (",
        "Yeast: Yeast_alpha, Yeast_cdc",
        "Too slow, so last, lost and without a ratio: MLkNN on Yeast_cdc, d1; RBF-SVM on d1.",
        "against Relational neighbours",
    ):
        assert words in table.caption
    (line,) = (row for row in table.rows if row[0].text == "MLkNN")
    assert line[2].text.endswith("in 4 of 6")
    assert [row[-1].text for row in comparison_tables(records)[3].rows][:1] == ["0 of 1"]
    assert comparison_tables(records)[3].rows[0][1].text == "too slow"


def test_one_of_a_family_keeps_its_name(rng):
    records, _, _ = many(rng, ["Yeast_alpha", "d0"])
    (ranking,) = rankings(records)
    assert list(ranking.ranks.index) == ["Yeast_alpha", "d0"]
    records, _, _ = many(rng, ["Yeast_alpha", "Yeast_cdc"])
    assert rankings(records) == [], "a family is one row"


def test_too_slow_differences_are_the_largest(rng):
    records, _, _ = many(rng)
    (ranking,) = rankings(records)
    differences = ranking.differences("MLkNN", REFERENCE)
    others = differences.drop(["Yeast", "d1"])
    assert (differences[["Yeast", "d1"]] > others.abs().max()).all()
    assert (ranking.differences(REFERENCE, "MLkNN") == -differences).all()
    assert ranking.differences("MLkNN", "RBF-SVM")["d1"] == 0, "both were"
    found = ranking.against(REFERENCE)
    assert found["p"]["MLkNN"] == pytest.approx(wilcoxon(differences, zero_method="zsplit").pvalue)
    assert found["lost"]["MLkNN"] == 2 + (others > 0).sum()
    assert found["won"]["MLkNN"] == (others < 0).sum()


def test_other_failures_leave_out_what_was_also_too_slow(rng):
    records, _, _ = many(rng)
    broken = too_slow(record("d1", "MLkNN", 0, [0.5] * 5)) | {"error": "broke", "too_slow": False}
    (ranking,) = rankings([*records, broken])
    assert ranking.left_out == {"MLkNN": "failed on d1"}
    assert ranking.too_slow == {"RBF-SVM": ("d1",)}


def test_log_ratios_by_hand():
    both = {
        "a": ([0.2, 0.2, 0.2, 2.0, 0.9], [0.1, 0.4, 0.2, 1.0, 0.8]),
        "b": ([0.0] * 4 + [1.0], [0.5, *[0.01] * 3, 0.99]),
    }
    records = [
        record(name, method, 0, values[k]) | {"n_test": 25}
        for name, values in both.items()
        for k, method in enumerate([REFERENCE, "MLkNN"])
    ]
    (ranking,) = rankings(records)
    found = ranking.against(REFERENCE).loc["MLkNN"]
    in_a = (np.log(1 / 2) + np.log(2) + 0 + np.log(1 / 2) + np.log(2)) / 5
    half_a_sample = 1 / (2 * 25)  # what no loss at all counts as, but where another method loses less than one sample
    in_b = (np.log(0.5 / half_a_sample) + 4 * np.log(2)) / 5
    assert ranking.differences("MLkNN", REFERENCE).tolist() == pytest.approx([in_a, in_b])
    assert found["percent"] == pytest.approx(100 * (np.exp((in_a + in_b) / 2) - 1))
    assert np.isnan(found["low"])
    back = ranking.against("MLkNN").loc[REFERENCE]
    assert (1 + back["percent"] / 100) * (1 + found["percent"] / 100) == pytest.approx(1)
    assert (back["won"], back["lost"]) == (found["lost"], found["won"])
    unknown = [{key: value for key, value in r.items() if key != "n_test"} for r in records]
    assert rankings(unknown)[0].log_losses is None, "what half a sample is, no record says"


def test_criteria_that_are_only_shown_do_not_rank(rng, monkeypatch):
    records, _, _ = many(rng)
    shown = TASKS["multilabel"]._replace(criteria=(*CRITERIA, Criterion("Shown ↑", "shown", 1, False)))
    monkeypatch.setitem(TASKS, "multilabel", shown)
    more = [r | {"scores": r["scores"] | {"Shown ↑": rng.random()}} if "scores" in r else r for r in records]
    (with_it,) = rankings(more)
    monkeypatch.undo()
    (without,) = rankings(records)
    assert with_it.ranks.equals(without.ranks)
    assert with_it.log_losses.equals(without.log_losses)


def test_effect_is_found_and_has_its_direction(rng):
    records = []
    for k in range(12):
        losses = rng.uniform(0.2, 0.4, len(CRITERIA))
        for method, factor in [("worse", 1.1), (REFERENCE, 1.0), ("better", 0.9), ("same", 1.001)]:
            of_method = losses * factor * rng.uniform(0.995, 1.005)
            scores = [1 - loss if c.sign > 0 else loss for c, loss in zip(CRITERIA, of_method, strict=True)]
            records.append(record(f"d{k}", method, 0, scores))
    (ranking,) = rankings(records)
    assert ranking.reference == REFERENCE
    assert ranking.average.index[0] == "better"
    found = ranking.against(REFERENCE)
    assert found["percent"].to_dict() == pytest.approx({"worse": 10, "better": -10, "same": 0.1}, abs=0.5)
    assert (found["low"] < found["percent"]).all()
    assert (found["percent"] < found["high"]).all()
    assert found.loc["worse", ["won", "lost"]].tolist() == [0, 12]
    assert found.loc["better", ["won", "lost"]].tolist() == [12, 0]
    likely = found[["better", "equal", "worse"]].idxmax(axis=1)
    assert likely.to_dict() == {"worse": "worse", "better": "better", "same": "equal"}
    intervals = ranking.intervals
    assert intervals.loc["better"].tolist() == [1, 1]
    assert (intervals["low"] <= ranking.ranks.mean()).all()
    assert (intervals["high"] >= ranking.ranks.mean()).all()


def test_many_methods_on_many_data_sets_take_seconds(rng):
    methods = [f"m{k}" for k in range(30)]
    sets = [f"d{k}" for k in range(40)]
    records = [record(name, m, 0, rng.uniform(0.1, 0.9, 5)) for name in sets for m in methods]
    start = perf_counter()
    (table,) = ranking_tables(rankings(records))
    assert perf_counter() - start < 15, "three seconds on an idle machine"
    assert len(table.rows) == 30


def test_ranks_by_further_criteria(rng):
    criteria = TASKS["multilabel"].criteria
    values = rng.random((4, len(METHODS), len(criteria)))
    records = [
        record(f"d{i}", method, 0, values[i, j, :5])
        | {"scores": dict(zip((criterion.title for criterion in criteria), map(float, values[i, j]), strict=True))}
        for i in range(4)
        for j, method in enumerate(METHODS)
    ]
    (ranking,) = rankings(records)
    expected = rankdata(values * [-criterion.sign for criterion in criteria], axis=1).mean(0)
    np.testing.assert_allclose(ranking.by_criterion.loc[METHODS], expected)
    (table,) = criterion_tables(rankings(records))
    assert len(table.columns) == len(criteria) - 5 + 1
    best = [[row[0].text for row in table.rows if row[k].style == "bold"] for k in range(1, len(table.columns))]
    assert [set(of) for of in best] == [{METHODS[k] for k in np.flatnonzero(r == r.min())} for r in expected.T[5:]]
    del records[0]["scores"]["PSP@5 ↑"]
    assert "PSP@5 ↑" not in rankings(records)[0].by_criterion
    few = [each | {"scores": {c.title: each["scores"][c.title] for c in CRITERIA}} for each in records]
    assert criterion_tables(rankings(few)) == []


def test_a_task_that_all_methods_are_left_out_of_has_no_ranking(rng):
    titles = [criterion.title for criterion in TASKS["label distribution"].criteria]
    broken_off = made_up(rng, 2)[0] + [
        record(dataset, method, 0, rng.random(5))
        | {"task": "label distribution", "scores": dict(zip(titles, rng.random(6), strict=True))}
        for dataset, method in (("Movie", "ExtraTrees"), ("Natural_Scene", "Ridge"))
    ]
    assert [ranking.task for ranking in rankings(broken_off)] == ["multilabel"]
    assert all(table.rows for table in summary_tables(broken_off))
    failed = [{"error": "it broke"} | each for each in made_up(rng, 2)[0]]
    for each in failed:
        del each["scores"]
    assert summary_tables(failed) == []
