"""Transformers of torch modules: their reading, training, embedding and pickling."""

import io
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import joblib
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.optim import Optimizer

from skrelmetric._data.loaded import Loaded, loaded
from skrelmetric._data.read import Data, is_partitioned, read
from skrelmetric._data.samples import stored
from skrelmetric._data.subset import Subset
from skrelmetric._interop.arrays import float_dtypes, holds_integers, integer_dtype
from skrelmetric._interop.dask import is_dask, map_rows
from skrelmetric._interop.given import validate_data
from skrelmetric._interop.sklearn import (
    CallbackSupportMixin,
    Interval,
    MetricTransformer,
    StrOptions,
    check_same_namespace,
    warn_caller,
)
from skrelmetric._interop.torch import as_tensor, like
from skrelmetric._training.callbacks import EpochCallbacks, listed, progress_bar
from skrelmetric._training.checkpoint import Checkpoint, History, as_bytes, fingerprint
from skrelmetric._training.encode import dtype_of, embed
from skrelmetric._training.loop import train
from skrelmetric.distributed import Ranks, current_ranks
from skrelmetric.encoders import ACTIVATIONS

__all__ = ["ModuleTransformer", "as_given"]

_EXPORTED = {None: None, "float32": torch.float32, "float64": torch.float64}


# Without numbers, so that whoever collects the warnings of many fits has it once.
_NOTHING_GAINED = (
    "No epoch of training improved the criterion on the validation samples, so that the weights before training were "
    "kept: best_epoch_ is 0, and validation_curve_ has the criterion of each epoch. Lower learning_rate, raise "
    "max_epochs or n_iter_no_change, or judge by more samples (validation_fraction, or X_val and y_val). "
    "early_stopping=False keeps the last weights."
)


