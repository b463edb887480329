"""Options of the command line, and which of them go together."""

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path

import joblib

from benchmarks.compare.cells import HELD_OUT, OFFICIAL
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.records import is_packed
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS
from benchmarks.show.formats import FORMATS

MEASURED = {
    "speed": "hot paths against floors and peers",
    "scale": "fits in two processes, in chunks and to growing streams, beside a model of their cost",
    "accelerator": "what precision costs and brings on a device",
}
"""Profiles that measure instead of comparing methods, and what each measures."""

_METHODS = list(dict.fromkeys(method for task in TASKS.values() for method in task.methods))

_COMPARED = {
    "datasets": None,
    "data": None,
    "labels": None,
    "methods": None,
    "folds": None,
    "seed": None,
    "search": None,
    "timeout": None,
    "most_samples": None,
    "keep_groups": None,
    "jobs": None,
    "alone": None,
    "backend": None,
    "scheduler": None,
    "anew": False,
    "any_version": False,
    "no_run": False,
    "summary": False,
    "report": None,
    "table": None,
}
"""Options of a comparison alone, and their values where they are not given."""

_SIZES = {
    "repeats": ("scale", "accelerator", *PROFILES),
    "n_samples": ("scale", "accelerator"),
    "n_features": ("scale", "accelerator"),
    "n_labels": ("accelerator",),
    "width": ("accelerator",),
    "device": ("accelerator",),
}
"""Options of some profiles, and these profiles."""


