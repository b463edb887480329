"""The measurement of precision on a device: its results are right, and its choices of precision are what they say."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.cli import main
from benchmarks.speed import accelerator
from benchmarks.speed.accelerator import WORKS, Float32, Problem, Work, linear_fit, linear_map, measure, tf32, training
from tests.benchmarks.comparison import records_of

CPU = torch.device("cpu")


class Dtypes(TorchDispatchMode):
    """Notes the floating dtypes of all results."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.seen |= {leaf.dtype for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        return result


@pytest.fixture(autouse=True)
def tensors_stay_where_they_are():
    with config_context(array_api_dispatch=True):
        yield


def test_what_is_measured_is_the_solution_over_all_pairs():
    X, Y, _ = problem = Problem.drawn(60, 3, 2, 2)
    n, d = X.shape
    differences = (X[:, None] - X).reshape(-1, d).numpy()
    relation = (Y[:, None] != Y).sum(2).reshape(-1).numpy()
    products = (differences[:, :, None] * differences[:, None]).reshape(-1, d * d)
    centred = products - products.mean(0)
    scale = X.var(0, correction=0).mean().item()  # the penalty is on M in units of the variance
    penalty = accelerator.ALPHA * scale**2 * np.eye(d * d)
    M = np.linalg.solve(centred.T @ centred / n**2 + penalty, centred.T @ (relation - relation.mean()) / n**2)
    eigenvalues, V = np.linalg.eigh(M.reshape(d, d))
    positive = V * np.maximum(eigenvalues, 0) @ V.T
    S = (X - X.mean(0)).T.numpy() @ (X - X.mean(0)).numpy() / n
    W = np.linalg.solve(S + scale * np.eye(d), (X - X.mean(0)).T.numpy() @ Y.numpy() / n)  # ridge regression
    positive = 0.7 * positive + 0.3 * np.trace(positive @ S) / np.trace(W @ W.T @ S) * W @ W.T
    np.testing.assert_allclose(linear_fit(problem).values["M"], positive, rtol=1e-6, atol=1e-9)
    mapped = torch.einsum("ijd,de,ije->ij", X[:, None] - X, torch.from_numpy(positive), X[:, None] - X)
    torch.testing.assert_close(linear_map(problem).values["distances"], mapped, rtol=1e-6, atol=1e-9)


def test_what_is_measured_is_the_loss_of_all_pairs():
    _, Y, Z = problem = Problem.drawn(50, 3, 2, 4)
    W = torch.eye(4, dtype=torch.float64, requires_grad=True)
    embedded = Z @ W.T
    loss = ((embedded[:, None] - embedded).square().sum(2) - (Y[:, None] != Y).sum(2)).square().mean() / 2
    loss.backward()
    values = training(problem).values
    torch.testing.assert_close(values["loss"], loss.detach())
    torch.testing.assert_close(values["gradient"], W.grad)


def test_other_works_compute_what_they_name():
    _, Y, Z = problem = Problem.drawn(50, 3, 2, 4)
    product = WORKS["relation @ embedding"](problem).values["product"]
    torch.testing.assert_close(product, (Y[:, None] != Y).sum(2).double() @ Z)
    distances = torch.cdist(Z, Z).fill_diagonal_(torch.inf)
    same = (Y[:, None] == Y).all(2)
    nearest = same.gather(1, distances.argsort(1))
    expected = [float(nearest[:, :k].any(1).double().mean()) for k in (1, 10)]
    assert WORKS["recall_at_k"](problem).values["recall"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("path", WORKS)
def test_float32_throughout_has_no_float64(path):
    problem = Problem.drawn(300, 5, 2, 3).to(CPU, torch.float32)
    with Float32():
        work = WORKS[path](problem)
        with Dtypes() as throughout:
            work.again()
    assert torch.float32 in throughout.seen
    assert torch.float64 not in throughout.seen


@pytest.mark.parametrize("work", [linear_fit, training])
def test_sums_of_float32_are_float64(work):
    with Dtypes() as seen:
        work(Problem.drawn(300, 5, 2, 3).to(CPU, torch.float32)).again()
    assert torch.float64 in seen.seen


def test_tf32_ends():
    before = torch.get_float32_matmul_precision()
    with tf32():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def test_accuracy_is_in_the_order_of_precision(tmp_path, capsys):
    out = tmp_path / "precision.jsonl"
    sizes = ["--n-samples", "3000", "--n-features", "8", "--n-labels", "3", "--width", "4", "--repeats", "1"]
    assert main(["--profile", "accelerator", "--device", "cpu", *sizes, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    records = records_of(out)
    assert [record["path"] for record in records[::3]] == list(WORKS)
    for double, mixed, single in zip(*(records[k::3] for k in range(3)), strict=True):
        assert double["path"] == mixed["path"] == single["path"]
        assert max(double["errors"].values()) < 1e-12
        assert max(mixed["errors"].values()) < 1e-4
        if double["path"].startswith(("RAMLLinear", "HRAML")):
            for name in double["errors"]:
                assert 0 < 3 * mixed["errors"][name] < single["errors"][name] < 0.1
    for record in records:
        assert record["agrees"]
        assert record["arithmetic"] in printed
        assert record["rows_per_second"] == pytest.approx(3000 / record["seconds"])
        assert record["gigabytes_per_second"] > 0


def test_other_values_than_on_the_cpu_are_said(monkeypatch, tmp_path, capsys):
    def odd(problem):
        value = torch.tensor(2.0 if problem.X.dtype == torch.float32 else 1.0)
        return Work({"value": value}, lambda: None, problem.X, n_reads=1)

    monkeypatch.setattr(accelerator, "WORKS", {"odd": odd})
    measured = list(measure(Problem.drawn(10, 2, 2, 2), CPU, repeats=1))
    assert [each["errors"]["value"] for each in measured] == [0.0, 1.0, 1.0]
    assert [each["agrees"] for each in measured] == [True, False, True], "float32 throughout promises nothing"
    sizes = ["--n-samples", "10", "--n-features", "2", "--n-labels", "2", "--width", "2", "--repeats", "1"]
    assert main(["--profile", "accelerator", "--device", "cpu", *sizes, "--out", str(tmp_path / "r.jsonl")]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "Other values than in float64 on the CPU: odd in float32, float64 sums." in printed


@pytest.mark.parametrize("device", ["nowhere"] + ["cuda"] * (not torch.cuda.is_available()))
def test_a_device_that_is_not_there_is_refused(device, tmp_path, capsys):
    assert main(["--profile", "accelerator", "--device", device, "--out", str(tmp_path / "r.jsonl")]) == 2
    assert f"--device {device} cannot be used here" in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no GPU here")
def test_on_a_gpu():
    measured = list(measure(Problem.drawn(4000, 8, 3, 4), torch.device("cuda"), repeats=2))
    assert {each["device"] for each in measured} == {torch.cuda.get_device_name()}
    assert all(each["agrees"] for each in measured)
