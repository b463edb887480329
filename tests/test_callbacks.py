"""Callbacks of trainings: what they are told, what they may do, and the log of epochs."""

import csv
import json
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skrelmetric import DRMLTransformer, HRAMLTransformer
from skrelmetric.callbacks import Epoch, EpochLog
from tests.process import untouched


class Noisy(nn.Module):
    """Layer that draws from torch's own generator in training, and keeps what it returned, with its graph."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 5)

    def forward(self, X):
        self.last = self.layer(X + 0.1 * torch.rand_like(X) if self.training else X)
        return self.last


MODELS = {
    "ridge": HRAMLTransformer(encoder="mlp", hidden_layer_sizes=(8, 5), dropout=0.2, random_state=0),
    "linear": HRAMLTransformer(encoder=Noisy(), head="linear", batch_size=20, random_state=0),
    "votes": HRAMLTransformer(encoder="mlp", hidden_layer_sizes=(8,), loss="neighbors", random_state=0),
    "drml": DRMLTransformer(8, hidden_layer_sizes=(6,), random_state=0),
    "drml of a module": DRMLTransformer(8, trunk=Noisy(), random_state=0),
}
each = pytest.mark.parametrize("name", MODELS)


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((60, 4)).astype(np.float32)
    return X, (X[:, 0] > 0) + 2 * (X[:, 1] + 0.5 * rng.standard_normal(60) > 0)


def model(name, callbacks=None, **options):
    return clone(MODELS[name]).set_params(**{"max_epochs": 3, "callbacks": callbacks, **options})


class Disturbing:
    """Callback that does to its copy, and to what belongs to the process, whatever it can."""

    def __init__(self, X):
        self.X, self.copies, self.embeddings = X, [], []

    def __call__(self, epoch):
        self.copies.append(epoch.estimator())
        spoilt = epoch.estimator()
        self.embeddings.append(spoilt.transform(self.X))
        spoilt.encoder_.train().requires_grad_(False)
        with torch.no_grad():
            for tensor in spoilt.encoder_.state_dict().values():
                tensor.zero_()
        for parameters in (spoilt.loss_curve_, spoilt.validation_curve_):
            parameters.clear()
        spoilt.set_params(learning_rate=1e9)
        torch.manual_seed(epoch.number)
        np.random.seed(epoch.number)  # noqa: NPY002
        torch.rand(3)


# What callbacks get


@each
@pytest.mark.parametrize("stopping", [False, True])
def test_callbacks_are_told_the_course_of_the_training(name, stopping, samples):
    epochs, more = [], []
    began = time.perf_counter()
    metric = model(name, [epochs.append, more.append], early_stopping=stopping, n_iter_no_change=9).fit(*samples)
    elapsed = time.perf_counter() - began
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert [epoch.loss for epoch in epochs] == metric.loss_curve_
    assert [epoch.criterion for epoch in epochs] == (metric.validation_curve_[1:] or [None] * 3)
    assert {epoch.max_epochs for epoch in epochs} == {3}
    scores = metric.validation_curve_ or [3, 2, 1, 0]
    assert [epoch.best_epoch for epoch in epochs] == [int(np.argmin(scores[: n + 1])) for n in (1, 2, 3)]
    assert all(0 < epoch.seconds < elapsed for epoch in epochs)
    assert sum(epoch.seconds for epoch in epochs) < elapsed
    assert all(one is other for one, other in zip(epochs, more, strict=True))
    metric.fit(*samples)
    first, second = ({epoch.fit for epoch in some} for some in (epochs[:3], epochs[3:]))
    assert len(first) == len(second) == 1
    assert first < first | second
    assert "loss=" in repr(epochs[0])


@each
def test_the_estimator_is_that_of_a_training_that_ends_there(name, samples):
    X, y = samples
    callback = Disturbing(X)
    model(name, callback, early_stopping=False).fit(X, y)
    assert len(callback.copies) == 3
    for n, (copy, embedding) in enumerate(zip(callback.copies, callback.embeddings, strict=True), start=1):
        expected = model(name, early_stopping=False, max_epochs=n).fit(X, y)
        np.testing.assert_array_equal(embedding, expected.transform(X))
        np.testing.assert_array_equal(copy.transform(X), embedding)
        for attribute in ("loss_curve_", "validation_curve_", "n_iter_", "best_epoch_"):
            assert getattr(copy, attribute) == getattr(expected, attribute)


@each
@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("callback", [lambda X: Disturbing(X), lambda X: lambda epoch: None], ids=["does", "sees"])
def test_callbacks_do_not_change_what_is_learned(name, stopping, callback, samples):
    X, y = samples
    expected = model(name, early_stopping=stopping).fit(X, y)
    state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    try:
        metric = model(name, callback(X), early_stopping=stopping).fit(X, y)
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
    np.testing.assert_array_equal(metric.transform(X), expected.transform(X))
    assert metric.loss_curve_ == expected.loss_curve_
    assert metric.validation_curve_ == expected.validation_curve_


@each
def test_callbacks_leave_the_process_as_it_is(name, samples):
    with untouched():
        model(name, lambda epoch: epoch.estimator().transform(samples[0][:2]) is None).fit(*samples)


@each
def test_the_estimator_of_a_second_fit_is_no_mixture_of_both(name, samples):
    X, y = samples
    copies, shapes = [], []
    metric = model(name, max_epochs=5, early_stopping=False).fit(X, y).set_output(transform="pandas")
    metric.set_params(callbacks=[lambda epoch: copies.append(epoch.estimator())], max_epochs=1).fit(X[:, :4], y)
    metric.callbacks.append(lambda epoch: shapes.append(epoch.estimator().transform(torch.zeros(2, 4)).shape))
    (copy,) = copies
    assert copy.n_iter_ == len(copy.loss_curve_) == 1
    assert list(copy.transform(X).columns) == list(copy.get_feature_names_out())
    metric.set_output(transform="default").fit(torch.from_numpy(X), torch.from_numpy(y))
    assert shapes == [copy.transform(X[:2]).shape]


def test_an_epoch_that_is_over_has_no_estimator(samples):
    epochs = []
    model("drml", epochs.append).fit(*samples)
    for epoch in epochs:
        with pytest.raises(RuntimeError, match="The epoch is over"):
            epoch.estimator()
        assert pickle.loads(pickle.dumps(epoch)) == epoch  # without the samples and modules of the training


def test_fits_without_training_and_chunks_of_a_stream_call_none(samples):
    epochs = []
    HRAMLTransformer(callbacks=epochs.append).fit(*samples)
    model("linear", epochs.append, max_epochs=0).fit(*samples)
    model("linear", epochs.append).partial_fit(*samples)
    assert epochs == []


# What callbacks do


@each
@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_stops_the_training(name, answer, samples):
    X, y = samples
    seen = []

    def second(epoch):
        return answer if epoch.number == 2 else None

    metric = model(name, [second, lambda epoch: seen.append(epoch.number)], max_epochs=9).fit(X, y)
    assert metric.n_iter_ == len(metric.loss_curve_) == 2
    assert seen == [1, 2]  # whoever comes behind the one that stops
    expected = model(name, max_epochs=2).fit(X, y)
    np.testing.assert_array_equal(metric.transform(X), expected.transform(X))


@pytest.mark.parametrize("name", ["linear", "drml"])
def test_a_stopped_training_ends_with_the_best_weights(name, samples):
    X, y = samples
    embeddings = []

    def until_worse(epoch):
        embeddings.append(epoch.estimator().transform(X))
        return 0 < epoch.best_epoch < epoch.number

    metric = model(name, until_worse, max_epochs=200, n_iter_no_change=200, learning_rate=0.03).fit(X, y)
    assert 0 < metric.best_epoch_ == metric.n_iter_ - 1 < 199
    np.testing.assert_array_equal(metric.transform(X), embeddings[-2])
    assert np.any(embeddings[-1] != embeddings[-2])


def test_what_a_callback_raises_ends_the_fit_and_leaves_the_last_one(samples):
    X, y = samples
    metric = model("drml").fit(X, y)
    before = metric.transform(X)
    with pytest.raises(ZeroDivisionError):
        metric.set_params(callbacks=lambda epoch: 1 // (2 - epoch.number) == 0, random_state=1).fit(X, y)
    np.testing.assert_array_equal(metric.transform(X), before)


@pytest.mark.parametrize("name", ["ridge", "drml"])
@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ("x", "'callbacks' parameter .* must be a callable"),
        ([1], "callbacks has 1, which cannot be called"),
        ([print, None], "callbacks has None, which cannot be called.*set_callbacks"),
        (EpochLog, "callbacks has the class EpochLog. Pass an object"),
        ([Epoch], "callbacks has the class Epoch. Pass an object"),
    ],
)
def test_bad_callbacks_are_refused(name, callbacks, message, samples):
    with pytest.raises(ValueError, match=message):
        model(name, callbacks).fit(*samples)
    if name == "ridge":
        with pytest.raises(ValueError, match=message):
            model(name, callbacks).partial_fit(*samples)


@pytest.mark.parametrize("answer", [0, 1.5, "stop", torch.tensor(True)])
def test_bad_answers_are_refused(answer, samples):
    with pytest.raises(TypeError, match="returned .*Return True to stop"):
        model("drml", lambda epoch: answer).fit(*samples)


# Checkpoints, copies and searches


@each
def test_resumed_trainings_call_for_the_epochs_that_run(name, samples, tmp_path):
    X, y = samples
    seen, more = [], []

    def interrupts(epoch):
        seen.append(epoch.number)
        if epoch.number == 2:
            raise KeyboardInterrupt

    options = {"checkpoint": tmp_path, "max_epochs": 4, "n_iter_no_change": 9}
    with pytest.raises(KeyboardInterrupt):
        model(name, interrupts, **options).fit(X, y)
    resumed = model(name, lambda epoch: more.append((epoch.number, epoch.loss)), **options).fit(X, y)
    assert len([*tmp_path.iterdir()]) == 1
    assert (seen, more) == ([1, 2], [*enumerate(resumed.loss_curve_, start=1)][2:])
    expected = model(name, max_epochs=4, n_iter_no_change=9).fit(X, y)
    np.testing.assert_array_equal(resumed.transform(X), expected.transform(X))
    assert resumed.loss_curve_ == expected.loss_curve_
    model(name, interrupts, **options).fit(X, y)  # nothing is left to train
    assert seen == [1, 2]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


@pytest.mark.parametrize("name", ["linear", "drml"])
def test_logs_survive_copies_pickles_and_searches(name, samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = EpochLog("log.csv")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    metric = model(name, [log], max_epochs=2)
    assert metric.get_params()["callbacks"] == [log]
    assert repr(clone(metric)) == repr(metric)
    copy = pickle.loads(pickle.dumps(clone(metric).fit(*samples)))
    np.testing.assert_array_equal(copy.transform(samples[0]), metric.fit(*samples).transform(samples[0]))
    copy.fit(*samples)
    grid = {"tol": [1e-4, 1e-3]}
    search = GridSearchCV(metric, grid, cv=2, scoring=lambda metric, X, y: float(metric.transform(X).var()))
    search.fit(*samples)
    rows = rows_of(tmp_path / "log.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"] * (3 + 5)
    assert len({row["fit"] for row in rows}) == 3 + 5
    assert [row["loss"] for row in rows[-2:]] == [str(loss) for loss in search.best_estimator_.loss_curve_]


# scikit-learn's callbacks


@each
def test_callbacks_of_scikit_learn_work_beside(name, samples):
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring={"n": lambda metric, X, y: float(metric.n_iter_)})
    seen = []
    metric = model(name, lambda epoch: seen.append(epoch.number), early_stopping=False)
    metric.set_callbacks(monitor).fit(*samples)
    assert seen == [1, 2, 3]
    log = monitor.get_logs().data
    assert [entry["n"] for entry in log if entry["task_name"] == "epoch"] == [1, 2, 3]
    monitor = callback.ScoringMonitor(scoring={"n": lambda metric, X, y: float(metric.n_iter_)})
    metric.set_params(callbacks=lambda epoch: epoch.number == 2).set_callbacks(monitor).fit(*samples)
    log = monitor.get_logs().data
    assert [entry["n"] for entry in log if entry["task_name"] == "epoch"] == [1, 2] == [1, metric.n_iter_]


def test_callbacks_need_none_of_scikit_learn():
    code = """
