"""Cells: folds of every kind of target, official splits, and searches within the training part."""

from typing import ClassVar

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from benchmarks.compare import cells as cells_module
from benchmarks.compare import runs
from benchmarks.compare.cells import HELD_OUT, INNER_FOLDS, OFFICIAL, Settings, cells, splits
from benchmarks.compare.methods import Method
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS, DataSet, load, own_source
from benchmarks.show.tables import comparison_tables
from skrelmetric import MLkNN, RAMLLinear
from skrelmetric.datasets import load_emotions
from skrelmetric.metrics import label_propensities, propensity_scored_precision_at_k
from tests.benchmarks.comparison import EMOTIONS


class Watching(RAMLLinear):
    sizes: ClassVar[list] = []

    def fit(self, X, y):
        self.sizes.append(len(X))
        return super().fit(X, y)


def test_folds_are_shared_stratified_and_disjoint():
    methods = list(TASKS["multilabel"].methods)
    comparison = cells(EMOTIONS, methods, Settings(5, 2))
    assert len(comparison) == 5 * 2 * len(methods)
    Y = load(EMOTIONS).Y
    for repeat in range(2):
        tests = {cell.fold: cell.test for cell in comparison if cell.repeat == repeat}
        assert sorted(np.concatenate(list(tests.values()))) == list(range(len(Y)))
        for test in tests.values():
            np.testing.assert_allclose(Y[test].mean(0), Y.mean(0), atol=0.02)
    for cell in comparison:
        assert not set(cell.train) & set(cell.test)
        assert np.array_equal(
            cell.test, next(c.test for c in comparison if (c.repeat, c.fold) == (cell.repeat, cell.fold))
        )


def test_official_split():
    comparison = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    assert [(len(cell.train), len(cell.test)) for cell in comparison] == [(391, 202)]
    scores = runs.run_cell(comparison[0])["scores"]
    assert scores["Average precision ↑"] == pytest.approx(0.7839, abs=5e-5)


def test_label_distributions_have_their_own_criteria(data_home, monkeypatch):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    source = DATASETS["Yeast_alpha"]
    comparison = cells(source, ["AAKNN", "RAMLLinear + AAKNN"], Settings(2, 1))
    records = [runs.run_cell(cell) for cell in comparison]
    assert all(len(record["scores"]) == 6 for record in records)
    assert len(comparison_tables(records)) == 1
    with pytest.raises(ValueError, match="Yeast_alpha has no official split"):
        splits(source, Settings(OFFICIAL, 1))


def test_the_official_split_is_repeated_with_other_seeds():
    comparison = cells(EMOTIONS, ["RAML-SVR + MLkNN"], Settings(OFFICIAL, 3, seed=5))
    assert [cell.seed for cell in comparison] == [5, 6, 7]
    assert [cell.model().get_params()["metric__random_state"] for cell in comparison] == [5, 6, 7]
    assert {(len(cell.train), len(cell.test)) for cell in comparison} == {(391, 202)}


def test_search_stays_in_the_training_part(tmp_path, monkeypatch):
    monkeypatch.setattr(Watching, "sizes", seen := [])
    grid = {"metric__alpha": [1.0, 1e6]}
    build = lambda seed: Pipeline([("metric", Watching()), ("predictor", MLkNN())])  # noqa: E731
    monkeypatch.setitem(TASKS["multilabel"].methods, "RAMLLinear + MLkNN", Method(build, grid))
    (cell,) = cells(EMOTIONS, ["RAMLLinear + MLkNN"], Settings(OFFICIAL, 1, search=True))
    record = runs.run_cell(cell)
    assert record["chosen"] in ({"metric__alpha": 1.0}, {"metric__alpha": 1e6})
    assert record["grid"] == grid
    assert 0 < record["fit_seconds"] < record["search_seconds"]
    assert seen[-1] == 391
    assert len(seen) == 1 + len(grid["metric__alpha"]) * INNER_FOLDS
    assert all(len_inner < 391 for len_inner in seen[:-1])
    X, Y, n_train, _ = load(EMOTIONS)
    expected = cell.model().fit(X[:n_train], Y[:n_train])
    assert expected.best_params_ == record["chosen"]


def test_search_fits_a_metric_once_for_all_numbers_of_neighbours(monkeypatch):
    monkeypatch.setattr(Watching, "sizes", fits := [])
    build = lambda seed: Pipeline([("metric", Watching()), ("predictor", MLkNN())])  # noqa: E731
    grid = {"predictor__n_neighbors": [1, 5, 10, 20]}
    monkeypatch.setitem(TASKS["multilabel"].methods, "RAMLLinear + MLkNN", Method(build, grid))
    (cell,) = cells(EMOTIONS, ["RAMLLinear + MLkNN"], Settings(OFFICIAL, 1, search=True))
    runs.run_cell(cell)
    assert len(fits) == INNER_FOLDS + 1


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_have_folds_for_every_data_set(profile, tmp_path):
    path = tmp_path / "mine.csv"
    load_emotions(as_frame=True).frame.to_csv(path, index=False)
    settings = PROFILES[profile].settings
    for source in (own_source(str(path), 6), EMOTIONS, DATASETS["wine"]):
        assert cells(source, TASKS[source.task].up_to("quick")[:1], settings(source))


