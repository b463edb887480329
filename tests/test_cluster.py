"""Searches over whole pipelines on a Dask cluster of two processes."""

import os
import signal
from collections import Counter
from contextlib import contextmanager
from threading import Thread

import dask
import joblib
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from skrelmetric import DRMLTransformer, HRAMLTransformer, MLkNN, RAMLLinear
from skrelmetric.scorers import MULTILABEL_SCORERS
from tests.ranks import CONTEXT, start_server

distributed = pytest.importorskip("distributed")

METRICS = {
    "ramllinear": (RAMLLinear(), {"alpha": [0.1, 10.0]}),
    "hramltransformer": (HRAMLTransformer(max_epochs=2, random_state=0), {"encoder": ["mlp", nn.Linear(60, 4)]}),
    "drmltransformer": (DRMLTransformer(8, max_epochs=2, random_state=0), {"loss": ["proxy_anchor", "triplet"]}),
}


@contextmanager
def cluster(**options):
    """Client of two worker processes with a thread each."""
    given = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"} | options
    start_server()  # before Dask says what it should have loaded
    method = {"distributed.worker.multiprocessing-method": CONTEXT.get_start_method()}
    with dask.config.set(method), distributed.LocalCluster(**given) as workers, distributed.Client(workers) as client:
        yield client


@pytest.fixture(scope="module")
def client():
    with cluster() as client:
        yield client


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 60))
    return X, (X @ rng.standard_normal((60, 4)) > 0).astype(int)


@pytest.fixture
def one_thread():
    """As on a worker: a sum over several threads is rounded otherwise."""
    given = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(given)


def pipeline(metric):
    return make_pipeline(StandardScaler(), metric, MLkNN())


def criteria_and_place():
    """Scorers, and where a fit runs as its own thread sees it."""

    def process(estimator, X, y):
        return os.getpid()

    def n_threads(estimator, X, y):
        return max(torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info()))

    return {**MULTILABEL_SCORERS, "process": process, "n_threads": n_threads}


def of_folds(search, *names):
    return np.array([[search.cv_results_[f"split{fold}_test_{name}"] for name in names] for fold in range(search.cv)])


@pytest.mark.parametrize("name", METRICS)
def test_searches_are_those_without_a_cluster_on_one_thread_a_core(name, client, samples, one_thread):
    metric, grid = METRICS[name]
    grid = {f"{name}__{parameter}": values for parameter, values in grid.items()}
    at_random = grid | {"mlknn__n_neighbors": stats.randint(3, 15)}
    common = {"scoring": criteria_and_place(), "refit": "average_precision", "cv": 2, "error_score": "raise"}
    searches = [GridSearchCV(pipeline(metric), grid, **common)]
    if name == "ramllinear":
        searches.append(RandomizedSearchCV(pipeline(metric), at_random, n_iter=2, random_state=0, **common))
    for search in searches:
        here = search.fit(*samples)
        expected = of_folds(here, *MULTILABEL_SCORERS), here.best_params_, here.predict_proba(samples[0])
        assert set(of_folds(here, "process").ravel()) == {os.getpid()}
        with joblib.parallel_config("dask"):
            there = search.fit(*samples)
        np.testing.assert_array_equal(of_folds(there, *MULTILABEL_SCORERS), expected[0])
        assert there.best_params_ == expected[1]
        np.testing.assert_array_equal(there.predict_proba(samples[0]), expected[2])
        assert set(of_folds(there, "process").ravel()) <= set(client.run(os.getpid).values())
        assert set(of_folds(there, "n_threads").ravel()) == {1}


def test_fitted_pipelines_come_back(client, samples, one_thread):
    X, Y = samples
    for metric, _ in METRICS.values():
        here = cross_validate(pipeline(metric), X, Y, cv=2, scoring="r2", return_estimator=True)
        with joblib.parallel_config("dask"):
            there = cross_validate(pipeline(metric), X, Y, cv=2, scoring="r2", return_estimator=True)
        for fitted, expected in zip(there["estimator"], here["estimator"], strict=True):
            np.testing.assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_samples_go_to_each_worker_once(make, client, samples):
    def held():
        sizes = client.run(lambda dask_worker: [value.nbytes for value in dask_worker.data.values()])
        return [Counter(sizes[worker]) for worker in sorted(sizes)]

    X, Y = make(samples[0]), samples[1]
    search = GridSearchCV(pipeline(RAMLLinear()), {"ramllinear__alpha": [0.1, 1.0, 10.0]}, cv=3, error_score="raise")
    before, sent = held(), client.scheduler_comm.byte_count
    with joblib.parallel_config("dask", scatter=[X]):
        assert [now - then for now, then in zip(held(), before, strict=True)] == [Counter([X.nbytes])] * 2
        search.fit(X, Y)
    assert client.scheduler_comm.byte_count - sent < X.nbytes, "nine tasks, each with a part of the samples at most"


def test_a_worker_that_is_killed_ends_the_search(samples):
    class TooLarge(MLkNN):
        """Ends its process, as the system does with one that wants too much memory."""

        def fit(self, X, y):
            if os.getpid() != home:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().fit(X, y)

    home, ends = os.getpid(), []

    def search(client):
        with joblib.parallel_config("dask", client=client):
            try:
                cross_validate(TooLarge(), *samples, cv=4, scoring="r2")
            except BaseException as error:
                ends.append(error)

    with cluster(silence_logs=50) as client:
        thread = Thread(target=search, args=(client,), daemon=True)
        thread.start()
        thread.join(60)
    # The samples that it held are lost, and with them every task that needs them.
    assert [type(end).__name__ for end in ends] == ["FutureCancelledError"]


def test_threads_of_one_process_need_to_be_told():
    """What the README says of workers that are threads: torch reads OMP_NUM_THREADS when it is loaded."""
    with (
        cluster(n_workers=1, threads_per_worker=2, processes=False) as threads,
        joblib.parallel_config("dask", client=threads),
    ):
        told = joblib.Parallel()(joblib.delayed(torch.get_num_threads)() for _ in range(4))
    assert told == [int(os.environ["OMP_NUM_THREADS"])] * 4  # conftest.py has set it before anything was loaded
