"""Metric learning as a support vector machine on pairs of neighbours."""

from numbers import Integral, Real

import numpy as np
from sklearn.svm import SVC
from sklearn.utils import check_random_state

from benchmarks.rivals._linear import ClassMetric
from benchmarks.rivals._pairs import nearest
from benchmarks.rivals._sklearn import Interval


class DoubletSVM(ClassMetric):
    """Doublet-SVM: a support vector machine tells near pairs of one class from near pairs of two.

    With the kernel (d' e)^2 of differences d and e, its decision is d' M d + b for M = sum_k a_k h_k d_k d_k', where
    h is 1 for dissimilar pairs and -1 for similar ones. The metric is the positive semi-definite matrix nearest to M.

    Parameters
    ----------
    n_similar : int, default=1
        Nearest neighbours of its own class that each sample is paired with.
    n_dissimilar : int, default=1
        Nearest neighbours of other classes that each sample is paired with.
    C : float, default=1.0
        Cost of errors. Differences come in units of their root mean square norm.
    max_doublets : int, default=5000
        Most doublets: beyond them, a random sample of the samples is paired with its neighbours. Time and memory of
        the machine grow with its square.
    random_state : int, RandomState or None, default=None
        Seed of that sample.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Factor L of the learned metric M = L' L.
    n_iter_ : int
        Iterations of libsvm.

    References
    ----------
    F. Wang, W. Zuo, L. Zhang, D. Meng and D. Zhang, "A kernel classification framework for metric learning", IEEE
    Transactions on Neural Networks and Learning Systems 26(9), 2015.
    """

    _parameter_constraints: dict = {
        "n_similar": [Interval(Integral, 1, None, closed="left")],
        "n_dissimilar": [Interval(Integral, 1, None, closed="left")],
        "C": [Interval(Real, 0, None, closed="neither")],
        "max_doublets": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, *, n_similar=1, n_dissimilar=1, C=1.0, max_doublets=5000, random_state=None):
        self.n_similar = n_similar
        self.n_dissimilar = n_dissimilar
        self.C = C
        self.max_doublets = max_doublets
        self.random_state = random_state

    def _learn(self, X: np.ndarray, classes: np.ndarray) -> np.ndarray:
        # A sample alone in its class has half a pair of doublets, which would unbalance them.
        paired = np.flatnonzero(np.bincount(classes)[classes] > 1)
        n_anchors = max(1, self.max_doublets // (self.n_similar + self.n_dissimilar))
        anchors = check_random_state(self.random_state).permutation(paired)[:n_anchors]
        similar = nearest(X, classes, anchors, self.n_similar, similar=True).differences(X)
        dissimilar = nearest(X, classes, anchors, self.n_dissimilar, similar=False).differences(X)
        M, self.n_iter_ = doublet_matrix(similar, dissimilar, self.C)
        return M


def doublet_matrix(similar: np.ndarray, dissimilar: np.ndarray, C: float) -> tuple[np.ndarray, int]:
    """Symmetric matrix M such that d' M d + b tells dissimilar differences (above 0) from similar ones.

    Parameters
    ----------
    similar, dissimilar : ndarray of shape (n_pairs, n_features)
        Differences of pairs.
    C : float
        Cost of errors, with differences in units of their root mean square norm.

    Returns
    -------
    M : ndarray of shape (n_features, n_features)
    n_iter : int
        Iterations of libsvm.
    """
    differences = np.vstack([similar, dissimilar])
    unit = np.sqrt(np.square(differences).sum(axis=1).mean()) or 1.0
    differences /= unit
    is_dissimilar = np.repeat([0, 1], [len(similar), len(dissimilar)])
    machine = SVC(C=C, kernel="poly", degree=2, gamma=1.0, coef0=0.0, max_iter=100 * len(differences) + 10_000)
    machine.fit(differences, is_dissimilar)
    vectors = differences[machine.support_]
    return (vectors.T * machine.dual_coef_[0]) @ vectors / unit**2, int(machine.n_iter_.max())