@pytest.mark.parametrize("name", ["emotions", "wine"])
def test_a_third_is_held_out(name):
    source = DATASETS[name]
    Y = load(source).Y
    found = splits(source, Settings(HELD_OUT, 3, seed=4))
    for train, test in found:
        assert sorted([*train, *test]) == list(range(len(Y)))
        assert len(test) == pytest.approx(len(Y) / 3, rel=0.05)
        targets = Y if Y.ndim > 1 else np.eye(Y.max() + 1)[Y]
        np.testing.assert_allclose(targets[test].mean(0), targets.mean(0), atol=0.02)
    tests = [test.tolist() for _, test in found]
    assert tests[0] != tests[1] != tests[2]
    fewer, others = (splits(source, Settings(HELD_OUT, 1, seed=seed)) for seed in (4, 5))
    assert fewer[0][1].tolist() == tests[0], "more repeats leave the first as it was"
    assert others[0][1].tolist() != tests[0]
    comparison = cells(source, [TASKS[source.task].predictor], Settings(HELD_OUT, 3))
    assert [(cell.repeat, cell.fold) for cell in comparison] == [(0, 0), (1, 0), (2, 0)]


def test_other_targets_are_held_out_as_their_folds_are(monkeypatch):
    y = np.repeat(np.arange(9), 4)
    loaded = {"label distribution": np.full((30, 2), 0.5), "retrieval": y}
    for task, targets in loaded.items():
        monkeypatch.setattr(cells_module, "load", lambda _, Y=targets: DataSet(np.zeros((len(Y), 2)), Y))
        source = next(source for source in DATASETS.values() if source.task == task)
        ((train, test),) = splits(source, Settings(HELD_OUT, 1))
        assert sorted([*train, *test]) == list(range(len(targets)))
        assert len(test) == len(targets) / 3
    assert not set(y[train]) & set(y[test]), "classes to retrieve were never seen"


def test_only_the_large_profile_has_the_huge_data_set():
    assert [name for name, profile in PROFILES.items() if "imdb" in profile.datasets] == ["large"]
    assert set(PROFILES["full"].datasets) == set(DATASETS) - {"omniglot", "flowers102", "imdb"}
    for task in TASKS.values():
        assert PROFILES["large"].methods(task)[0] == task.predictor
    assert PROFILES["large"].methods(TASKS["multilabel"]) == ["MLkNN", "RAMLLinear + MLkNN"]


def test_samples_of_a_group_stay_together(monkeypatch):
    persons = np.repeat(np.arange(12), 5)
    data = DataSet(np.zeros((60, 2)), np.full((60, 2), 0.5), groups=persons)
    monkeypatch.setattr(cells_module, "load", lambda _: data)
    source = DATASETS["Yeast_alpha"]
    for settings in (Settings(3, 2), Settings(HELD_OUT, 2)):
        for train, test in splits(source, settings):
            assert sorted([*train, *test]) == list(range(60))
            assert not set(persons[train]) & set(persons[test])
    for train, test in splits(source, Settings(3, 1, keep_groups=False)):
        assert set(persons[train]) & set(persons[test])


def test_at_most_so_many_samples_are_drawn():
    settings = Settings(3, 1, most_samples=150)
    for (train, test), (all_train, all_test) in zip(
        splits(EMOTIONS, settings), splits(EMOTIONS, settings._replace(most_samples=None)), strict=True
    ):
        assert len(train) == len(test) == 150 < len(all_test)
        assert set(train) < set(all_train)
        assert set(test) < set(all_test)
    assert np.array_equal(splits(EMOTIONS, settings)[2][0], splits(EMOTIONS, settings)[2][0])


def test_criteria_of_more_labels_than_there_are_are_left_out(tmp_path):
    path = tmp_path / "mine.csv"
    load_emotions(as_frame=True).frame.iloc[:, :-2].to_csv(path, index=False)
    (cell,) = cells(own_source(str(path), 4), ["MLkNN"], Settings(HELD_OUT, 1))
    record = runs.run_cell(cell)
    assert list(record["scores"]) == record["criteria"] == [criterion.title for criterion in cell.criteria]
    assert {"P@3 ↑", "PSP@3 ↑", "Macro F1 ↑"} < set(record["scores"])
    assert not {"P@5 ↑", "PSP@5 ↑"} & set(record["scores"])


def test_precision_is_weighted_by_propensities_of_the_training_part():
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    X, Y, n_train, _ = load(EMOTIONS)
    propensities = label_propensities(Y[:n_train])
    probabilities = cell.model().fit(X[:n_train], Y[:n_train]).predict_proba(X[n_train:])
    expected = propensity_scored_precision_at_k(Y[n_train:], probabilities, 3, propensities=propensities)
    assert runs.run_cell(cell)["scores"]["PSP@3 ↑"] == pytest.approx(expected)
