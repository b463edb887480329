"""Ensembles of classifier chains (Read et al., 2011)."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.multioutput import ClassifierChain
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from benchmarks.rivals._constant import columns_of


class ClassifierChains(ClassifierMixin, BaseEstimator):
    """Mean of the probabilities of several chains, each in an order of its own.

    Labels that are alike in all training samples have no classifier, and are predicted as they are.

    Parameters
    ----------
    estimator : classifier
        Classifier of one label, with `predict_proba`.
    n_chains : int, default=10
        Number of chains.
    random_state : int, RandomState or None, default=None
        Seed of the orders.
    """

    def __init__(self, estimator, *, n_chains=10, random_state=None):
        self.estimator = estimator
        self.n_chains = n_chains
        self.random_state = random_state

    def fit(self, X, y):
        """Fit the chains to label sets, 0 or 1, of shape (n_samples, n_labels)."""
        random_state = check_random_state(self.random_state)
        self.columns_ = columns_of(y)
        self.classes_ = np.arange(y.shape[1])
        varying = y[:, self.columns_.varying]
        self.chains_ = [
            ClassifierChain(clone(self.estimator), order="random", random_state=random_state.randint(2**31)).fit(
                X, varying
            )
            for _ in range(self.n_chains if varying.shape[1] else 0)
        ]
        return self

    def predict_proba(self, X):
        """Probabilities of the labels."""
        check_is_fitted(self)
        if not self.chains_:
            return self.columns_.completed(np.empty((len(X), 0)))
        return self.columns_.completed(np.mean([chain.predict_proba(X) for chain in self.chains_], axis=0))

    def predict(self, X):
        """Labels of probability above a half."""
        return (self.predict_proba(X) > 0.5).astype(int)
