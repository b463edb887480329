"""The benchmark from the command line: data sets, methods, folds and tables."""

from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline

from benchmarks.cli import main
from benchmarks.compare import cells as cells_module
from benchmarks.compare import runs
from benchmarks.compare.cells import HELD_OUT, INNER_FOLDS, OFFICIAL, Settings, cells, splits
from benchmarks.compare.methods import METRICS, TIERS, Method, for_sparse
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.targets import MaximumEntropy, OnClasses, as_classes, positive_parts
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import _CLASSES, DATASETS, load, own_source
from benchmarks.show.published import PAPER, best
from benchmarks.show.tables import comparison_tables, grid_table
from skrelmetric import MLkNN, RAMLLinear
from skrelmetric.datasets import load_emotions
from tests.benchmarks.comparison import EMOTIONS, FAST, Broken, records_of


class Watching(RAMLLinear):
    sizes: ClassVar[list] = []

    def fit(self, X, y):
        self.sizes.append(len(X))
        return super().fit(X, y)


def test_comparison_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "new" / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 0
    records = records_of(out)
    assert [(r["method"], r["repeat"], r["fold"]) for r in sorted(records, key=lambda r: (r["method"], r["fold"]))] == [
        ("MLkNN", 0, 0),
        ("MLkNN", 0, 1),
        ("RAMLLinear + MLkNN", 0, 0),
        ("RAMLLinear + MLkNN", 0, 1),
    ]
    for record in records:
        assert record["parameters"]["predictor__n_neighbors"] == 10
        assert record["grid"] == {}
        assert record["versions"].keys() >= {"python", "skrelmetric", "scikit-learn", "torch"}
        assert record["fit_seconds"] > 0
        assert record["seed"] == 0
        assert all(np.isfinite(list(record["scores"].values())))
        assert len(record["scores"]) == 5
    printed = capsys.readouterr().out
    for word in ("emotions", "RAMLLinear", "Hamming", "±"):
        assert word in printed
    main([*FAST, "--jobs", "1", "--out", str(out)])
    assert records_of(out) == records, "what is there is not run again"
    assert "0 records appended" in capsys.readouterr().out
    main([*FAST, "--jobs", "1", "--anew", "--out", str(out)])
    again = records_of(out)
    assert again[:4] == records, "results are appended, never overwritten"
    assert [r["scores"] for r in again[4:]] == [r["scores"] for r in records]


def test_folds_are_shared_stratified_and_disjoint():
    methods = list(TASKS["multilabel"].methods)
    comparison = cells(EMOTIONS, methods, Settings(5, 2))
    assert len(comparison) == 5 * 2 * len(methods)
    _, Y, _ = load(EMOTIONS)
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


