"""The English of criteria: every one that is written down parses, and what does not parse is named."""

import math

import pytest

from experiments import all_experiments, papers
from experiments.criteria import Clause, Quantifier, parse
from function_classes.fields import ConfigError
from tests.experiments.table import CASES


def test_every_claim_that_is_written_down_has_a_case_by_hand():
    assert {name: list(papers.read(name)) for name in papers.names()} == {
        name: list(claims) for name, claims in CASES.items()
    }


@pytest.mark.parametrize("paper", CASES)
def test_every_clause_is_found(paper):
    for name, claim in papers.read(paper).items():
        assert len(claim.clauses) == len(CASES[paper][name]), claim.criterion


EACH, MEDIAN, POOLED = Quantifier("count"), Quantifier("median"), Quantifier()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("below 1e-5", [("value", -math.inf, 1e-5, True, "", POOLED)]),
        ("at least 2 for each seed", [("value", 2, math.inf, False, "", EACH)]),
        ("between 0.9 and 1.1 at each c, median over seeds", [("value", 0.9, 1.1, False, "each c", MEDIAN)]),
        ("within 5 percent", [("value", 0.95, 1.05, False, "", POOLED)]),
        (
            "at most 0.1, and between 0.8 and 1.25, median over seeds",
            [("value", -math.inf, 0.1, False, "", MEDIAN), ("value", 0.8, 1.25, False, "", MEDIAN)],
        ),
        (
            "rises from 1 to 2 for each seed, and is at most 0.01 at depth 4",
            [("rises", 0, math.inf, True, "", EACH), ("value", -math.inf, 0.01, False, "depth 4", EACH)],
        ),
        ("above 2 for at least four of five seeds", [("value", 2, math.inf, True, "", Quantifier("count", 4, 5))]),
        ("at least 3 with learned positions", [("value", 3, math.inf, False, "learned positions", POOLED)]),
    ],
)
def test_what_a_clause_means(text, expected):
    found = [(c.compare, c.low, c.high, c.strict, c.where, c.over) for c in parse(text)]
    assert found == pytest.approx(expected) if isinstance(expected, float) else found == expected


def test_levels_are_the_conditions_compared():
    assert parse("falls from 1 to 2 to 4")[0].levels == ("1", "2", "4")
    assert isinstance(parse("below 2")[0], Clause)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "about 3",
        "below",
        "below three",
        "at most half of that",
        "with that effect present exactly in those",
        "between 2 and 1",
        "below 3 for at least six of five seeds",
        "below 3 for most seeds",
        "below 3,and above 2",
        "median over seeds",
        "below 3 by far",
        "at most 2, mean over seeds",
    ],
)
def test_what_is_not_understood_is_refused(text):
    with pytest.raises(
        ValueError, match=r"not understood|no clause|no.*before it|smaller|expected numbers|there is none"
    ):
        parse(text)


def written(folder, criterion="below 1", **changes):
    keys = {"id": "a", "statement": "s", "source": "n", "basis": "paper", "quantity": "q", "criterion": criterion}
    lines = [f'{key} = "{value}"' for key, value in (keys | changes).items() if value is not None]
    (folder / "own.toml").write_text('paper = "p"\nsetting = "s"\n[[claim]]\n' + "\n".join(lines))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"criterion": "quite small"}, r"own.toml, claim a: criterion 'quite small'.*not understood"),
        ({"criterium": "x"}, r"own.toml, claim a: unknown key 'criterium'; did you mean 'criterion'"),
        ({"source": None}, r"missing key 'source'"),
        ({"basis": "papr"}, r"unknown basis 'papr'; did you mean 'paper'"),
    ],
)
def test_a_wrong_file_is_refused_with_file_claim_and_text(tmp_path, changes, said):
    assert papers.read("own", written(tmp_path))["a"].criterion == "below 1"
    with pytest.raises(ConfigError, match=said):
        papers.read("own", written(tmp_path, **changes))


def test_unknown_papers_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'zhang-2023'"):
        papers.read("zhang-2032")
    written(tmp_path)
    text = (tmp_path / "own.toml").read_text()
    (tmp_path / "own.toml").write_text(text + "\n" + text[text.index("[[") :])
    with pytest.raises(ConfigError, match="appears twice"):
        papers.read("own", tmp_path)
    (tmp_path / "own.toml").write_text("paper = ")
    with pytest.raises(ConfigError, match=r"own.toml: is not TOML"):
        papers.read("own", tmp_path)


def test_every_claim_of_an_experiments_paper_is_measured_or_has_a_reason():
    for experiment in all_experiments().values():
        assert not list(experiment.problems(papers.read(experiment.paper)))
