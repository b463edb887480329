"""Published weights, arrays and gradients of DRML: of the authors' module, and of the paper's equations."""

from pathlib import Path

import numpy as np
import torch
from numpy.testing import assert_allclose

from skrelmetric._drml.ensemble import RelationalEnsemble

FIXTURES = Path(__file__).parent / "fixtures"
OFFICIAL = [
    "official_K2_f64",
    "official_K4_f64",
    "official_K4_authors_init_f64",
    "official_K4_f32",
    "official_K4_wide_f64",
]
PAPER = ["paper_K4_l2nodes_f64", "paper_K4_rawnodes_f64"]
LAYERS = {"nodes": "node", "senders": "Aedge", "receivers": "Bedge", "decoders": "decoder"}


def load(name):
    """Arrays of a fixture, the module with its weights, and its samples."""
    with np.load(FIXTURES / f"{name}.npz") as file:
        arrays = dict(file)
    X = torch.from_numpy(arrays["X"]).requires_grad_()
    K, d = arrays["nodes"].shape[1:]
    official = name.startswith("official")
    module = RelationalEnsemble(
        X.shape[1],
        K * d,
        K,
        torch.Generator(),
        X.dtype,
        split_features=official,
        stop_gradient=not official,
        normalize_nodes="rawnodes" not in name,
        reconstruction="mse" if official else "l2",
    )

    def weights(layer, kind):
        return torch.from_numpy(np.stack([arrays[f"W/{layer}_{k}.{kind}"] for k in range(K)]))

    with torch.no_grad():
        for ours, theirs in LAYERS.items():
            getattr(module, ours).weight.copy_(weights(theirs, "weight"))
            getattr(module, ours).bias.copy_(weights(theirs, "bias"))
        module.direction.copy_(torch.from_numpy(arrays["W/score_func.weight"][0]))
        module.offset.copy_(torch.from_numpy(arrays["W/score_func.bias"])[0])
        module.update.weight.copy_(torch.from_numpy(arrays["W/integrator.weight"]))
        module.update.bias.copy_(torch.from_numpy(arrays["W/integrator.bias"]))
    return arrays, module, X


def tolerance(X):
    return {"rtol": 1e-10, "atol": 1e-11} if X.dtype == torch.float64 else {"rtol": 1e-5, "atol": 2e-5}


def gradients(module, X, names=LAYERS):
    """Gradients under the names of the fixtures, zeros where there are none; None where nothing was reached."""
    found = {"X": X.grad}
    for ours, theirs in names.items():
        layer = getattr(module, ours)
        for k in range(module.n_branches):
            found[f"{theirs}_{k}.weight"] = None if layer.weight.grad is None else layer.weight.grad[k]
            found[f"{theirs}_{k}.bias"] = None if layer.bias.grad is None else layer.bias.grad[k]
    direction, offset = module.direction.grad, module.offset.grad
    found["score_func.weight"] = None if direction is None else direction[None]
    found["score_func.bias"] = None if offset is None else offset[None]
    found["integrator.weight"], found["integrator.bias"] = module.update.weight.grad, module.update.bias.grad
    return {name: None if g is None else g.numpy() for name, g in found.items()}


def check_gradients(arrays, prefix, module, X):
    for name, gradient in gradients(module, X).items():
        expected = arrays[f"{prefix}/{name}"]
        gradient = np.zeros_like(expected) if gradient is None else gradient
        scale = max(1.0, abs(expected).max())
        assert_allclose(gradient / scale, expected / scale, **tolerance(X), err_msg=name)
