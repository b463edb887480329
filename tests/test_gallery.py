"""Every script of the gallery runs, without a warning, draws and leaves nothing behind."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

SCRIPTS = sorted(Path(__file__).parents[1].glob("docs/examples/plot_*.py"))


def test_gallery_is_there():
    assert len(SCRIPTS) >= 12


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_draws_and_leaves_nothing_behind(script, tmp_path, monkeypatch):
    (temporary := tmp_path / "temporary").mkdir()
    (work := tmp_path / "work").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(plt, "show", lambda: None)  # without a screen it may warn
    monkeypatch.chdir(work)
    plt.close("all")
    try:
        runpy.run_path(str(script), run_name="__main__")
        figures = [plt.figure(number) for number in plt.get_fignums()]
        assert figures
        assert all(figure.axes and any(ax.has_data() for ax in figure.axes) for figure in figures)
        for figure in figures:
            figure.canvas.draw()  # a layout that does not fit warns here
    finally:
        plt.close("all")
    assert not list(work.iterdir())
    left = [path.name for path in temporary.iterdir()]
    assert not [name for name in left if not name.startswith("torchinductor_")]  # torch makes that cache by itself
