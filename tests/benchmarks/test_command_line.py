"""The command line: what runs, what is refused, and what is said."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cli import main
from benchmarks.compare import cells as cells_module
from benchmarks.compare import runs
from benchmarks.compare.cells import Settings, cells
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import _CLASSES, _LABEL_SETS, _NUMBERS, load
from tests.benchmarks.comparison import EMOTIONS, FAST, records_of


def test_comparison_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "new" / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 0
    records = records_of(out)
    assert [(r["method"], r["repeat"], r["fold"]) for r in sorted(records, key=lambda r: (r["method"], r["fold"]))] == [
        ("MLkNN", 0, 0),
        ("MLkNN", 0, 1),
        ("RAMLLinear + MLkNN", 0, 0),
        ("RAMLLinear + MLkNN", 0, 1),
    ]
    for record in records:
        assert record["parameters"]["predictor__n_neighbors"] == 10
        assert record["grid"] == {}
        assert record["versions"].keys() >= {"python", "skrelmetric", "scikit-learn", "torch"}
        assert record["fit_seconds"] > 0
        assert record["seed"] == 0
        assert all(np.isfinite(list(record["scores"].values())))
        assert list(record["scores"]) == record["criteria"]
        assert record["criteria"][:5] == [criterion.title for criterion in TASKS["multilabel"].criteria[:5]]
    printed = capsys.readouterr().out
    for word in ("emotions", "RAMLLinear", "Hamming", "±"):
        assert word in printed
    main([*FAST, "--jobs", "1", "--out", str(out)])
    assert records_of(out) == records, "what is there is not run again"
    assert "0 records appended" in capsys.readouterr().out
    main([*FAST, "--jobs", "1", "--anew", "--out", str(out)])
    again = records_of(out)
    assert again[:4] == records, "results are appended, never overwritten"
    assert [r["scores"] for r in again[4:]] == [r["scores"] for r in records]


@pytest.mark.parametrize(
    ("form", "line"), [("markdown", "| MLkNN | **0."), ("latex", "MLkNN & \\textbf{0.")], ids=["markdown", "latex"]
)
def test_tables_as_text_are_alone_in_the_output(tmp_path, capsys, form, line):
    out = tmp_path / "r.jsonl"
    scores = {criterion.title: 0.25 for criterion in TASKS["multilabel"].criteria}
    comparison = cells(EMOTIONS, ["MLkNN", "RAMLLinear + MLkNN"], Settings(2, 1))
    records = [cell.identity() | {"scores": scores, "fit_seconds": 1.0} for cell in comparison]
    out.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main([*FAST, "--no-run", "--table", form, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert line in printed.out
    assert printed.out.startswith({"markdown": "**emotions: multi", "latex": "\\begin{table}"}[form])
    assert "folds x methods" not in printed.out
    assert "4 of 4 folds x methods are in" in " ".join(printed.err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "emotion"], "'emotion' is no data set: did you mean 'emotions'?"),
        (
            ["--methods", "RAMLLinear"],
            "is no method: did you mean 'RAMLLinear constrained + MLkNN' or 'RAMLLinear + MLkN",
        ),
        (["--methods", "hraml"], "did you mean"),
        (["--methods", "7"], "'7' is no method: --help lists them all"),
        (["--anew", "--any-version"], "leave one of the two out"),
        (["--profile", "speed", "--most-samples", "9"], "--most-samples is for comparisons"),
        (["--profile", "speed", "--no-keep-groups"], "--keep-groups is for comparisons"),
        (["--profile", "scale", "--summary"], "--summary is for comparisons"),
        (["--folds", "1"], "neither a number of folds"),
        (["--repeats", "0"], "not a whole number from 1"),
        (["--labels", "3"], "--labels names columns of --data"),
        (["--scheduler", "tcp://localhost:1"], "--scheduler needs --backend dask"),
        (["--seed", "-1"], "not a whole number from 0"),
        (["--timeout", "5", "--backend", "dask"], "--timeout has no effect"),
        (["--folds", "held out"], "nor 'official' or 'held-out'"),
        (["--alone", "--jobs", "2"], "with --alone nothing else runs"),
        (["--profile", "large", "--backend", "dask"], "leave --jobs and --backend out, or pass --no-alone"),
        (
            ["--profile", "speed", "--datasets", "emotions"],
            "--datasets is for comparisons, but --profile speed measures",
        ),
        (["--profile", "scale", "--no-run"], "--no-run is for comparisons, but --profile scale measures"),
        (["--profile", "accelerator", "--report", "a.html"], "--report is for comparisons"),
        (["--report", "./results.jsonl"], "--report would replace the records of --out"),
        (["--table", "html"], "invalid choice: 'html'"),
        (["--profile", "speed", "--table", "latex"], "--table is for comparisons"),
        (["--device", "cpu"], "--device needs --profile accelerator"),
        (["--profile", "scale", "--width", "8"], "--width needs --profile accelerator"),
        (["--n-samples", "100"], "--n-samples needs --profile scale or --profile accelerator"),
        (["--profile", "speed", "--repeats", "2"], "--repeats needs --profile scale or --profile accelerator or a"),
        (["--profile", "accelerator", "--n-samples", "1"], "'1' is not a whole number from 2 on"),
        (["--seed", "4294967296"], "'4294967296' is not a whole number from 0 to 2147483647"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


def test_methods_of_another_task(tmp_path, capsys):
    assert main(["--datasets", "emotions", "--methods", "AAKNN", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "Nothing can be compared" in capsys.readouterr().out


def test_data_sets_that_no_method_is_for_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cells_module, "_splits", lambda *args: [(np.arange(300), np.arange(300, 400))])
    arguments = [
        "--datasets",
        "emotions",
        "emotions",
        "Movie",
        "--methods",
        "MLkNN",
        "--jobs",
        "1",
        "--folds",
        "official",
    ]
    arguments += ["--repeats", "1"]
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "Movie is left out" in capsys.readouterr().out
    assert len(records_of(tmp_path / "r.jsonl")) == 1


def test_unwritable_records_are_said_before_any_work(tmp_path, capsys):
    for out in (tmp_path, tmp_path / "file" / "r.jsonl"):
        (tmp_path / "file").touch()
        assert main([*FAST, "--out", str(out)]) == 2
        assert "Cannot write records" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("option", ["--out", "--report"])
def test_devices_are_no_files_of_records(tmp_path, capsys, option):
    assert main([*FAST, "--out", str(tmp_path / "r.jsonl"), option, "/dev/full"]) == 2
    assert "/dev/full is no plain file. Name another file" in " ".join(capsys.readouterr().out.split())


def test_missing_data_is_said(tmp_path, monkeypatch, capsys):
    def missing(*args, **kwargs):
        raise OSError("flags could not be downloaded")

    load.cache_clear()
    monkeypatch.setattr("benchmarks.data.sources.fetch_mulan", missing)
    assert main(["--datasets", "flags", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "could not be downloaded" in capsys.readouterr().out


def test_the_plain_predictor_goes_last(monkeypatch):
    order = []
    monkeypatch.setattr(runs, "run_cell", lambda cell: order.append(cell.method) or {})
    methods = list(TASKS["multilabel"].methods)
    list(runs.run(cells(EMOTIONS, methods, Settings(2, 1)), n_jobs=1))
    assert order == [method for method in reversed(methods) for _ in range(2)]
    assert order[-1] == "MLkNN", "the cheapest of all stands first in the table"


def test_data_of_a_profile_that_is_missing_is_left_out(tmp_path, monkeypatch, capsys):
    def missing(*args, **kwargs):
        raise OSError("not here")

    load.cache_clear()
    for fetch in ("fetch_mulan", "fetch_ldl", "fetch_omniglot"):
        monkeypatch.setattr(f"benchmarks.data.sources.{fetch}", missing)
    for table, names in ((_CLASSES, ["usps"]), (_LABEL_SETS, list(_LABEL_SETS)), (_NUMBERS, list(_NUMBERS))):
        for name in names:
            monkeypatch.setitem(table, name, missing)
    arguments = [
        "--profile",
        "full",
        "--no-search",
        "--methods",
        "MLkNN",
        "--repeats",
        "1",
        "--folds",
        "2",
        "--jobs",
        "1",
    ]
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "not here" in capsys.readouterr().out
    records = records_of(tmp_path / "r.jsonl")
    assert {record["dataset"] for record in records} == {"emotions", "yeast"}
    assert {(record["folds"], record["repeat"]) for record in records} == {(2, 0)}
    load.cache_clear()


def test_too_few_of_a_class_is_said_with_the_name(tmp_path, capsys):
    path = tmp_path / "few.csv"
    path.write_text("x,y\n1,a\n2,a\n3,b\n4,b\n")
    assert main(["--data", str(path), "--labels", "y", "--folds", "4", "--out", str(tmp_path / "r.jsonl")]) == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert "few.csv cannot be split into 4 folds" in printed


def test_what_cannot_be_held_out_is_said(tmp_path, capsys):
    path = tmp_path / "few.csv"
    path.write_text("x,y\n1,a\n2,a\n3,a\n4,b\n")
    arguments = ["--data", str(path), "--labels", "y", "--folds", "held-out", "--out", str(tmp_path / "r.jsonl")]
    assert main(arguments) == 2
    assert "No third of few.csv can be held out" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("content", [None, "", "another"], ids=["missing", "empty", "of other settings"])
def test_nothing_to_show_is_said(tmp_path, capsys, content):
    out = tmp_path / "r.jsonl"
    if content is not None:
        other = cells(EMOTIONS, ["MLkNN"], Settings(3, 1))[0].identity() | {"error": "x", "warnings": []}
        out.write_text(json.dumps(other) + "\n" if content else "")
    assert main([*FAST, "--no-run", "--out", str(out)]) == 2
    said = "is not there" if content is None else "holds no records of these data sets, methods and settings"
    assert said in " ".join(capsys.readouterr().out.split())
    assert out.exists() == (content is not None), "a file is made only to run"


def test_a_summary_of_one_data_set_is_none(tmp_path, capsys):
    assert main([*FAST[:4], *FAST[5:], "--summary", "--jobs", "1", "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "There is no summary: it takes two data sets" in " ".join(capsys.readouterr().out.split())
