"""Columns of targets that are constant in the training samples, which some learners refuse."""

from typing import NamedTuple

import numpy as np


class Columns(NamedTuple):
    """Columns of targets.

    Attributes
    ----------
    varying : ndarray of shape (n_outputs,)
        Whether a column has more than one value.
    first : ndarray of shape (n_outputs,)
        Value of each column in the first sample: of one that does not vary, in all.
    """

    varying: np.ndarray
    first: np.ndarray

    def completed(self, predicted: np.ndarray) -> np.ndarray:
        """Predictions of all columns, (n, n_outputs), from those of the columns that vary, (n, n_varying)."""
        everything = np.tile(self.first.astype(predicted.dtype), (len(predicted), 1))
        everything[:, self.varying] = predicted
        return everything


def columns_of(Y: np.ndarray) -> Columns:
    """Columns of targets of shape (n_samples, n_outputs)."""
    return Columns((Y[0] != Y).any(axis=0), Y[0])
