"""Picture of a training, epoch by epoch."""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skrelmetric.plotting._axes import PALETTE, axes_or_new, optional, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_training"]


def plot_training(estimator: Any, *, ax: "Axes | None" = None) -> "Axes":
    """Picture of the loss and the validation criterion of each epoch.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator with ``loss_curve_``, and perhaps with ``validation_curve_`` and ``best_epoch_``, as
        :class:`skrelmetric.HRAMLTransformer` and :class:`skrelmetric.DRMLTransformer` have.
    ax : matplotlib Axes, default=None
        Where to draw. None makes a figure.

    Returns
    -------
    matplotlib Axes
        The axes of the loss. Those of the criterion, which has another unit, share its epochs and stand at the right.
        A dotted line and a ring mark the epoch whose weights were kept.

    Raises
    ------
    TypeError
        If `estimator` has no ``loss_curve_``.
    ValueError
        If it was fitted without a single epoch.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from skrelmetric import HRAMLTransformer
    >>> from skrelmetric.datasets import load_emotions
    >>> from skrelmetric.plotting import plot_training
    >>> X, Y = load_emotions(return_X_y=True)
    >>> metric = HRAMLTransformer(encoder="mlp", max_epochs=3, random_state=0)
    >>> ax = plot_training(metric.fit(X, Y))
    >>> ax.get_lines()[0].get_xdata()
    array([1, 2, 3])
    """
    check_is_fitted(estimator)
    losses = getattr(estimator, "loss_curve_", None)
    if losses is None:
        raise TypeError(f"{type(estimator).__name__} has no loss_curve_: it is not trained in epochs.")
    if not len(losses):
        raise ValueError(
            f"{type(estimator).__name__} was fitted without an epoch of training, so that its loss_curve_ is empty. "
            "Fit it with max_epochs of 1 or more."
        )
    scores = getattr(estimator, "validation_curve_", [])
    ax = axes_or_new(ax)
    ax.plot(np.arange(1, len(losses) + 1), losses, color=PALETTE[0])
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(optional("matplotlib.ticker").MaxNLocator(integer=True))
    if not len(scores):
        ax.set_ylabel("training loss")
        return ax
    ax.set_ylabel("training loss", color=PALETTE[0])
    # The criterion was also taken before training.
    beside, epochs, best = ax.twinx(), np.arange(len(scores)), estimator.best_epoch_
    beside.plot(epochs, scores, color=PALETTE[3], linestyle="--")
    beside.set_ylabel("validation criterion", color=PALETTE[3])
    beside.axvline(best, color=text_color(), linestyle=":", linewidth=1)
    beside.plot([best], [scores[best]], color=PALETTE[3], marker="o", markersize=9, fillstyle="none", clip_on=False)
    beside.set_title(f"best epoch {best}")
    return ax
