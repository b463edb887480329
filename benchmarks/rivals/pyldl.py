"""Label distribution learning by the package PyLDL (Python-LDL), which is imported when an estimator is fitted.

Structured random forests are in no package, and so not among these.
"""

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted


@contextmanager
def generators_kept() -> Iterator[None]:
    """Global generators of Python, numpy and torch (on the CPU), which PyLDL seeds, are afterwards as they were."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([]):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


class LabelDistributionLearner(RegressorMixin, BaseEstimator):
    """Algorithm of PyLDL with its defaults where nothing is said.

    Parameters
    ----------
    algorithm : {"SA_BFGS", "LDLF", "LDL_LRR"}
        Name in ``pyldl.algorithms``: maximum entropy by quasi-Newton steps (Geng, 2016), label distribution learning
        forests (Shen et al., 2017), or with a loss of label rankings (Jia et al., 2021).
    fit_options : dict or None, default=None
        What the package's `fit` takes, as ``{"epochs": 100}``.
    random_state : int, default=0
        Seed.
    """

    def __init__(self, algorithm, *, fit_options=None, random_state=0):
        self.algorithm = algorithm
        self.fit_options = fit_options
        self.random_state = random_state

    def fit(self, X, y):
        """Fit to distributions of shape (n_samples, n_labels).

        Raises
        ------
        ImportError
            If PyLDL is not installed.
        """
        os.environ.setdefault("KERAS_BACKEND", "torch")  # which Keras reads when it is first imported
        with generators_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Keras about numpy, at every step
            try:
                algorithm = getattr(import_module("pyldl.algorithms"), self.algorithm)
            except ImportError as error:
                raise ImportError("PyLDL is missing: pip install 'skrelmetric[ldl]'") from error
            self.model_ = algorithm(random_state=self.random_state)
            self.model_.fit(X, y, **(self.fit_options or {}))
        return self

    def predict(self, X):
        """Predicted distributions."""
        check_is_fitted(self)
        with generators_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(self.model_.predict(X), dtype=np.float64)
