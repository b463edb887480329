"""CatBoost: boosted oblivious trees, one ensemble of them for all outputs (Prokhorenkova et al., 2018)."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from benchmarks.rivals._constant import columns_of


class _Boosted(BaseEstimator):
    """Trees of CatBoost, which is imported when they are fitted."""

    def _boost(self, X, y, loss: str):
        try:
            from catboost import CatBoost
        except ImportError as error:
            raise ImportError("CatBoost is missing: pip install 'skrelmetric[rivals]'") from error
        settings = {
            "loss_function": loss,
            "iterations": self.iterations,
            "depth": self.depth,
            "random_seed": self.random_state,
            "thread_count": 1,
            "allow_writing_files": False,
            "verbose": False,
            # An eighth of the default: as good on label sets, at up to seven times the speed.
            "border_count": 32,
        }
        return CatBoost(settings).fit(X, y)

    def _boost_columns(self, X, Y, loss: str):
        """Fit to the columns that vary: CatBoost refuses targets that are all equal."""
        self.columns_ = columns_of(Y)
        varying = Y[:, self.columns_.varying]
        self.model_: Any = self._boost(X, varying, loss) if varying.shape[1] else None

    def _columns(self, X, prediction: str) -> np.ndarray:
        """Predictions of all columns."""
        check_is_fitted(self)
        n_varying = int(self.columns_.varying.sum())
        if self.model_ is None:
            return self.columns_.completed(np.empty((len(X), 0)))
        predicted = self.model_.predict(X, prediction_type=prediction).reshape(len(X), -1)
        return self.columns_.completed(predicted[:, -n_varying:])  # one label has two probabilities


class CatBoostClassifier(ClassifierMixin, _Boosted):
    """Boosted trees for classes or label sets: log loss of the classes, or of all labels.

    Parameters
    ----------
    iterations : int, default=300
        Number of trees. CatBoost chooses the learning rate for it.
    depth : int, default=6
        Depth of the trees.
    random_state : int, default=0
        Seed.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes, or the numbers of the labels.
    """

    def __init__(self, iterations=300, *, depth=6, random_state=0):
        self.iterations = iterations
        self.depth = depth
        self.random_state = random_state

    def fit(self, X, y):
        """Fit to classes of shape (n_samples,), or to label sets, 0 or 1, of shape (n_samples, n_labels).

        Labels that are alike in all samples are left out, and predicted as they are.

        Raises
        ------
        ImportError
            If CatBoost is not installed.
        """
        self.of_labels_ = np.ndim(y) == 2
        if self.of_labels_:
            self._boost_columns(X, y, "MultiLogloss")
            self.classes_ = np.arange(y.shape[1])
        else:
            self.classes_, codes = np.unique(y, return_inverse=True)
            self.model_ = self._boost(X, codes, "MultiClass")
        return self

    def predict_proba(self, X):
        """Probabilities of the classes or labels."""
        check_is_fitted(self)
        if self.of_labels_:
            return self._columns(X, "Probability")
        return self.model_.predict(X, prediction_type="Probability")

    def predict(self, X):
        """Class of the largest probability, or all labels of more than a half."""
        probabilities = self.predict_proba(X)
        return (probabilities > 0.5).astype(int) if self.of_labels_ else self.classes_[probabilities.argmax(axis=1)]


class CatBoostRegressor(RegressorMixin, _Boosted):
    """Boosted trees for numbers or label distributions.

    Parameters
    ----------
    iterations : int, default=300
        Number of trees.
    depth : int, default=6
        Depth of the trees.
    loss : {"MultiRMSE", "MultiCrossEntropy"}, default="MultiRMSE"
        Squared error of numbers, or cross-entropy of each entry of targets in [0, 1] and of what is left to 1. Outputs
        of the latter are in (0, 1), and need not add up to 1.
    random_state : int, default=0
        Seed.
    """

    def __init__(self, iterations=300, *, depth=6, loss="MultiRMSE", random_state=0):
        self.iterations = iterations
        self.depth = depth
        self.loss = loss
        self.random_state = random_state

    def fit(self, X, y):
        """Fit to targets of shape (n_samples,) or (n_samples, n_outputs).

        Columns that are alike in all samples are left out, and predicted as they are.

        Raises
        ------
        ImportError
            If CatBoost is not installed.
        """
        self.outputs_ = y.shape[1:]
        self._boost_columns(X, y.reshape(len(y), -1), self.loss)
        return self

    def predict(self, X):
        """Predicted targets."""
        prediction = "Probability" if self.loss == "MultiCrossEntropy" else "RawFormulaVal"
        return self._columns(X, prediction).reshape(-1, *self.outputs_)
