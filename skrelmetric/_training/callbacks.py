"""Callbacks of a training while it runs: those of the caller, those of scikit-learn, and a progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skrelmetric._training.checkpoint import History
from skrelmetric.callbacks import Epoch

__all__ = ["EpochCallbacks", "listed", "progress_bar"]


def listed(callbacks: Any) -> list[Callable[[Epoch], bool | None]]:
    """Callbacks that were passed as one, as a list or as None.

    Raises
    ------
    ValueError
        If one of them is a class or cannot be called.
    """
    several = [*callbacks] if isinstance(callbacks, list) else [] if callbacks is None else [callbacks]
    for callback in several:
        if isinstance(callback, type):
            raise ValueError(f"callbacks has the class {callback.__name__}. Pass an object of it.")
        if not callable(callback):
            raise ValueError(
                f"callbacks has {callback!r}, which cannot be called. Pass functions of a skrelmetric.callbacks.Epoch; "
                "callbacks of scikit-learn go to set_callbacks."
            )
    return several


class EpochCallbacks:
    """Callbacks of an estimator, its own and scikit-learn's, told of every epoch.

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
        self.own, self.fit = listed(estimator.callbacks), datetime.now(UTC).isoformat(timespec="microseconds")
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

    def epoch_ended(self, history: History, seconds: float, fitted: Callable[[], dict[str, Any]]) -> bool:
        """Call all callbacks after an epoch; ``fitted()`` has the attributes of the estimator as it is now.

        Returns
        -------
        bool
            Whether a callback asks to stop.

        Raises
        ------
        TypeError
            If one of the estimator's own returns anything but True, False and None.
        """
        own = self._call_own(history, seconds, fitted)
        return self._call_of_sklearn(fitted) or own

    def _call_own(self, history: History, seconds: float, fitted: Callable[[], dict[str, Any]]) -> bool:
        now = _Now(self.estimator, fitted)
        epoch = Epoch(
            self.fit,
            history.n_epochs,
            self.n_epochs,
            history.losses[-1],
            history.scores[-1] if history.scores else None,
            history.best_epoch,
            seconds,
            now,
        )
        stops = [_asks_to_stop(callback, epoch) for callback in self.own]
        now.end()
        return any(stops)

    def _call_of_sklearn(self, fitted: Callable[[], dict[str, Any]]) -> bool:
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


class _Now:
    """The estimator as it is, for as long as it is: a function that gives copies of it."""

    def __init__(self, estimator: BaseEstimator, fitted: Callable[[], dict[str, Any]]):
        self.source: tuple[BaseEstimator, Callable[[], dict[str, Any]]] | None = estimator, fitted

    def __call__(self) -> BaseEstimator:
        if self.source is None:
            raise RuntimeError(
                "The epoch is over, and its weights are gone. Call estimator() in the callback, and keep the result."
            )
        estimator, fitted = self.source
        now = object.__new__(type(estimator))
        vars(now).update(vars(estimator), **fitted())
        return copy(now)  # which copies modules and tensors, as a pickle does

    def end(self) -> None:
        """Give no more copies, and hold on to nothing."""
        self.source = None


def _asks_to_stop(callback: Callable[[Epoch], bool | None], epoch: Epoch) -> bool:
    answer = callback(epoch)
    if not isinstance(answer, bool | np.bool_ | None):
        raise TypeError(
            f"The callback {callback!r} returned {answer!r}. Return True to stop the training, or False or None."
        )
    return bool(answer)


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
