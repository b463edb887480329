"""BOOMER: gradient boosted multi-label rules (Rapp et al., 2020), by its authors' package.

That package needs scikit-learn < 1.8 and so an environment of its own, without this project's constraints:
``pip install 'skrelmetric[bench,boomer]'``.
"""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted


class Boomer(ClassifierMixin, BaseEstimator):
    """Boosted rules with the package's defaults.

    Threads are those of OpenMP; told by its own parameters to take one, version 0.12.3 crashes.

    Parameters
    ----------
    random_state : int, default=0
        Seed, of 0 or more. The package takes seeds from 1 on, and is passed the next one.
    """

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y):
        """Fit to label sets, 0 or 1, of shape (n_samples, n_labels).

        Raises
        ------
        ImportError
            If BOOMER is not installed.
        """
        try:
            from mlrl.boosting import BoomerClassifier
        except ImportError as error:
            raise ImportError(
                "BOOMER is missing: pip install 'skrelmetric[bench,boomer]' in an environment of its own, since it "
                "needs scikit-learn < 1.8"
            ) from error
        self.model_ = BoomerClassifier(random_state=self.random_state + 1).fit(X, y)
        self.classes_ = np.arange(y.shape[1])
        return self

    def predict_proba(self, X):
        """Probabilities of the labels."""
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def predict(self, X):
        """Label sets."""
        check_is_fitted(self)
        return self.model_.predict(X).astype(int)
