"""Files that replace others whole, and the end of what killed processes left."""

import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from skrelmetric._interop.files import append_line, replacing
from tests.ranks import started

posix = pytest.mark.skipif(sys.platform == "win32", reason="nothing is removed there, and there is no SIGKILL")


def killed_while_writing(path):
    from skrelmetric._interop.files import replacing

    with replacing(path) as file:
        file.write(b"half of")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    for content in (b"first", b"second"):
        with replacing(path) as file:
            file.write(content)
            assert path.exists() == (content == b"second")
        assert path.read_bytes() == content
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(bytes(1 // 0))
    assert path.read_bytes() == b"second"
    assert [*tmp_path.iterdir()] == [path]


@posix
@pytest.mark.parametrize("name", ["a.txt", "b.txt"])
def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path, name):
    others = [
        tmp_path / name for name in ("a.part", "a.txt.part", "letter.txt", "a.txt.12345678.pt", "other.12345678.part")
    ]
    for other in others:
        other.touch()
    others.append(tmp_path / "link.txt.12345678.part")  # as somebody may lay into a shared folder
    others[-1].symlink_to(others[0])
    process = started(killed_while_writing, tmp_path / "a.txt")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len([*tmp_path.glob("a.txt.????????.part")]) == 1
    with replacing(tmp_path / "a.txt") as held:
        held.write(b"content")
        with replacing(tmp_path / name) as file:  # while the other is alive
            unfinished = set(tmp_path.glob("?.txt.????????.part"))
            assert unfinished == {Path(held.name), Path(file.name)}
    assert (tmp_path / "a.txt").read_bytes() == b"content"
    assert sorted(tmp_path.iterdir()) == sorted({*others, tmp_path / "a.txt", tmp_path / name})


@posix
@pytest.mark.parametrize("stage", ["open", "flock"])
def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(tmp_path, monkeypatch, stage):
    import fcntl

    made = []
    make, lock = tempfile.mkstemp, fcntl.flock

    def taken(*args):
        if len(made) == 1:
            os.unlink(made[0])

    def make_one(*args):
        descriptor, path = make(*args)
        made.append(path)
        if stage == "open":
            taken()
        return descriptor, path

    def lock_one(*args):
        if stage == "flock":
            taken()
        return lock(*args)

    monkeypatch.setattr(tempfile, "mkstemp", make_one)
    monkeypatch.setattr(fcntl, "flock", lock_one)
    with replacing(tmp_path / "a.txt") as file:
        file.write(b"content")
    assert len(made) == 2
    assert (tmp_path / "a.txt").read_bytes() == b"content"


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_lines_of_several_writers_are_behind_one_header(tmp_path):
    import fcntl

    path = tmp_path / "a.txt"
    with ThreadPoolExecutor(1) as thread:
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            other = thread.submit(append_line, path, "second\n", "header\n")
            with pytest.raises(TimeoutError):
                other.result(timeout=0.1)
            file.write("header\nfirst\n")
        other.result(timeout=10)
    append_line(path, "third\n", "header\n")
    assert path.read_text() == "header\nfirst\nsecond\nthird\n"


def test_lines_are_not_appended_to_another_file(tmp_path):
    path = tmp_path / "a.txt"
    append_line(path, "first\n")
    append_line(path, "second\n")
    for header in ("first", "header\n"):
        with pytest.raises(ValueError, match="begins with 'first"):
            append_line(path, "third\n", header)
    assert path.read_text() == "first\nsecond\n"
    with pytest.raises(IsADirectoryError if os.name == "posix" else PermissionError):
        append_line(tmp_path, "line\n")