def parsed(arguments: list[str] | None = None) -> Namespace:
    """Options as given, with defaults in place of those that depend on others; bad combinations end the process."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if complaint := _complaint(options):
        parser.error(complaint)
    if options.alone is None:
        options.alone = options.profile in PROFILES and PROFILES[options.profile].alone
    if options.alone and (options.backend == "dask" or options.jobs not in (None, 1)):
        parser.error("with --alone nothing else runs: leave --jobs and --backend out, or pass --no-alone")
    options.jobs = 1 if options.alone else options.jobs or joblib.cpu_count()
    options.backend = options.backend or "loky"
    return options


def _complaint(options: Namespace) -> str | None:
    """Words on options that do not go together, if any."""
    profile = options.profile
    if profile in MEASURED:
        for name, absent in _COMPARED.items():
            if getattr(options, name) != absent:
                return f"{_flag(name)} is for comparisons, but --profile {profile} measures {MEASURED[profile]}"
    for name, profiles in _SIZES.items():
        if getattr(options, name) is not None and profile not in profiles:
            theirs = " or ".join(f"--profile {each}" for each in profiles if each in MEASURED)
            return f"{_flag(name)} needs {theirs}" + " or a comparison" * (name == "repeats")
    if options.report and options.report.resolve() == options.out.resolve():
        return "--report would replace the records of --out: name another file"
    if is_packed(options.out) and not options.no_run:
        return f"nothing can be appended to {options.out}, which is packed: unpack it, or show it with --no-run"
    if options.labels and not options.data:
        return "--labels names columns of --data, which is missing"
    if options.anew and options.any_version:
        return "--anew makes records again that --any-version would take: leave one of the two out"
    if options.scheduler and options.backend != "dask":
        return "--scheduler needs --backend dask"
    if options.timeout and options.backend == "dask":
        return "--timeout has no effect on Dask's workers: leave one of the two out"
    return None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _folds(text: str) -> int | str:
    if text in (OFFICIAL, HELD_OUT):
        return text
    if not text.isdecimal() or int(text) < 2:
        raise ArgumentTypeError(f"{text!r} is neither a number of folds from 2 on nor {OFFICIAL!r} or {HELD_OUT!r}")
    return int(text)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:  # repeats count on from it, up to 2**32
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _size(text: str) -> int:
    return _whole(text, 2)


def _named(kind: str, names: Collection[str]) -> Callable[[str], str]:
    """What takes a name, and says of another one which is like it."""

    def name(text: str) -> str:
        if text in names:
            return text
        words = text.casefold()
        near = [each for each in names if words in each.casefold()] or get_close_matches(text, names)
        meant = f"did you mean {' or '.join(map(repr, near[:5]))}?" if near else "--help lists them all"
        raise ArgumentTypeError(f"{text!r} is no {kind}: {meant}")

    return name


_EXAMPLES = """\
examples:
  python -m benchmarks
  python -m benchmarks --datasets emotions scene --folds official --methods MLkNN "HRAML + MLkNN"
  python -m benchmarks --data my.csv --labels 6 --methods MLkNN "Relational neighbours" ExtraTrees
  python -m benchmarks --profile full --out full.jsonl
  python -m benchmarks --profile full --out full.jsonl --no-run --report full.html"""


def _parser() -> ArgumentParser:
    methods = "\n".join(
        f"  {title}:\n" + "\n".join(f"    {name}" for name in task.methods) for title, task in TASKS.items()
    )
    parser = ArgumentParser(
        prog="python -m benchmarks",
        description="Compare metrics by the neighbours they give, on the same folds. Scaling, and the choice of\n"
        "hyper-parameters where there is a search, stay within each training part. Metrics that need classes get\n"
        "each label set, or each strongest label, as a class, and at most 4000 samples and 100 principal components.\n"
        "What --out already holds is not run again. The profiles "
        f"{', '.join(MEASURED)} measure instead.",
        epilog=f"{_EXAMPLES}\n\nmethods by task:\n{methods}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to compare or measure")
    compared = [f"{name}: {', '.join(profile.datasets)}" for name, profile in PROFILES.items()]
    what.add_argument(
        "--profile",
        choices=[*PROFILES, *MEASURED],
        default="default",
        help="; ".join([*compared, *(f"{name}: {words}" for name, words in MEASURED.items())]) + " (default: default)",
    )
    what.add_argument(
        "--datasets",
        nargs="+",
        type=_named("data set", DATASETS),
        metavar="NAME",
        help=f"from {', '.join(DATASETS)} (default: those of the profile)",
    )
    what.add_argument(
        "--data",
        nargs="+",
        metavar="FILE",
        help="files of your own, .arff, .csv, .parquet or .mat, packed as .gz, .bz2, .xz or .zip if need be, with the "
        "same --labels",
    )
    what.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="target columns of --data: their names, or one number, N for the last N and -N for the first N columns; "
        "one of classes (names or whole numbers) or of numbers with fractions, or several of labels (0 and 1, FALSE "
        "and TRUE, or no and yes), distributions or numbers; a .mat file needs none",
    )
    what.add_argument(
        "--methods",
        nargs="+",
        type=_named("method", _METHODS),
        metavar="METHOD",
        help="from the list below (default: those of the profile)",
    )
    what.add_argument("--grids", action="store_true", help="print all methods and what their search chooses from")
    how = parser.add_argument_group("how to compare")
    how.add_argument(
        "--folds",
        type=_folds,
        metavar="N",
        help=f"number of folds, {OFFICIAL!r} for the official split, or {HELD_OUT!r} for a third held out at random "
        "(default: as the profile has it)",
    )
    how.add_argument(
        "--repeats",
        type=_positive,
        metavar="N",
        help="repeats of the folds, with other seeds; of what scale and accelerator time (default: 5)",
    )
    how.add_argument("--seed", type=_seed, help="seed of folds and methods (default: 0)")
    how.add_argument(
        "--search",
        action=BooleanOptionalAction,
        help="choose hyper-parameters by cross-validation within each training part (default: as the profile has it)",
    )
    how.add_argument(
        "--timeout",
        type=_positive,
        metavar="SECONDS",
        help="give up a fold of a method after this time, or with --jobs 1 as soon as it then leaves compiled code; it "
        "is too slow, which counts as last, and its other folds are not tried (default: as the profile has it)",
    )
    how.add_argument(
        "--most-samples",
        type=_size,
        metavar="N",
        help="draw so many samples of larger training and test parts (default: as the profile has it)",
    )
    how.add_argument(
        "--keep-groups",
        action=BooleanOptionalAction,
        help="keep samples of a group, such as photographs of one person, in one fold, where a data set has groups "
        "(default: keep them)",
    )
    how.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="parallel processes (default: the number of cores)",
    )
    how.add_argument(
        "--alone",
        action=BooleanOptionalAction,
        help="run one fold of a method after another, each in a process of its own, and record its memory where the "
        "system tells it (default: as the profile has it)",
    )
    how.add_argument("--backend", choices=("loky", "dask"), help="what runs them (default: loky)")
    how.add_argument("--scheduler", metavar="ADDRESS", help="of a running Dask cluster (default: one on this machine)")
    sizes = parser.add_argument_group("what the profiles scale and accelerator measure")
    for name, words in (
        ("n_samples", "samples (default: 400,000 of scale, 200,000 of accelerator)"),
        ("n_features", "features of a sample (default: 72)"),
        ("n_labels", "labels, for accelerator (default: 6)"),
        ("width", "components of an embedding, for accelerator (default: 32)"),
    ):
        sizes.add_argument(_flag(name), type=_size, metavar="N", help=words)
    sizes.add_argument("--device", help="where to compute, for accelerator (default: cuda where torch sees it, or cpu)")
    where = parser.add_argument_group("records")
    where.add_argument(
        "--out",
        type=Path,
        default=Path("results.jsonl"),
        metavar="FILE",
        help="file of JSON lines to take up and append to, or, packed as .xz or not, to show with --no-run (default: "
        "results.jsonl)",
    )
    where.add_argument("--anew", action="store_true", help="run again what the file holds")
    where.add_argument(
        "--any-version",
        action="store_true",
        help="do not run again what another version of the code has made, either",
    )
    where.add_argument(
        "--summary", action="store_true", help="show what holds over several data sets alone: costs and ranks"
    )
    where.add_argument("--no-run", action="store_true", help="run nothing; show what the file holds")
    where.add_argument(
        "--table",
        choices=FORMATS,
        help="print tables in this format instead, LaTeX's for the package booktabs, and all else to stderr",
    )
    where.add_argument("--report", type=Path, metavar="FILE", help="write a page of HTML with tables and pictures")
    return parser
