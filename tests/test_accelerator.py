"""The measurement of precision on a device: its results are right, and its choices of precision are what they say."""

import json

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import accelerator
from benchmarks.accelerator import Float32, Problem, deep, linear, main, measure, tf32

TINY = ["--n", "4000", "--features", "8", "--labels", "3", "--width", "4", "--repeats", "2"]


class Dtypes(TorchDispatchMode):
    """Notes the floating dtypes of all results."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.seen |= {leaf.dtype for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        return result


def test_what_is_measured_is_the_solution_over_all_pairs():
    X, Y, _ = problem = Problem.drawn(60, 3, 2, 2)
    n, d = X.shape
    differences = (X[:, None] - X).reshape(-1, d).numpy()
    relation = (Y[:, None] != Y).sum(2).reshape(-1).numpy()
    products = (differences[:, :, None] * differences[:, None]).reshape(-1, d * d)
    centred = products - products.mean(0)
    scale = X.var(0, correction=0).mean().item()  # the penalty is on M in units of the variance
    penalty = accelerator._ALPHA * scale**2 * np.eye(d * d)
    M = np.linalg.solve(centred.T @ centred / n**2 + penalty, centred.T @ (relation - relation.mean()) / n**2)
    np.testing.assert_allclose(linear(problem).values["M"], M.reshape(d, d), rtol=1e-6, atol=1e-9)


def test_what_is_measured_is_the_loss_of_all_pairs():
    _, Y, Z = problem = Problem.drawn(50, 3, 2, 4)
    Z = Z.requires_grad_()
    distances = (Z[:, None] - Z).square().sum(2)
    loss = (distances - (Y[:, None] != Y).sum(2)).square().mean() / 2
    loss.backward()
    values = deep(problem._replace(Z=Z.detach())).values
    torch.testing.assert_close(values["loss"], loss.detach())
    torch.testing.assert_close(values["gradient"], Z.grad)


@pytest.mark.parametrize("work", [linear, deep])
def test_float32_throughout_has_no_float64(work):
    problem = Problem.drawn(300, 5, 2, 3).to(torch.device("cpu"), torch.float32)
    with Dtypes() as with_sums_in_float64:
        work(problem).again()
    with Float32(), Dtypes() as throughout:
        work(problem).again()
    assert torch.float64 in with_sums_in_float64.seen
    assert torch.float32 in throughout.seen
    assert torch.float64 not in throughout.seen


def test_tf32_ends():
    before = torch.get_float32_matmul_precision()
    with tf32():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def test_accuracy_is_in_the_order_of_precision(tmp_path, capsys):
    assert main(["--device", "cpu", *TINY, "--out", str(tmp_path / "precision.jsonl")]) == 0
    printed = capsys.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "precision.jsonl").read_text().splitlines()]
    assert len(records) == 6
    for three in (records[:3], records[3:]):
        assert len({record["path"] for record in three}) == 1
        for name in three[0]["errors"]:
            double, mixed, single = (record["errors"][name] for record in three)
            assert double < 1e-12
            assert 1e-12 < mixed < 1e-5
            assert 3 * mixed < single < 0.1
    for record in records:
        assert record["arithmetic"] in printed
        assert record["rows_per_second"] == pytest.approx(4000 / record["seconds"])
        assert record["ratio"] > 0
        assert record["gigabytes_per_second"] > 0


@pytest.mark.parametrize("device", ["nowhere"] + ["cuda"] * (not torch.cuda.is_available()))
def test_a_device_that_is_not_there_is_refused(device, capsys):
    assert main(["--device", device, *TINY]) == 2
    assert f"device='{device}' cannot be used here" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["1", "-3", "many"])
def test_sizes_are_checked(size, capsys):
    with pytest.raises(SystemExit):
        main(["--n", size])
    assert "whole number from 2 on" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no GPU here")
def test_on_a_gpu():
    records = list(measure(Problem.drawn(4000, 8, 3, 4), torch.device("cuda"), repeats=2))
    assert {record["device"] for record in records} == {torch.cuda.get_device_name()}
    assert all(error < 0.1 for record in records for error in record["errors"].values())
