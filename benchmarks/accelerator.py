"""What precision costs and brings on a device: ``python -m benchmarks.accelerator --device cuda``.

Alignment keeps samples as they come, multiplies float32 rows in float32, and adds up in float64 what is small: d x d
matrices, and sums of chunks. The same code is measured here with float64 and with float32 in all places, on the same
samples, against its own result in float64 on the CPU.
"""

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks import results
from benchmarks.experiment import Record, versions
from benchmarks.timing import medians
from skrelmetric._alignment.loss import AllPairs
from skrelmetric._alignment.problem import Problem
from skrelmetric._alignment.ridge import normal_equations, ridge
from skrelmetric._data.samples import Samples
from skrelmetric._interop.torch import resolve_device
from skrelmetric.relations import make_relation

_ALPHA, _MAX_ITER, _TOL = 1.0, 50, 1e-9  # the solution as exact as its sums allow


class Problem(NamedTuple):
    """Samples, their label sets and an embedding, drawn on the CPU; all values are exact in float32.

    Attributes
    ----------
    X : Tensor of shape (n_samples, n_features)
        Samples of mean 1 and variance 1, float64.
    Y : Tensor of shape (n_samples, n_labels)
        Label indicator.
    Z : Tensor of shape (n_samples, width)
        Embedding, float64.
    """

    X: Tensor
    Y: Tensor
    Z: Tensor

    @classmethod
    def drawn(cls, n_samples: int, n_features: int, n_labels: int, width: int) -> "Problem":
        """Label sets that a linear map of the samples and noise make, and another linear map for the embedding."""
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        X = normal(n_samples, n_features)
        Y = (X @ normal(n_features, n_labels) + normal(n_samples, n_labels) > 0).long()
        Z = X @ normal(n_features, width) / n_features**0.5
        return cls((X + 1).double(), Y, (Z + 1).double())

    def to(self, device: torch.device, rows: torch.dtype) -> "Problem":
        """The same on a device, with samples and embedding in another dtype."""
        return Problem(self.X.to(device, rows), self.Y.to(device), self.Z.to(device, rows))


class Float32(TorchFunctionMode):
    """Torch without float64: whoever asks for it gets float32."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        args = [torch.float32 if each is torch.float64 else each for each in args]
        kwargs = {name: torch.float32 if each is torch.float64 else each for name, each in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        return result.float() if isinstance(result, Tensor) and result.dtype == torch.float64 else result


@contextmanager
def tf32() -> Iterator[None]:
    """Products of float32 matrices on tensor cores, with 10 bits of mantissa."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Arithmetic(NamedTuple):
    """A choice of precision: the dtype of samples and embedding, and what else holds while it computes."""

    name: str
    rows: torch.dtype
    within: Callable[[], AbstractContextManager]


_ARITHMETICS = [
    Arithmetic("float64", torch.float64, nullcontext),
    Arithmetic("float32, float64 sums", torch.float32, nullcontext),
    Arithmetic("float32 throughout", torch.float32, Float32),
]
_TF32 = Arithmetic("TF32, float64 sums", torch.float32, tf32)


def arithmetics(device: torch.device) -> list[Arithmetic]:
    """Those that a device has."""
    return _ARITHMETICS + [_TF32] * (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0))


class Work(NamedTuple):
    """What is measured, and what it came to.

    Attributes
    ----------
    values : dict of str to Tensor
        Results by name.
    again : callable
        Does once more the part that is timed.
    rows : Tensor
        Samples or embedding that it goes through.
    n_reads : int
        How often it reads or writes as many numbers as there are in `rows`, at least.
    """

    values: dict[str, Tensor]
    again: Callable[[], Any]
    rows: Tensor
    n_reads: int


def linear(problem: Problem) -> Work:
    """The matrix of RAMLLinear; timed is the pass over the samples that an iteration makes."""
    X, Y, _ = problem
    weights = torch.full((len(X),), 1 / len(X), dtype=torch.float64, device=X.device)
    equations = normal_equations(Problem.of(Samples(X, weights), make_relation(Y, device=X.device)), _ALPHA)
    M = ridge(equations, max_iter=_MAX_ITER, tol=_TOL).M
    axes = equations.coordinates.in_features(torch.eye(len(M), dtype=M.dtype, device=M.device))
    return Work({"M": axes.T @ M @ axes}, lambda: equations.product(M), X, n_reads=1)


