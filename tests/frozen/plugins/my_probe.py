"""A probe: how large are a predictor's answers?"""

import numpy as np

from function_classes import Prompt
from icl.errors import run
from icl.resampling import mean_intervals, resamples
from icl.tables import Table
from probes import Probe, ProbeResult


@Probe.registry.add("my-size")
class Size(Probe):
    question = "How large are the predictor's answers after k examples?"
    rule = "mean square"

    def measure(self, predictor, task, key, prompts):
        batch = task.batch(key, prompts)
        shown = Prompt(batch.xs, batch.ys)
        squares = np.square(np.asarray(run(predictor, shown).mean))
        rows = [
            ("model", -1, k, "mean_square", "raw", *interval, prompts)
            for k, interval in enumerate(mean_intervals(squares, resamples(prompts)))
        ]
        answer = f"{squares.mean():.3g} on average"
        axes = {"squares": ("prompt", "position")}
        return ProbeResult(
            self.name, self.question, self.rule, answer, Table.from_rows(rows), {"squares": squares}, axes
        )
