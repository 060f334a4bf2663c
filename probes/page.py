"""Every probe that applies to a run, in one folder with one page: questions, answers, rules, pictures.

The page is static HTML beside the folders of the probes, with relative links. Each folder holds what `ProbeResult.save`
writes, the vector picture included.
"""

import html
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PRNGKeyArray

from function_classes.base import NotAvailable
from icl.pages import document
from icl.runs import atomic
from probes.base import Probe, ProbeResult


class Outcome(NamedTuple):
    """What became of one probe: its result, or the reason why it does not apply."""

    name: str
    result: ProbeResult | None
    reason: str


def measure_all(run: Any, *, key: PRNGKeyArray, prompts: int = 256) -> Iterator[Outcome]:
    """The registered probes one after another, with their defaults, each on the same key as alone."""
    for name in Probe.registry.names():
        try:
            result = Probe.registry.get(name)(run, key=key, prompts=prompts)
        except NotAvailable as error:
            yield Outcome(name, None, str(error).removeprefix(f"{name}: "))
        else:
            yield Outcome(name, result, "")


def save_all(
    outcomes: Iterator[Outcome], directory: Path, *, title: str, origin: str, watch: Callable[[Outcome], None]
) -> Path:
    """Writes every result below the folder as soon as it is there, then `probes.html`, whose path is returned."""
    seen = []
    for outcome in outcomes:
        if outcome.result is not None:
            outcome.result.save(directory / outcome.name)
        watch(outcome)
        seen.append(outcome)
    page = directory / "probes.html"
    atomic.make_directory(directory)
    atomic.write_atomic(page, render(seen, title, origin).encode())
    return page


def render(outcomes: list[Outcome], title: str, origin: str) -> str:
    """The page as text."""
    parts = [section for outcome in outcomes for section in _section(outcome)]
    skipped = [f"<li><b>{html.escape(o.name)}</b>: {html.escape(o.reason)}</li>" for o in outcomes if o.result is None]
    rest = ["<h2>Not applicable</h2>", "<ul>", *skipped, "</ul>"] if skipped else []
    return document(title, [*parts, *rest], origin)


def _section(outcome: Outcome) -> list[str]:
    result, name = outcome.result, html.escape(outcome.name)
    if result is None:
        return []
    links = f'<a href="{name}/table.csv">table.csv</a>, <a href="{name}/{name}.pdf">picture as PDF</a>'
    return [
        f'<h2 id="{name}">{name}</h2>',
        f"<p>{html.escape(result.question)}</p>",
        f'<p class="answer">{html.escape(result.answer)}</p>',
        f'<p><img src="{name}/{name}.png" alt="picture of {name}"></p>',
        f'<p class="rule">Rule: {html.escape(result.rule)}. {links}</p>',
    ]