def deep(problem: Problem) -> Work:
    """The loss over all pairs of HRAMLTransformer and its gradient by the embedding; timed are both."""
    _, Y, Z = problem
    weights = torch.full((len(Z),), 1 / len(Z), dtype=torch.float64, device=Z.device)
    pairs, everything = AllPairs(make_relation(Y, device=Z.device), weights), slice(0, len(Z))
    M = torch.eye(Z.shape[1], dtype=torch.float64, device=Z.device)

    def step() -> tuple[float, Tensor]:
        sums = pairs.of(M, 0.0)
        sums.add(Z, everything)
        return sums.loss().value, sums.gradient(Z, everything)

    value, gradient = step()
    return Work({"loss": torch.tensor(value, dtype=torch.float64), "gradient": gradient}, step, Z, n_reads=3)


_WORKS = {
    "RAMLLinear, one pass over the samples": linear,
    "HRAMLTransformer, loss over all pairs and gradient": deep,
}


def measure(problem: Problem, device: torch.device, repeats: int = 5) -> Iterator[Record]:
    """Records of each work in each arithmetic, as they are done.

    Parameters
    ----------
    problem : Problem
        What to compute with.
    device : torch.device
        Where.
    repeats : int, default=5
        How often each work is timed in each of three rounds.

    Yields
    ------
    dict
        The path, arithmetic and sizes; `errors`, relative to float64 on the CPU in the norm of each result; median
        `seconds`; their `ratio` to those of X' X for the same rows; rows and gigabytes a second.
    """
    for path, work in _WORKS.items():
        expected = work(problem).values
        for arithmetic in arithmetics(device):
            with arithmetic.within():
                done = work(problem.to(device, arithmetic.rows))
                seconds, floor = medians(
                    lambda done=done: _finished(done.again, device),
                    lambda done=done: _finished(lambda: done.rows.T @ done.rows, device),
                    repeats,
                )
            yield {
                "path": path,
                "arithmetic": arithmetic.name,
                "device": _name(device),
                "shape": list(done.rows.shape),
                "n_labels": problem.Y.shape[1],
                "errors": {name: _relative_error(value, expected[name]) for name, value in done.values.items()},
                "seconds": seconds,
                "ratio": seconds / floor,
                "rows_per_second": len(done.rows) / seconds,
                "gigabytes_per_second": done.n_reads * done.rows.nbytes / seconds / 1e9,
            }


def _finished(work: Callable[[], Any], device: torch.device) -> None:
    """Work, and wait until the device has done it."""
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _relative_error(value: Tensor, expected: Tensor) -> float:
    return float((value.cpu().double() - expected).norm() / expected.norm())


def tables(records: Iterable[Record]) -> Iterator[Table]:
    """One table for each path, a row for each arithmetic."""
    records = list(records)
    for path in dict.fromkeys(record["path"] for record in records):
        of_path = [record for record in records if record["path"] == path]
        n, width = of_path[0]["shape"]
        table = Table(title=f"{path} ({n:,} x {width}, {of_path[0]['device']})", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("Arithmetic", no_wrap=True)
        errors = list(of_path[0]["errors"])
        for heading in (*(f"Error of {name}" for name in errors), "ms", "/ X'X", "10⁶ rows/s", "GB/s"):
            table.add_column(heading, justify="right")
        for record in of_path:
            table.add_row(
                record["arithmetic"],
                *(f"{record['errors'][name]:.1e}" for name in errors),
                f"{1000 * record['seconds']:.2f}",
                f"{record['ratio']:.1f}",
                f"{record['rows_per_second'] / 1e6:.1f}",
                f"{record['gigabytes_per_second']:.1f}",
            )
        yield table


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line asks for, and print it.

    Returns
    -------
    int
        Exit status: 0, or 2 if the device is not there or results cannot be written.
    """
    options = _parser().parse_args(arguments)
    console = Console(markup=False)
    try:
        device = resolve_device(options.device)
        if options.out:
            results.mend(options.out)
        problem = Problem.drawn(options.n, options.features, options.labels, options.width)
        origin = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions()}
        with console.status("Measuring"):
            measured = (record | origin for record in measure(problem, device, options.repeats))
            records = list(results.keep(measured, options.out) if options.out else measured)
    except (OSError, ValueError) as error:
        console.print(str(error), style="red")
        return 2
    for table in tables(records):
        console.print(table)
    return 0


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 2 on")
    return int(text)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description="Accuracy and time of alignment in float64, in float32, and in float32 with sums in float64.",
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to compute (default: cuda where torch sees it, or cpu)",
    )
    for name, size, what in (
        ("n", 200_000, "samples"),
        ("features", 72, "features of a sample"),
        ("labels", 6, "labels"),
        ("width", 32, "components of an embedding"),
        ("repeats", 5, "timed repeats in each of three rounds"),
    ):
        parser.add_argument(f"--{name}", type=_size, default=size, metavar="N", help=f"{what} (default: {size:,})")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file of JSON lines to append to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
