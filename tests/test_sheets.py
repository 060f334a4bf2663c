"""Sheets draw every kind of prompt, and the gallery is one page with a section for every class."""

import sys

import jax
import numpy as np
import pytest

import function_classes as fc
from function_classes.base import FunctionClass
from icl import cli, style
from icl.console import sheets as console
from icl.programs import draw
from icl.sheets import SHOWN, samples


@pytest.mark.parametrize(
    ("name", "fields", "title"),
    [
        ("gaussian-process", {"points": 5}, "four prompts"),
        ("linear-regression", {"points": 5, "dim": 3}, "one prompt, red is positive"),
        ("chain-of-thought", {"points": 4}, "one prompt, red is positive"),
        ("markov", {"points": 6}, "8 streams of 3 symbols"),
    ],
)
def test_samples_show_the_prompts(name, fields, title):
    task = fc.get(name, **fields)
    prompts = draw(task, jax.random.key(0), 0, SHOWN)
    with style.styled() as plt:
        figure, axis = plt.subplots()
        samples(axis, task, prompts)
        plt.close(figure)
    assert axis.get_title() == title
    if name == "gaussian-process":
        points, curve = axis.lines[:2]
        np.testing.assert_array_equal(points.get_ydata(), prompts.ys[0])
        # The function that is drawn goes through the values that were shown, up to their noise.
        at = np.interp(np.asarray(prompts.xs[0, :, 0]), curve.get_xdata(), curve.get_ydata())
        assert np.abs(at - np.asarray(prompts.ys[0])).max() < 5 * task.noise_std
    elif name == "markov":
        np.testing.assert_array_equal(axis.images[0].get_array(), prompts.ys)
    else:
        shown = np.ma.filled(axis.images[0].get_array(), np.nan)
        x, y = (np.asarray(a[0], float).reshape(task.points, -1) for a in (prompts.xs, prompts.ys))
        assert np.isnan(shown[:, x.shape[1]]).all()
        np.testing.assert_allclose(shown[:, : x.shape[1]], x / np.abs(x).max(), rtol=1e-6)
        np.testing.assert_allclose(shown[:, x.shape[1] + 1 :], y / np.abs(y).max(), rtol=1e-6)


def test_the_gallery_has_a_section_for_every_class(monkeypatch, capsys, tmp_path):
    few = ("letter-digit", "linear-regression")
    monkeypatch.setattr(console, "names", lambda: few)
    monkeypatch.setattr(console, "PROMPTS", 16)
    monkeypatch.setattr(sys, "argv", ["icl", "gallery", "--classes", "--save", str(tmp_path / "new")])
    monkeypatch.setenv("ICL_CACHE", "none")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert capsys.readouterr().out.strip() == str(tmp_path / "new" / "function-classes.html")
    page = (tmp_path / "new" / "function-classes.html").read_text(encoding="utf-8")
    for name in few:
        assert f'<img src="{name}.png"' in page
        assert FunctionClass.registry.find(name).lesson.split(";")[0] in page
        assert (tmp_path / "new" / f"{name}.png").stat().st_size > 1000
    assert page.count("<h2") == len(few)


def test_a_gallery_of_nothing_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["icl", "gallery"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "icl gallery --classes" in capsys.readouterr().err
