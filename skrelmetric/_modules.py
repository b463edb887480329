"""Torch modules inside estimators: how they leave the process."""

import io
from copy import deepcopy
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from skrelmetric.training import as_bytes

__all__ = ["PortableModules", "write_onnx"]


class PortableModules(BaseEstimator):
    """Pickles of an estimator whose modules load where their device is not, and take classes of a notebook along.

    A subclass names in ``_modules_of_state`` the attributes that hold modules or tensors.
    """

    _modules_of_state: tuple[str, ...] = ()

    def __getstate__(self):
        state = super().__getstate__().copy()
        modules = {name: state.pop(name) for name in self._modules_of_state if name in state}
        return {**state, "_modules_as_bytes": as_bytes(modules)}

    def __setstate__(self, state):
        state = dict(state)
        modules = io.BytesIO(state.pop("_modules_as_bytes"))
        super().__setstate__(state)
        self.__dict__.update(torch.load(modules, map_location=_where_possible, weights_only=False))


def write_onnx(encoder: nn.Module, example: Tensor, path: str | Path) -> None:
    """Write a module as an ONNX model from "X" to "Z", for any number of samples.

    Parameters
    ----------
    encoder : nn.Module
        Maps samples to features.
    example : Tensor
        Two samples.
    path : str or Path
        File to write.

    Raises
    ------
    ImportError
        If onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("export_onnx needs onnx and onnxscript: pip install 'skrelmetric[onnx]'.") from error
    encoder, example = deepcopy(encoder).cpu(), example.cpu()
    dtype = next((p.dtype for p in encoder.parameters() if p.is_floating_point()), torch.float32)
    with catch_warnings():
        simplefilter("ignore")  # torch's exporter warns of itself
        torch.onnx.export(
            encoder,
            (example.to(dtype) if example.is_floating_point() else example,),
            str(path),
            input_names=["X"],
            output_names=["Z"],
            dynamic_shapes=({0: torch.export.Dim("n_samples")},),
            dynamo=True,
            verbose=False,
            external_data=False,
        )


def _where_possible(storage: Any, location: str) -> Any:
    """Leave on the CPU what was on a device that is not here."""
    try:
        torch.empty(0, device=location)
    except (RuntimeError, AssertionError, NotImplementedError):
        return storage
    return None
