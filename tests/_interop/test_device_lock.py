import fcntl
import importlib.util
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV

from skrelmetric._interop import device_lock
from skrelmetric._interop.device_lock import exclusive, physical_name

CUDA = torch.device("cuda", 0)

# The same in a process of its own: a device that need not be there, and what is done with it.
HOLDS = """
import os, sys
from types import SimpleNamespace
from skrelmetric._interop import device_lock
device_lock.physical_name = lambda device: f"{device.type}-{device.index}"
device = SimpleNamespace(type="cuda", index=0)
assert "torch" not in sys.modules
"""
UNTIL_TOLD = HOLDS + "with device_lock.exclusive(device): print('holds it', flush=True); sys.stdin.read()"
FORKS = (
    HOLDS
    + """
told, tell = os.pipe()
with device_lock.exclusive(device):
    child = os.fork()
    if not child:
        os.close(1)
        try:
            with device_lock.exclusive(device): os.write(tell, b"taken")
        except RuntimeError as error:
            os.write(tell, str(error).encode())
        sys.stdin.read()
        os._exit(0)
    assert f"process {os.getpid()}" in os.read(told, 1000).decode()
with device_lock.exclusive(device): print("parent again", flush=True)
"""
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Temporary folder of a test, where "cuda" devices are as they are called."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("SKRELMETRIC_SHARE_DEVICES", raising=False)
    monkeypatch.setattr(device_lock, "physical_name", lambda device: f"{device.type}-{device.index}")
    return tmp_path


def process(code):
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def taken_elsewhere(device=CUDA):
    """Whether another thread is refused the device."""

    def attempt():
        try:
            with exclusive(device):
                return False
        except RuntimeError:
            return True

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(attempt).result()


@pytest.mark.parametrize("end", ["communicate", "kill"])
def test_one_process_at_a_time(end):
    with process(UNTIL_TOLD) as other:
        assert other.stdout.readline() == "holds it\n"
        refusal = pytest.raises(RuntimeError, match=f"device='cuda:0' is taken by a fit in process {other.pid}.")
        with refusal as error, exclusive(CUDA):
            pass
        for remedy in ("n_jobs=1", "CUDA_VISIBLE_DEVICES", "LocalCUDACluster", "SKRELMETRIC_SHARE_DEVICES=1"):
            assert remedy in str(error.value)
        with exclusive(torch.device("cuda", 1)):
            pass
        getattr(other, end)()
        other.wait()
    with exclusive(CUDA):
        pass


def test_one_thread_at_a_time():
    refusal = pytest.raises(RuntimeError, match="taken by a fit in another thread of this process")
    with ThreadPoolExecutor(1) as thread, exclusive(CUDA), refusal:
        thread.submit(exclusive(CUDA).__enter__).result()
    assert not taken_elsewhere()


def test_a_fit_within_a_fit():
    with exclusive(CUDA):
        with exclusive(CUDA):
            pass
        assert taken_elsewhere()
    assert not taken_elsewhere()


def test_a_fit_that_fails_leaves_the_device():
    with pytest.raises(ZeroDivisionError), exclusive(CUDA):
        raise ZeroDivisionError
    assert not taken_elsewhere()


@pytest.mark.parametrize(("setting", "shares"), [("1", True), ("0", False), ("", False)])
def test_sharing_is_for_those_who_ask(setting, shares, monkeypatch):
    monkeypatch.setenv("SKRELMETRIC_SHARE_DEVICES", setting)
    with exclusive(CUDA):
        assert taken_elsewhere() != shares


def test_nothing_is_held_on_the_cpu(folder, monkeypatch):
    with exclusive(torch.device("cpu")):
        assert not taken_elsewhere(torch.device("cpu"))
    monkeypatch.setattr(device_lock, "physical_name", physical_name)
    if not torch.cuda.is_available():  # as tests with a stand-in for a device need it
        with exclusive(CUDA):
            assert not taken_elsewhere()
    assert not list(folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_neither_has_the_device_nor_keeps_it():
    with process(FORKS) as parent:
        assert parent.stdout.readline() == "parent again\n"
    assert parent.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="the temporary folder is the user's own")
def test_links_in_the_shared_folder_are_not_followed(folder):
    letter = folder / "letter"
    letter.write_text("dear friend")
    with exclusive(CUDA):
        (lock,) = folder.glob("*.lock")
        assert lock.stat().st_mode & 0o777 == 0o600
        assert str(os.getuid()) in lock.name
    lock.unlink()
    lock.symlink_to(letter)
    with pytest.raises(OSError, match=lock.name), exclusive(CUDA):
        pass
    assert letter.read_text() == "dear friend"


def test_names_are_those_of_physical_devices(monkeypatch):
    def names(visible, *devices):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return [physical_name(torch.device(device)) for device in devices]

    def properties(device):  # of two devices, in the order in which they are visible
        index = 0 if device.index is None else device.index
        return SimpleNamespace(uuid=os.environ["CUDA_VISIBLE_DEVICES"].split(",")[index])

    backend = SimpleNamespace(is_available=lambda: True, get_device_properties=properties)
    monkeypatch.setattr(torch, "get_device_module", lambda device: backend)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 0)
    assert names("a,b", "cuda", "cuda:0", "cuda:1") == ["cuda-a", "cuda-a", "cuda-b"]
    assert names("b,a", "cuda", "cuda:0", "cuda:1") == ["cuda-b", "cuda-b", "cuda-a"]

    backend.get_device_properties = lambda device: SimpleNamespace(name="one without a UUID")
    assert names("2,3", "cuda", "cuda:0", "cuda:1") == ["cuda-0-2_3", "cuda-0-2_3", "cuda-1-2_3"]
    assert names("GPU-../8", "cuda:0") == ["cuda-0-GPU-___8"]
    del backend.get_device_properties
    assert names("", "mps") == ["mps-0-"]
    backend.is_available = lambda: False
    assert names("0", "cuda:0") == [None]


class OnDevice(ClassifierMixin, BaseEstimator):
    """Holds its device until another fit has been refused."""

    refused = Event()

    def fit(self, X, y):
        try:
            with exclusive(CUDA):
                assert self.refused.wait(60)
        except RuntimeError:
            self.refused.set()
            raise
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[0], len(X))


def test_a_search_in_threads_says_why_fits_fail():
    X, y = np.zeros((8, 1)), np.tile([0, 1], 4)
    OnDevice.refused.clear()
    search = GridSearchCV(OnDevice(), {}, cv=2, error_score="raise")
    refusal = pytest.raises(RuntimeError, match="another thread of this process.*n_jobs=1")
    with joblib.parallel_config("threading", n_jobs=2), refusal:
        search.fit(X, y)


def test_on_windows(monkeypatch):
    """The lock of that system, played by this one's."""
    modes = {"LK_NBLCK": fcntl.LOCK_EX | fcntl.LOCK_NB, "LK_UNLCK": fcntl.LOCK_UN}
    places = []

    def locking(file, mode, n_bytes):
        places.append((os.lseek(file, 0, os.SEEK_CUR), n_bytes))
        fcntl.flock(file, mode)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, **modes))
    spec = importlib.util.spec_from_file_location("exclusive_on_windows", Path(device_lock.__file__))
    windows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(windows)
    windows.physical_name = lambda device: "cuda"
    refusal = pytest.raises(RuntimeError, match="another thread of this process")
    with ThreadPoolExecutor(1) as thread, windows.exclusive(CUDA), refusal:
        thread.submit(windows.exclusive(CUDA).__enter__).result()
    with windows.exclusive(CUDA):
        pass
    assert set(places) == {(64, 1)}
