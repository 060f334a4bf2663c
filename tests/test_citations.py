"""Every paper that a part names has an entry, and a run is cited by what it used and nothing else."""

import re

import pytest

from experiments import papers
from function_classes import ConfigError
from icl import citations
from icl.config import Config
from icl.console import catalog
from icl.presets import PRESETS
from probes import Probe, names


def test_every_paper_has_an_entry():
    names()
    named = {key for registry in [*catalog._registries().values(), Probe.registry] for key in _papers(registry)}
    ours = {"default-run", "loops", "mixers"}
    assert named | set(PRESETS) | (set(papers.names()) - ours) <= set(citations.library())
    assert len(named) > 15


def _papers(registry):
    return [key for name in registry.names() for key in registry.papers[name]]


@pytest.mark.parametrize("key", citations.library())
def test_entries_are_bibtex(key):
    entry = citations.paper(key)
    assert re.fullmatch(r"@\w+\{[\w-]+,\n(  \w+ = \{.+\},\n)+\}", entry)
    assert entry.count("{") == entry.count("}")
    assert {"title", "author", "year"} <= set(re.findall(r"^  (\w+) =", entry, re.MULTILINE))


def test_a_run_is_cited_by_what_it_used():
    config = Config.create("markov", layout="stream", optimizer="adam", depth=1, width=16, heads=2)
    used = citations.used(config)
    assert {"edelman-2024", "vaswani-2017", "kingma-2014", citations.OWN} <= set(used)
    assert not {"jordan-2024", "von-oswald-2022"} & set(used)
    text = citations.bibliography(config)
    assert "% optimizer adam\n@inproceedings{kingma-2014," in text
    assert text.count("@") == len(used)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="garg-2022"):
        citations.paper("garg-2023")
