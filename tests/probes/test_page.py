"""All probes at once: what applies is measured and drawn, what does not says why, and the page is plain HTML."""

import re

import jax
import numpy as np

import function_classes as fc
from icl.tables import Table
from probes.base import Probe, ProbeResult
from probes.page import Outcome, measure_all, render, save_all

TASK = fc.get("markov", points=6)


class Subject:
    """As much of a run as probes need."""

    task = TASK
    model = staticmethod(TASK.bayes)
    directory = None


def test_every_probe_is_measured_or_has_its_reason(tmp_path):
    seen = []
    outcomes = measure_all(Subject(), key=jax.random.key(0), prompts=16)
    page = save_all(outcomes, tmp_path / "all", title="Probes of a & b", origin="step 3", watch=seen.append)
    assert [outcome.name for outcome in seen] == list(Probe.registry.names())
    applied = [outcome.name for outcome in seen if outcome.result is not None]
    assert applied == ["distance"]
    text = page.read_text(encoding="utf-8")
    assert "Probes of a &amp; b" in text
    for outcome in seen:
        assert (outcome.result is None) == bool(outcome.reason)
        assert f"<li><b>{outcome.name}</b>: " in text or outcome.name in applied
        assert not outcome.reason.startswith(outcome.name)
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(links) == 3
    assert all((page.parent / link).is_file() for link in links)


def test_nothing_that_a_result_says_becomes_markup():
    table = Table.from_rows([("a", -1, 0, "m", "raw", 1.0, 1.0, 1.0, 8)])
    result = ProbeResult("p", "a < b?", "x & y", "<script>", table, {"v": np.zeros(1)}, {"v": ("prompt",)})
    text = render([Outcome("p", result, ""), Outcome("q", None, "needs <x>")], "t", "o")
    assert "<script>" not in text
    assert "a &lt; b?" in text
    assert "needs &lt;x&gt;" in text