import sys
import sklearn.ensemble, sklearn.multioutput  # which load it
sys.modules["sklearn.callback"] = None  # as before 1.9
import numpy as np
from skrelmetric import DRMLTransformer, HRAMLTransformer
X, y, seen = np.random.default_rng(0).standard_normal((40, 3)), np.arange(40) % 2, []
for metric in (DRMLTransformer(8), HRAMLTransformer(encoder="mlp")):
    assert not hasattr(metric, "set_callbacks")
    metric.set_params(callbacks=lambda epoch: seen.append(epoch.estimator().transform(X).shape[0]), max_epochs=2)
    metric.set_params(early_stopping=False).fit(X, y)
assert seen == [40] * 4
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


# The log


@each
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("stopping", [False, True])
def test_rows_of_a_log_are_the_curves(name, suffix, stopping, samples, tmp_path):
    path = tmp_path / "new" / f"log{suffix}"
    epochs = []
    metric = model(name, [EpochLog(path), epochs.append], early_stopping=stopping, n_iter_no_change=9)
    for n_fits in (1, 2):
        metric.fit(*samples)
        rows = rows_of(path)
        assert len(rows) == 3 * n_fits
    last, none = rows[-3:], "" if suffix == ".csv" else None
    number = float if suffix == ".csv" else lambda value: value
    assert [number(row["epoch"]) for row in last] == [1, 2, 3]
    assert [number(row["loss"]) for row in last] == metric.loss_curve_
    criteria = [row["criterion"] for row in last]
    assert [*map(number, criteria)] == metric.validation_curve_[1:] if stopping else criteria == [none] * 3
    assert [number(row["best_epoch"]) for row in last] == [epoch.best_epoch for epoch in epochs[3:]]
    assert [number(row["seconds"]) for row in last] == [epoch.seconds for epoch in epochs[3:]]
    assert [row["fit"] for row in rows] == [epoch.fit for epoch in epochs]
    assert list(rows[0]) == ["fit", "epoch", "loss", "criterion", "best_epoch", "seconds"]
    text = path.read_text()
    assert text.count("seconds") == (1 if suffix == ".csv" else 6)
    assert text.endswith("\n")


def test_paths_that_no_log_can_have(samples, tmp_path):
    with pytest.raises(TypeError, match="path=5 is no path"):
        EpochLog(5)
    for name in ("log", "log.txt", "log.csv.gz", ""):
        with pytest.raises(ValueError, match=r"must end in one of \['.csv', '.jsonl'\]"):
            EpochLog(name)
    other = tmp_path / "data.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"data.csv is there and begins with 'a,b\\n'"):
        model("drml", EpochLog(other)).fit(*samples)
    assert other.read_text() == "a,b\n1,2\n"