def test_best_mean_is_bold():
    def record(method, fold, loss, precision):
        scores = dict.fromkeys([criterion.title for criterion in TASKS["multilabel"].criteria], loss)
        scores["Average precision ↑"] = precision
        identity = {"dataset": "emotions", "task": "multilabel", "method": method, "fold": fold}
        return {**identity, "scores": scores, "fit_seconds": 1.0}

    records = [record("MLkNN", 0, 0.1, 0.5), record("MLkNN", 1, 0.3, 0.7), record("NCA + MLkNN", 0, 0.25, 0.9)]
    (table,) = comparison_tables(records)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["MLkNN", "NCA + MLkNN"]
    assert [cell.plain for cell in columns[1]] == ["0.2000\n±0.1000", "0.2500"]
    for losses in columns[1:5]:
        assert [str(cell.style) for cell in losses] == ["bold", ""]
    assert [str(cell.style) for cell in columns[5]] == ["", "bold"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "iris"], "invalid choice: 'iris'"),
        (["--methods", "KNN"], "invalid choice: 'KNN'"),
        (["--folds", "1"], "neither a number of folds"),
        (["--repeats", "0"], "not a whole number from 1"),
        (["--labels", "3"], "--labels names columns of --data"),
        (["--scheduler", "tcp://localhost:1"], "--scheduler needs --backend dask"),
        (["--seed", "-1"], "not a whole number from 0"),
        (["--timeout", "5", "--backend", "dask"], "--timeout has no effect"),
        (["--folds", "held out"], "nor 'official' or 'held-out'"),
        (["--alone", "--jobs", "2"], "with --alone nothing else runs"),
        (["--profile", "large", "--backend", "dask"], "leave --jobs and --backend out, or pass --no-alone"),
        (
            ["--profile", "speed", "--datasets", "emotions"],
            "--datasets is for comparisons, but --profile speed measures",
        ),
        (["--profile", "scale", "--no-run"], "--no-run is for comparisons, but --profile scale measures"),
        (["--profile", "accelerator", "--report", "a.html"], "--report is for comparisons"),
        (["--device", "cpu"], "--device needs --profile accelerator"),
        (["--profile", "scale", "--width", "8"], "--width needs --profile accelerator"),
        (["--n-samples", "100"], "--n-samples needs --profile scale or --profile accelerator"),
        (["--profile", "speed", "--repeats", "2"], "--repeats needs --profile scale or --profile accelerator or a"),
        (["--profile", "accelerator", "--n-samples", "1"], "'1' is not a whole number from 2 on"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


def test_methods_of_another_task(tmp_path, capsys):
    assert main(["--datasets", "emotions", "--methods", "AAKNN", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "Nothing can be compared" in capsys.readouterr().out


def test_data_sets_that_no_method_is_for_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cells_module, "splits", lambda *args: [(np.arange(300), np.arange(300, 400))])
    arguments = ["--datasets", "emotions", "emotions", "Movie", "--methods", "MLkNN", "--jobs", "1"]
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "Movie is left out" in capsys.readouterr().out
    assert len(records_of(tmp_path / "r.jsonl")) == 1


def test_unwritable_records_are_said_before_any_work(tmp_path, capsys):
    for out in (tmp_path, tmp_path / "file" / "r.jsonl"):
        (tmp_path / "file").touch()
        assert main([*FAST, "--out", str(out)]) == 2
        assert "Cannot write records" in capsys.readouterr().out


def test_missing_data_is_said(tmp_path, monkeypatch, capsys):
    def missing(*args, **kwargs):
        raise OSError("flags could not be downloaded")

    load.cache_clear()
    monkeypatch.setattr("benchmarks.data.sources.fetch_mulan", missing)
    assert main(["--datasets", "flags", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "could not be downloaded" in capsys.readouterr().out


def test_the_plain_predictor_goes_last(monkeypatch):
    order = []
    monkeypatch.setattr(runs, "run_cell", lambda cell: order.append(cell.method) or {})
    methods = list(TASKS["multilabel"].methods)
    list(runs.run(cells(EMOTIONS, methods, Settings(2, 1)), n_jobs=1))
    assert order == [method for method in reversed(methods) for _ in range(2)]
    assert order[-1] == "MLkNN", "the cheapest of all stands first in the table"


def test_classes_of_targets():
    classes = as_classes(np.array([[0, 1], [1, 1], [0, 1], [0, 0]]))
    assert classes[0] == classes[2]
    assert len(set(classes)) == 3
    assert as_classes(np.array([[0.2, 0.8], [0.6, 0.4]])).tolist() == [1, 0]
    assert as_classes(np.array([3, 1])).tolist() == [3, 1]


def test_every_data_set_has_a_task():
    assert {source.task for source in DATASETS.values()} == set(TASKS)


def test_the_official_split_is_repeated_with_other_seeds():
    comparison = cells(EMOTIONS, ["RAML-SVR + MLkNN"], Settings(OFFICIAL, 3, seed=5))
    assert [cell.seed for cell in comparison] == [5, 6, 7]
    assert [cell.model().get_params()["metric__random_state"] for cell in comparison] == [5, 6, 7]
    assert {(len(cell.train), len(cell.test)) for cell in comparison} == {(391, 202)}


def test_tiers_add_methods():
    for task in TASKS.values():
        tiers = [set(task.up_to(tier)) for tier in TIERS]
        assert all(fewer <= more for fewer, more in pairwise(tiers))
        assert tiers[-1] == set(task.methods)
        assert task.predictor in tiers[0]
    assert "HRAML trained + MLkNN" not in TASKS["multilabel"].up_to("full")


@pytest.mark.parametrize("method", ["Nystroem + RAMLLinear + MLkNN", "Splines + RAMLLinear + MLkNN", "HRAML + MLkNN"])
def test_nonlinear_methods_beat_plain_neighbours_on_emotions(method):
    plain, nonlinear = (
        runs.run_cell(cells(EMOTIONS, [name], Settings(OFFICIAL, 1))[0])["scores"] for name in ("MLkNN", method)
    )
    assert nonlinear["Average precision ↑"] > plain["Average precision ↑"] + 0.01
    assert nonlinear["Ranking loss ↓"] < plain["Ranking loss ↓"]


def test_data_of_a_profile_that_is_missing_is_left_out(tmp_path, monkeypatch, capsys):
    def missing(*args, **kwargs):
        raise OSError("not here")

    load.cache_clear()
    for fetch in ("fetch_mulan", "fetch_ldl", "fetch_omniglot"):
        monkeypatch.setattr(f"benchmarks.data.sources.{fetch}", missing)
    monkeypatch.setitem(_CLASSES, "usps", missing)
    arguments = [
        "--profile",
        "full",
        "--no-search",
        "--methods",
        "MLkNN",
        "--repeats",
        "1",
        "--folds",
        "2",
        "--jobs",
        "1",
    ]
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "not here" in capsys.readouterr().out
    records = records_of(tmp_path / "r.jsonl")
    assert {record["dataset"] for record in records} == {"emotions", "yeast"}
    assert {(record["folds"], record["repeat"]) for record in records} == {(2, 0)}
    load.cache_clear()


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
    X, Y, n_train = load(EMOTIONS)
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


def test_grids_are_of_parameters_that_there_are():
    for task in TASKS.values():
        for method in task.methods.values():
            assert method.tier in TIERS
            model = method.build(0)
            for parameter, values in method.grid.items():
                for value in values:
                    model.set_params(**{parameter: value})
    assert grid_table(TASKS).row_count == sum(1 + len(task.methods) for task in TASKS.values())


@pytest.mark.filterwarnings("ignore:n_components > n_samples")  # of Nystroem, on fewer samples than it has components
@pytest.mark.filterwarnings("ignore:Only one sample available")  # of LDA, in a class of one
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dataset", ["wine", "emotions"])
def test_every_metric_fits_every_kind_of_target(name, dataset):
    X, Y, _ = load(DATASETS[dataset])
    task = TASKS[DATASETS[dataset].task]
    method = task.methods[f"{name} + {task.predictor}" if name else task.predictor]
    model = method.build(0)
    if "metric__max_epochs" in model.get_params():
        model.set_params(metric__max_epochs=1)
    predicted = model.fit(X[::2], Y[::2]).predict(X[1::2])
    assert predicted.shape == Y[1::2].shape
    assert (predicted == Y[1::2]).mean() > 0.5


def test_the_paper_stands_beside():
    comparison = cells(EMOTIONS, ["MLkNN", "RAMLLinear + MLkNN"], Settings(OFFICIAL, 1))
    records = [runs.run_cell(cell) for cell in comparison]
    (table,) = comparison_tables(records, paper=True)
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    assert columns[0] == ["MLkNN", "  in the paper", "RAMLLinear + MLkNN"]
    assert columns[5] == ["0.7839", "0.7808", "0.8221"]
    (table,) = comparison_tables(records)
    assert len(table.columns[0]._cells) == 2
    assert best("emotions") == dict(
        zip(PAPER["emotions"]["MLkNN"], (0.2046, 0.1382, 0.2376, 1.7327, 0.8225), strict=True)
    )
    assert best("flags") == dict(zip(PAPER["flags"]["MLkNN"], (0.2791, 0.2021, 0.2, 3.6769, 0.8244), strict=True))
    scene = (0.2907, 1.6865, 3.8419, 0.7321, 0.5929)
    assert best("Natural_Scene") == dict(zip(PAPER["Natural_Scene"]["AAKNN"], scene, strict=True))
    assert best("yeast") == {}


def test_metrics_on_classes_have_bounds(rng):
    X, Y = rng.normal(size=(60, 12)), (rng.random((60, 3)) < 0.5).astype(int)

    class Principal(PCA):
        def fit(self, X, y):
            self.shape_, self.classes_ = X.shape, y
            return super().fit(X)

    metric = OnClasses(Principal(), max_samples=20, max_features=5, random_state=0).fit(X, Y)
    assert metric.pipeline_["metric"].shape_ == (20, 5)
    assert metric.transform(X).shape == (60, 5)
    assert OnClasses(Principal()).fit(X, Y).pipeline_["metric"].shape_ == (60, 12)


def test_softmax_regression_has_the_least_divergence(rng):
    X = rng.normal(size=(80, 3))
    D = rng.dirichlet(np.ones(4), 80)
    model = MaximumEntropy(C=1e6).fit(X, D)
    W, b = model.model_.coef_, model.model_.intercept_

    def divergence(W, b):
        scores = X @ W.T + b
        return -(D * (scores - np.log(np.exp(scores).sum(1, keepdims=True)))).sum()

    least = divergence(W, b)
    for _ in range(20):
        assert divergence(W + 0.01 * rng.normal(size=W.shape), b + 0.01 * rng.normal(size=b.shape)) > least
    assert model.predict(X).sum(1) == pytest.approx(np.ones(80))
    assert positive_parts(np.array([[-1.0, 1.0, 3.0]])) == pytest.approx(np.array([[2.5e-7, 0.25, 0.75]]), abs=1e-6)


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_have_folds_for_every_data_set(profile, tmp_path):
    path = tmp_path / "mine.csv"
    load_emotions(as_frame=True).frame.to_csv(path, index=False)
    settings = PROFILES[profile].settings
    for source in (own_source(str(path), 6), EMOTIONS, DATASETS["wine"]):
        assert cells(source, TASKS[source.task].up_to("quick")[:1], settings(source))


def test_too_few_of_a_class_is_said_with_the_name(tmp_path, capsys):
    path = tmp_path / "few.csv"
    path.write_text("x,y\n1,a\n2,a\n3,b\n4,b\n")
    assert main(["--data", str(path), "--labels", "y", "--folds", "4", "--out", str(tmp_path / "r.jsonl")]) == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert "few.csv cannot be split into 4 folds" in printed


def test_repeats_of_the_official_split_are_seeds():
    comparison = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 2))
    (table,) = comparison_tables([runs.run_cell(cell) for cell in comparison])
    assert table.title == "emotions: multilabel, mean ± sd over 2 seeds on one test part"


@pytest.mark.parametrize("name", ["emotions", "wine"])
def test_a_third_is_held_out(name):
    source = DATASETS[name]
    _, Y, _ = load(source)
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
        monkeypatch.setattr(cells_module, "load", lambda _, Y=targets: (np.zeros((len(Y), 2)), Y, None))
        source = next(source for source in DATASETS.values() if source.task == task)
        ((train, test),) = splits(source, Settings(HELD_OUT, 1))
        assert sorted([*train, *test]) == list(range(len(targets)))
        assert len(test) == len(targets) / 3
    assert not set(y[train]) & set(y[test]), "classes to retrieve were never seen"


def test_what_cannot_be_held_out_is_said(tmp_path, capsys):
    path = tmp_path / "few.csv"
    path.write_text("x,y\n1,a\n2,a\n3,a\n4,b\n")
    arguments = ["--data", str(path), "--labels", "y", "--folds", "held-out", "--out", str(tmp_path / "r.jsonl")]
    assert main(arguments) == 2
    assert "No third of few.csv can be held out" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def sparse_emotions(monkeypatch):
    """The data set that is sparse, with those values of emotions that are high, and the same as a dense array."""
    X, Y = load_emotions(return_X_y=True)
    X = np.maximum(X - np.quantile(X, 0.7, axis=0), 0)
    load.cache_clear()
    monkeypatch.setattr("benchmarks.data.sources.fetch_imdb", lambda **options: (sparse.csr_array(X), Y))
    yield DATASETS["imdb"], X, Y
    load.cache_clear()


def test_sparse_samples_stay_sparse(sparse_emotions, monkeypatch):
    source, X, Y = sparse_emotions
    methods = ["MLkNN", "RAMLLinear + MLkNN"]
    comparison = cells(source, methods, PROFILES["large"].settings(source))
    assert [(cell.settings.folds, len(cell.test)) for cell in comparison] == [
        ("held-out", pytest.approx(198, abs=4))
    ] * 2
    of_sparse = [runs.run_cell(cell) for cell in comparison]
    assert [record["parameters"]["scale"] for record in of_sparse] == ["StandardScaler(with_mean=False)"] * 2
    monkeypatch.setattr(runs, "load", lambda _: (X, Y, None))
    of_dense = [runs.run_cell(cell._replace(source=EMOTIONS)) for cell in comparison]
    for one, other in zip(of_sparse, of_dense, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=0.01), "the mean changes no distance"
    seen = []

    class Looking(RAMLLinear):
        def fit(self, X, y):
            seen.append(sparse.issparse(X))
            return super().fit(X, y)

    method = TASKS["multilabel"].methods["RAMLLinear + MLkNN"]
    build = lambda seed: method.build(seed).set_params(metric=Looking())  # noqa: E731
    model = for_sparse(method._replace(build=build)).build(0)
    model.fit(load(source).X, Y)
    assert seen == [True]
    for searched in for_sparse(method).grid["scale"]:
        assert sparse.issparse(searched.fit_transform(load(source).X))
    assert for_sparse(Method(lambda seed: Broken(), {"x": [1]})).grid == {"x": [1]}


def test_only_the_large_profile_has_the_huge_data_set():
    assert [name for name, profile in PROFILES.items() if "imdb" in profile.datasets] == ["large"]
    assert set(PROFILES["full"].datasets) == set(DATASETS) - {"imdb"}
    for task in TASKS.values():
        assert PROFILES["large"].methods(task)[0] == task.predictor
    assert PROFILES["large"].methods(TASKS["multilabel"]) == ["MLkNN", "RAMLLinear + MLkNN"]
