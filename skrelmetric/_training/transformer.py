"""What transformers of torch modules share: how samples come in, and how the modules leave the process."""

import io
from copy import deepcopy
from numbers import Integral
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import joblib
import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from skrelmetric._data.checks import check_supervision
from skrelmetric._data.samples import Rows
from skrelmetric._interop.dask import is_dask, map_rows
from skrelmetric._interop.sklearn import CallbackSupportMixin, check_same_namespace
from skrelmetric._interop.torch import as_tensor, float_dtypes, holds_integers, integer_dtype, like
from skrelmetric._training.encode import Part, alike, counted_part, dtype_of, embed, stored
from skrelmetric._training.loop import as_bytes, fingerprint
from skrelmetric.distributed import Ranks

__all__ = ["ModuleTransformer"]


class ModuleTransformer(CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Transformer by a fitted torch module, ``encoder_``; ``_example`` has two samples of zeros.

    Its pickles load where the device of the modules is not, and take classes of a notebook along.
    """

    _module_parameter: str
    """Name of the parameter that may be a module, which takes samples of any shape."""

    _modules_of_state: tuple[str, ...]
    """Attributes that hold modules or tensors."""

    _namespace_attribute: str
    """Attribute whose kind of array samples must be of."""

    def transform(self, X: Any) -> np.ndarray:
        """Embed samples, so that their Euclidean distance is the learned one.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or of any shape for a torch module
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Embeddings.
        """
        check_is_fitted(self, "encoder_")
        if is_dask(X):
            example = self.transform(np.zeros((1, *X.shape[1:]), dtype=X.dtype))
            return map_rows(self.transform, X, self._n_features_out, example.dtype)
        check_same_namespace(X, self, attribute=self._namespace_attribute, method="transform")
        X = self._validated(X, reset=False)
        rows = stored(X)
        device = next(self.encoder_.parameters()).device  # of the last layer at least
        embedding = embed(self.encoder_, alike(rows, device), dtype_of(self.encoder_))
        if isinstance(rows, Tensor) and rows.is_floating_point():
            embedding = embedding.to(rows.dtype)
        elif sparse.issparse(rows):
            embedding = embedding.to(as_tensor(rows.data[:0]).dtype)
        return like(embedding, X)

    def export_onnx(self, path: str | Path) -> None:
        """Write the map from samples to their embedding as an ONNX model, for any number of samples.

        Its input is called "X", and its output "Z".

        Parameters
        ----------
        path : str or Path
            File to write.

        Raises
        ------
        ImportError
            If onnx or onnxscript is not installed.
        """
        check_is_fitted(self, "encoder_")
        try:
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ImportError("export_onnx needs onnx and onnxscript: pip install 'skrelmetric[onnx]'.") from error
        encoder, example = deepcopy(self.encoder_).cpu(), as_tensor(self._example).cpu()
        with catch_warnings():
            simplefilter("ignore")  # torch's exporter warns of itself
            torch.onnx.export(
                encoder,
                (example.to(dtype_of(encoder)) if example.is_floating_point() else example,),
                str(path),
                input_names=["X"],
                output_names=["Z"],
                dynamic_shapes=({0: torch.export.Dim("n_samples")},),
                dynamo=True,
                verbose=False,
                external_data=False,
            )

    def _validated(self, X: Any, *, reset: bool) -> Any:
        return validate_data(self, X, reset=reset, ensure_min_samples=2 if reset else 1, **self._kinds(X))

    def _validation_set(self, X_val: Any, y_val: Any, training: Part) -> tuple[Part, Any]:
        """Validation samples, whose places follow those of the training samples, and their targets."""
        self._check_validation_set(X_val, y_val)
        X_val = self._validated(X_val, reset=False)
        device = training.weights.device
        validation, y_val = counted_part(X_val, check_supervision(self, X_val, y_val), None, device)
        return validation._replace(places=validation.places + training.n_samples), y_val

    def _check_validation_set(self, X_val: Any, y_val: Any) -> None:
        if X_val is None or y_val is None:
            raise ValueError("Pass both X_val and y_val, or neither.")
        if not self.early_stopping:
            raise ValueError("X_val judges epochs, but early_stopping=False judges none. Pass early_stopping=True.")

    def _check_same_validation_set(self, X_val: Any, y_val: Any, ranks: Ranks) -> None:
        if len(set(ranks.gathered(joblib.hash((X_val, y_val))))) > 1:
            raise ValueError(
                "X_val or y_val differ between processes. Within shards(), pass the same whole ones in each."
            )

    def _rows(self, X: Any) -> Rows:
        """Samples of a part, of which there may be none, checked."""
        return stored(check_array(X, ensure_min_samples=0, input_name="X", **self._kinds(X)))

    def _kinds(self, X: Any) -> dict[str, Any]:
        """Which samples are taken: those of a module may have any shape, and be whole numbers."""
        module = isinstance(getattr(self, self._module_parameter), nn.Module)
        dtype = integer_dtype(X) if module and holds_integers(X) else float_dtypes(X)
        return {"dtype": dtype, "accept_sparse": "csr", "allow_nd": module}

    def _check_layers_and_start(self) -> None:
        if self.warm_start and self.checkpoint is not None:
            raise ValueError(
                "warm_start=True starts from the last fit and checkpoint from a file. Pass one of them only."
            )
        if not all(isinstance(n_units, Integral) and int(n_units) > 0 for n_units in self.hidden_layer_sizes):
            raise ValueError(f"hidden_layer_sizes={self.hidden_layer_sizes!r} must hold whole numbers above 0.")

    def _check_same_samples(self, example: Tensor) -> None:
        """Refuse a warm start from samples of another shape."""
        if self._example.shape != example.shape:
            raise ValueError(
                f"warm_start=True, but samples have shape {tuple(example.shape[1:])} and had "
                f"{tuple(self._example.shape[1:])} before. Pass warm_start=False to begin anew."
            )

    def _copied_module(self) -> nn.Module:
        """Copy of the user's module, to be trained."""
        name, module = self._module_parameter, getattr(self, self._module_parameter)
        if dtype_of(module) not in (torch.float32, torch.float64):
            raise ValueError(
                f"The {name} has parameters of {dtype_of(module)}, but float32 or float64 is needed. "
                f"Use {name}.float(), and mixed_precision=True for bfloat16."
            )
        copy = deepcopy(module)
        copy.register_forward_pre_hook(_on_copies)  # what works in place would change the user's samples
        return copy

    def _seed(self, key: str | None) -> int:
        if key is not None and self.random_state is None:
            return int(key[:7], 16)  # so that the fit of a checkpoint has one seed
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _fingerprint(self, *data: Any) -> str:
        """What tells this fit from any other, but for where it runs."""
        elsewhere = {"checkpoint", "device", "verbose"}
        return fingerprint({name: v for name, v in self.get_params(deep=False).items() if name not in elsewhere}, data)

    def __getstate__(self):
        state = super().__getstate__().copy()
        modules = {name: state.pop(name) for name in self._modules_of_state if name in state}
        return {**state, "_modules_as_bytes": as_bytes(modules)}

    def __setstate__(self, state):
        state = dict(state)
        modules = io.BytesIO(state.pop("_modules_as_bytes"))
        super().__setstate__(state)
        self.__dict__.update(torch.load(modules, map_location=_where_possible, weights_only=False))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.two_d_labels = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _on_copies(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.clone() for each in inputs)


def _where_possible(storage: Any, location: str) -> Any:
    """Leave on the CPU what was on a device that is not here."""
    try:
        torch.empty(0, device=location)
    except (RuntimeError, AssertionError, NotImplementedError):
        return storage
    return None
