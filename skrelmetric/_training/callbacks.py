"""Callbacks of a training while it runs: those of scikit-learn, and a progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.base import BaseEstimator

from skrelmetric._training.checkpoint import History

__all__ = ["EpochCallbacks", "progress_bar"]


class EpochCallbacks:
    """scikit-learn's callbacks of an estimator, told of every epoch; does nothing where there are none.

    Parameters
    ----------
    estimator : estimator
        Estimator in its `fit`.
    n_epochs : int
        Most epochs.
    X, y : object
        What it is fitted to.
    """

    def __init__(self, estimator: BaseEstimator, n_epochs: int, X: Any, y: Any):
        self.estimator, self.n_epochs, self.data = estimator, n_epochs, {"X": X, "y": y}
        self.context: Any = None
        self.epoch: Any = None
        if getattr(estimator, "_skl_callbacks", None) and hasattr(estimator, "_init_callback_context"):
            self.context = estimator._init_callback_context(max_subtasks=n_epochs)
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)
            self.n_begun = 0
            self._begin()

    def _begin(self) -> None:
        self.epoch = None
        if self.n_begun < self.n_epochs:
            self.epoch = self.context.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)
            self.n_begun += 1

    def epoch_ended(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """Call the hooks after an epoch; ``fitted()`` has the attributes of the estimator as it is now.

        Returns
        -------
        bool
            Whether a callback asks to stop.
        """
        if self.epoch is None:
            return False
        stop = self.epoch.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=fitted, **self.data)
        self._begin()
        return bool(stop)

    def fit_ended(self, fitted: Callable[[], dict[str, Any]]) -> None:
        """Call the hooks at the end of the fit."""
        if self.context is None:
            return
        if self.epoch is not None:
            self.epoch.call_on_fit_task_end(estimator=self.estimator)  # an epoch that was not needed
        self.context.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=fitted, **self.data)


@contextmanager
def progress_bar(n_epochs: int, verbose: bool) -> Iterator[Callable[[History], None]]:
    """Function to call after each epoch, which shows how far a training is."""
    if not verbose:
        yield lambda history: None
        return
    try:
        from rich.progress import Progress
    except ImportError as error:
        raise ImportError("verbose=True needs rich: pip install 'skrelmetric[progress]'.") from error
    with Progress() as progress:
        bar = progress.add_task("Epochs", total=n_epochs)

        def advance(history: History) -> None:
            score = f", criterion {history.scores[-1]:.4g}" if history.scores else ""
            description = f"Epoch {history.n_epochs}, loss {history.losses[-1]:.4g}{score}"
            progress.update(bar, completed=history.n_epochs, description=description)

        yield advance