class ModuleTransformer(CallbackSupportMixin, MetricTransformer):
    """Transformer by a fitted torch module, ``encoder_``; ``_example`` has two samples of zeros.

    Its pickles load where the device of the modules is not, and take classes of a notebook along.
    """

    _parameter_constraints: dict = {
        "hidden_layer_sizes": [tuple, list],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "tol": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "checkpoint": [str, Path, None],
        "mixed_precision": ["boolean"],
        "verbose": ["boolean"],
        "callbacks": [callable, list, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }
    """Constraints of the parameters of the training, which all have."""

    _module_parameter: str
    """Name of the parameter that may be a module, which takes samples of any shape."""

    _modules_of_state: tuple[str, ...]
    """Attributes that hold modules or tensors."""

    _namespace_attribute: str
    """Attribute whose kind of array samples must be of."""

    n_iter_: int
    best_epoch_: int
    loss_curve_: list[float]
    validation_curve_: list[float]

    def transform(self, X: Any) -> np.ndarray:
        """Embed samples, so that their Euclidean distance is the learned one.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or of any shape for a torch module
            Samples, or a Dask array of them; or a data set or loader of them as `fit` takes it, whose targets, if it
            has any, are left alone. What its items draw of torch then depends on their place alone.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_components)
            Embeddings.

        Raises
        ------
        ValueError
            If samples are not finite, or have other features than those of the fit.
        """
        check_is_fitted(self, "encoder_")
        return self._mapped(self.encoder_, X, "transform")

    def export_onnx(self, path: str | Path, *, dtype: str | None = None) -> None:
        """Write the map from samples to their embedding as an ONNX model, for any number of samples.

        Its input is called "X", and its output "Z".

        Parameters
        ----------
        path : str or Path
            File to write.
        dtype : {"float32", "float64"} or None, default=None
            Dtype of input, of all that is computed, and of output; integer samples stay integers. None is that of the
            weights, as a rule that of the samples of the fit. A torch module of yours may need "float32": ONNX Runtime
            convolves, for example, in no other.

        Raises
        ------
        TypeError
            If `path` is none.
        ValueError
            If `dtype` is another one.
        ImportError
            If onnx or onnxscript is not installed.
        """
        check_is_fitted(self, "encoder_")
        if not isinstance(path, str | PathLike):
            raise TypeError(f"path={path!r} is no path. Pass the name of the file to write, such as 'metric.onnx'.")
        if dtype not in _EXPORTED:
            raise ValueError(f"dtype={dtype!r} is not known. Choose one of {list(_EXPORTED)}.")
        try:
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ImportError("export_onnx needs onnx and onnxscript: pip install 'skrelmetric[onnx]'.") from error
        # The oldest that torch writes; of later ones ONNX Runtime has less in float64.
        self._onnx_program(self.encoder_, _EXPORTED[dtype], opset_version=18).save(str(path), external_data=False)

    def _onnx_program(self, module: nn.Module, dtype: torch.dtype | None, opset_version: int) -> Any:
        """What a module makes of samples "X", called "Z", as torch exports it; in the dtype of the weights for None."""
        module, example = deepcopy(module).cpu().to(dtype), as_tensor(self._example).cpu()
        with catch_warnings():
            simplefilter("ignore")  # torch's exporter warns of itself
            return torch.onnx.export(
                module,
                (example.to(dtype_of(module)) if example.is_floating_point() else example,),
                input_names=["X"],
                output_names=["Z"],
                dynamic_shapes=({0: torch.export.Dim("n_samples")},),
                dynamo=True,
                verbose=False,
                opset_version=opset_version,
            )

    def _mapped(self, module: nn.Module, X: Any, method: str) -> Any:
        """What a module makes of samples, in their dtype, as an array of their kind; `method` is who asks."""
        if is_dask(X):
            example = self._mapped(module, np.zeros((1, *X.shape[1:]), dtype=X.dtype), method)
            return map_rows(getattr(self, method), X, example.shape[1], example.dtype)
        with loaded(X, self._options) as X:
            self._check_sample_shape(X)
            if isinstance(X, Loaded):
                rows: Any = X
                validate_data(self, X, reset=False, skip_check_array=True)
            else:
                check_same_namespace(X, self, attribute=self._namespace_attribute, method=method)
                X = validate_data(self, X, reset=False, **self._options(X))
                rows = stored(X)
            samples = Subset.alike(rows, next(self.encoder_.parameters()).device)  # of the last layer at least
            mapped = embed(module, samples, dtype_of(self.encoder_))
            return as_given(mapped, samples.dtype, X)

    def _read(self, X: Any, y: Any, sample_weight: Any = None, **options: Any) -> Data:
        """Samples of a fit, as :func:`skrelmetric._data.read.read` takes its options."""
        return read(self, X, y, sample_weight, options=self._options, **options)

    def _read_validation(self, X_val: Any, y_val: Any, data: Data) -> list[Data]:
        """Validation samples that were passed beside those of a fit, the same in every process."""
        if X_val is None and y_val is None:
            return []
        if X_val is None or (y_val is None and not isinstance(X_val, Loaded)):
            raise ValueError("Pass both X_val and y_val, or neither.")
        if not self.early_stopping:
            raise ValueError("X_val judges epochs, but early_stopping=False judges none. Pass early_stopping=True.")
        of_samples = X_val.identity if isinstance(X_val, Loaded) else X_val
        if len(set(data.partitions.ranks.gathered(joblib.hash((of_samples, y_val))))) > 1:
            raise ValueError(
                "X_val or y_val differ between processes. Within shards(), pass the same whole ones in each."
            )
        return [self._read(X_val, y_val, device=data.device, reset=False, streams=False)]

    def _options(self, X: Any) -> dict[str, Any]:
        """Kinds of samples that are taken, as options of ``check_array``: those of a module have any shape.

        Raises
        ------
        ValueError
            If samples are no rows of features, and there is no module for them.
        """
        module = isinstance(getattr(self, self._module_parameter), nn.Module)
        shape = tuple(getattr(X, "shape", ()))
        are_pairs = len(shape) == 3 and shape[1] == 2  # which are told what to do where they are read
        if not module and len(shape) > 2 and not are_pairs:
            raise ValueError(
                f"Samples have {len(shape) - 1} dimensions, {shape[1:]}, but rows of features are needed. Pass a torch "
                f"module that takes such samples, {self._module_parameter}=..., or flatten them: X.reshape(len(X), -1)."
            )
        dtype = integer_dtype(X) if module and holds_integers(X) else float_dtypes(X)
        return {"dtype": dtype, "accept_sparse": "csr", "allow_nd": module}

    def _check_start(self, X: Any, ranks: Ranks) -> None:
        """Refuse starts that exclude one another or the samples, layers without units, and what is no callback."""
        if self.checkpoint is not None and is_partitioned(X, ranks, streams=False):
            raise ValueError("checkpoint keeps the state of a fit to samples of one process in memory. Pass None.")
        if self.warm_start and self.checkpoint is not None:
            raise ValueError(
                "warm_start=True starts from the last fit and checkpoint from a file. Pass one of them only."
            )
        if not all(isinstance(n_units, Integral) and int(n_units) > 0 for n_units in self.hidden_layer_sizes):
            raise ValueError(f"hidden_layer_sizes={self.hidden_layer_sizes!r} must hold whole numbers above 0.")
        listed(self.callbacks)

    def _check_sample_shape(self, X: Any) -> None:
        """Refuse samples of more dimensions than one, such as images, whose dimensions are not those of the fit."""
        seen = tuple(self._example.shape[1:])
        if len(seen) < 2:
            return
        shape = tuple((X if hasattr(X, "shape") else np.asarray(X)).shape[1:])
        if len(shape) != len(seen) or shape[0] != seen[0]:
            raise ValueError(
                f"Samples have shape {shape}, but had {seen} in fit. As many dimensions are needed, and the first of "
                "them as it was (channels first, of images); a single sample x is passed as x[None]."
            )

    def _check_same_samples(self, example: Tensor) -> None:
        """Refuse a warm start from samples of another shape."""
        if self._example.shape != example.shape:
            raise ValueError(
                f"warm_start=True, but samples have shape {tuple(example.shape[1:])} and had "
                f"{tuple(self._example.shape[1:])} before. Pass warm_start=False to begin anew."
            )

    def _begin(self, data: Data, given: list[Data]) -> tuple[int, Checkpoint | None]:
        """Seed of a fit, the same in every process, and its checkpoint if there is one."""
        if self.checkpoint is None:
            return data.partitions.ranks.agreed(self._seed()), None
        every = [each.partitions.only for each in (data, *given)]
        key = self._fingerprint(*(part for some in every for part in (some.X, some.rows, some.targets.y, some.weights)))
        # Without a seed of the user's, the fit of a checkpoint has one of its own.
        seed = int(key[:7], 16) if self.random_state is None else self._seed()
        return seed, Checkpoint(Path(self.checkpoint).expanduser() / f"{key}.pt")

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _fingerprint(self, *data: Any) -> str:
        """Name that tells this fit from any other, but for where it runs and who watches."""
        elsewhere = {"callbacks", "checkpoint", "device", "verbose"}
        return fingerprint({name: v for name, v in self.get_params(deep=False).items() if name not in elsewhere}, data)

    def _train(
        self,
        trainer: Any,
        optimizer: Optimizer | None,
        criterion: Callable[[], float] | None,
        checkpoint: Checkpoint | None,
        callbacks: EpochCallbacks,
        fitted: Callable[[], dict[str, Any]],
    ) -> None:
        """Train a module whose ``run_epoch(epoch, optimizer)`` returns a loss, if it has an optimiser; keep the curves.

        The criterion judges the module as it is, the lower the better; ``fitted()`` gives callbacks the attributes of
        the estimator as they are.
        """
        history = History()
        if optimizer is not None:
            with progress_bar(callbacks.n_epochs, self.verbose) as advance:

                def after_epoch(history: History, seconds: float) -> bool:
                    advance(history)
                    stop = callbacks.epoch_ended(history, seconds, lambda: {**fitted(), **_curves(history)})
                    return any(current_ranks().gathered(stop))

                history = train(
                    trainer,
                    optimizer,
                    partial(trainer.run_epoch, optimizer=optimizer),
                    max_epochs=callbacks.n_epochs,
                    criterion=criterion,
                    tol=self.tol,
                    patience=self.n_iter_no_change,
                    checkpoint=checkpoint,
                    after_epoch=after_epoch,
                )
        resumed = self.warm_start and hasattr(self, "encoder_")  # from weights that may well have been the best
        judged = history.losses and history.scores and history.scores[0] > 0  # 0 is the best there is
        if judged and not history.best_epoch and not resumed:
            warn_caller(_NOTHING_GAINED, ConvergenceWarning)
        self._keep_curves(history)

    def _keep_curves(self, history: History) -> None:
        for name, value in _curves(history).items():
            setattr(self, name, value)

    def __getstate__(self):
        state = super().__getstate__().copy()
        modules = {name: state.pop(name) for name in self._modules_of_state if name in state}
        return {**state, "_modules_as_bytes": as_bytes(modules)}

    def __setstate__(self, state):
        state = dict(state)
        modules = io.BytesIO(state.pop("_modules_as_bytes"))
        super().__setstate__(state)
        for name, value in torch.load(modules, map_location=_where_possible, weights_only=False).items():
            setattr(self, name, value)


def _curves(history: History) -> dict[str, Any]:
    """Attributes that tell the course of a training."""
    return {
        "loss_curve_": [*history.losses],
        "validation_curve_": [*history.scores],
        "n_iter_": history.n_epochs,
        "best_epoch_": history.best_epoch,
    }


def as_given(mapped: Tensor, dtype: torch.dtype, X: Any) -> Any:
    """What a module makes of samples `X`, in their dtype if they are floats, as an array of their kind."""
    return like(mapped.to(dtype) if dtype.is_floating_point else mapped, X)


def _where_possible(storage: Any, location: str) -> Any:
    """Leave on the CPU what was on a device that is not here."""
    try:
        torch.empty(0, device=location)
    except (RuntimeError, AssertionError, NotImplementedError):
        return storage
    return None
