"""Partitions of a stream that are kept in a temporary file."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from skrelmetric._data.partitions import Streamed
from tests.ranks import started


def counted(n_partitions):
    for k in range(n_partitions):
        yield {"X": torch.full((3, 2), float(k)), "place": k}


def test_kept_partitions_are_what_was_read():
    asked = []
    kept = Streamed(lambda: asked.append(0) or counted(4)).persist()
    for first, second in zip(kept.read(), kept.read(), strict=True):  # in turn, from one file
        assert first["place"] == second["place"]
        assert torch.equal(first["X"], torch.full((3, 2), float(first["place"])))
        assert torch.equal(first["X"], second["X"])
    assert kept.fold(lambda partition: [partition["place"]], list.__add__) == [0, 1, 2, 3]
    assert len(asked) == 1


def killed_with_partitions(counted, home):
    tempfile.tempdir = str(home)
    kept = Streamed(lambda: counted(3)).persist()
    next(iter(kept.read()))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process_leaves_no_partitions(tmp_path):
    process = started(killed_with_partitions, counted, tmp_path)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115
    with pytest.raises(OSError, match="cannot be kept in .*No space left.* Make room there.* TMPDIR"):
        Streamed(lambda: counted(2)).persist()
