"""Callbacks of trainings: functions that are called after every epoch, and a log of the epochs in a file.

``HRAMLTransformer(callbacks=...)`` and ``DRMLTransformer(callbacks=...)`` take a function of an `Epoch`, or a list of
them, with any version of scikit-learn. scikit-learn's own callbacks (from 1.9 on), which also watch pipelines and
searches from the outside, go to ``set_callbacks`` and work beside these.

A callback that returns True stops the training, with the best weights as always; the others are called all the same.
What it raises ends the fit. It is called for epochs that run, not for those that a checkpoint has; a training that it
stopped goes on from its checkpoint in the next fit. ``clone`` copies callbacks that are objects and keeps functions;
a pickle takes them along, so that ``set_params(callbacks=None)`` goes before one of what cannot be pickled.

Within :func:`skrelmetric.distributed.shards`, each process calls its own, and what stops one stops all. All of them
solve an exact head together: all call ``epoch.estimator()``, or none.

MLflow and TensorBoard are functions, too; ``epoch.criterion`` is None without validation:

.. code-block:: python

    import mlflow


    def to_mlflow(epoch):
        mlflow.log_metrics(
            {"loss": epoch.loss, "criterion": epoch.criterion}, step=epoch.number
        )

.. code-block:: python

    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter()


    def to_tensorboard(epoch):
        writer.add_scalar("loss", epoch.loss, epoch.number)
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from skrelmetric._interop.files import append_line

__all__ = ["Epoch", "EpochLog"]


@dataclass(frozen=True)
class Epoch:
    """Record of an epoch that has just ended, which callbacks are called with.

    Parameters
    ----------
    fit : str
        Time at which the training began, in UTC (ISO 8601), which tells its epochs from those of other fits.
    number : int
        Number of the epoch, from 1; of a training that was resumed, those before count.
    max_epochs : int
        Most epochs of the training.
    loss : float
        Training loss, as in ``loss_curve_``.
    criterion : float or None
        Criterion of validation after the epoch, the lower the better, as in ``validation_curve_``; None without one.
    best_epoch : int
        Epoch whose weights are the best so far, 0 for those before training; without validation the last one.
    seconds : float
        Time that training and judging took in this epoch, in seconds.
    estimator : callable
        ``estimator()`` is a copy of the estimator, fitted as if training had ended here with the last weights, which
        shares nothing with the training. It costs what copying the weights does, and the solution of an exact head
        where the epoch was not judged by it. Once the callbacks have returned, it raises a RuntimeError.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrelmetric import DRMLTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> def show(epoch):
    ...     print(epoch.number, epoch.estimator().transform(X).shape)
    ...     return epoch.number == 2
    >>> DRMLTransformer(16, callbacks=show, random_state=0).fit(X / 16, y).n_iter_
    1 (1797, 16)
    2 (1797, 16)
    2
    """

    fit: str
    number: int
    max_epochs: int
    loss: float
    criterion: float | None
    best_epoch: int
    seconds: float
    estimator: Callable[[], Any] = field(repr=False, compare=False)


@dataclass
class EpochLog:
    """Callback that appends a row to a file for every epoch.

    The columns are fit, epoch, loss, criterion, best_epoch and seconds, as :class:`Epoch` has them. Each row is
    appended whole to a file that may be there: what an interrupted training wrote stays, and fits in several processes
    of a machine may share the file.

    Parameters
    ----------
    path : str or Path
        File to append to, whose name ends in ".csv", for a table with a header, or in ".jsonl", for a JSON object a
        line. Its folder is made if need be.

    Raises
    ------
    TypeError
        If `path` is none.
    ValueError
        If its name ends in anything else; when it is called, if the file is there and has another header.

    Examples
    --------
    >>> from skrelmetric import HRAMLTransformer
    >>> from skrelmetric.callbacks import EpochLog
    >>> metric = HRAMLTransformer(encoder="mlp", callbacks=EpochLog("training.csv"))
    """

    path: str | Path

    def __post_init__(self):
        if not isinstance(self.path, str | PathLike):
            raise TypeError(f"path={self.path!r} is no path. Pass the name of the file, such as 'training.csv'.")
        self.path = Path(self.path).expanduser().absolute()
        if self.path.suffix not in _FORMATS:
            raise ValueError(f"path={str(self.path)!r} must end in one of {list(_FORMATS)}, which says how to write.")

    def __call__(self, epoch: Epoch) -> None:
        """Append the row of an epoch."""
        path = Path(self.path)
        line, header = _FORMATS[path.suffix](
            {
                "fit": epoch.fit,
                "epoch": epoch.number,
                "loss": epoch.loss,
                "criterion": epoch.criterion,
                "best_epoch": epoch.best_epoch,
                "seconds": epoch.seconds,
            }
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, line, header)


def _as_csv(row: dict[str, Any]) -> tuple[str, str]:
    return _comma_separated(row.values()), _comma_separated(row)


def _as_json(row: dict[str, Any]) -> tuple[str, str]:
    return f"{json.dumps(row)}\n", ""


def _comma_separated(cells: Any) -> str:
    csv.writer(text := io.StringIO(), lineterminator="\n").writerow(cells)
    return text.getvalue()


_FORMATS = {".csv": _as_csv, ".jsonl": _as_json}
"""Line of a row and header of the file, by the suffix of its name."""
