"""Verdicts on values made by hand: each word is reached for each criterion, and wrong logic is caught."""

import dataclasses

import numpy as np
import pytest

from experiments import judge, means, papers, ratios, verdicts
from experiments.criteria import parse
from experiments.measured import Measured, Part, exact
from experiments.verdicts import CONTRADICTED, INCONCLUSIVE, OUT_OF_REACH, REPRODUCED, revive
from tests.experiments.table import CASES

DRAWS = 400
CLAIMS = [(paper, claim) for paper, claims in CASES.items() for claim in claims]
ANY = next(iter(papers.read("default-run").values()))


def part(conditions, inside, outside, way: str, seeds: int = 5) -> Part:
    """Five equal seeds, inside or outside with narrow intervals, or straddling: from inside to beyond by replicate."""
    share = np.linspace(0, 2, DRAWS) if way == "straddle" else np.full(DRAWS, float(way == "outside"))
    drawn = np.multiply.outer(inside, 1 - share) + np.multiply.outer(outside, share)
    values = drawn[:, int(0.2 * DRAWS)]
    drawn = np.broadcast_to(drawn, (seeds, *drawn.shape))
    return Part("q", np.broadcast_to(values, (seeds, len(values))), conditions, drawn, 100)


def failures() -> list[str]:
    """Where `judge` differs from what the table says, over all claims and all ways to miss a criterion."""
    wrong = []
    for paper, name in CLAIMS:
        claim, cases = papers.read(paper)[name], CASES[paper][name]
        good = [part(*case, "inside") for case in cases]
        tries = [(good, "cpu", REPRODUCED), (good, "smoke", OUT_OF_REACH)]
        tries.append(([part(*case, "inside", 4) for case in cases], "cpu", OUT_OF_REACH))
        for index, case in enumerate(cases):
            for way, word in (("outside", CONTRADICTED), ("straddle", INCONCLUSIVE)):
                if way == "straddle" and "exactly in those" in claim.criterion:
                    continue
                tries.append(([*good[:index], part(*case, way), *good[index + 1 :]], "cpu", word))
        for parts, scale, word in tries:
            verdict = judge(claim, scale, bound(claim, parts))
            asked = "would decide" in verdict.why
            if verdict.word != word or asked != (word == INCONCLUSIVE):
                wrong.append(f"{name}: {verdict.word} ({verdict.why}) for {word}")
    return wrong


def test_each_word_is_reached_for_each_criterion():
    assert not failures()


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("_inside", lambda clause, ends: (ends >= clause.low) | (ends <= clause.high)),
        ("_inside", lambda clause, ends: np.ones(ends.shape, bool)),
        ("_outside", lambda clause, lows, highs: (highs < clause.low) & (lows > clause.high)),
        ("_outside", lambda clause, lows, highs: (lows < clause.low) | (highs > clause.high)),
        ("_outside", lambda clause, lows, highs: (highs < clause.low) | (lows > clause.high)),
        ("_select", lambda clause, part: part),
        ("_compared", lambda clause, part, before: (part.values, part.replicates)),
        ("_needed", lambda *_: ""),
        ("FEWEST_SEEDS", 2),
    ],
)
def test_planted_wrong_logic_is_caught(monkeypatch, name, planted):
    monkeypatch.setattr(verdicts, name, planted)
    try:
        assert failures()
    except ValueError:
        pass  # some faults do not even fit the shapes


def bound(claim, parts) -> Measured:
    """Parts for the clauses in their order."""
    return Measured(dict(zip([clause.text for clause in claim.clauses], parts, strict=True)))


def word(criterion: str, *parts: Part) -> str:
    claim = dataclasses.replace(ANY, criterion=criterion)
    return judge(claim, "cpu", bound(claim, parts)).word


def seeds(*values: float) -> Part:
    return exact("q", values)


def test_each_seed_counts():
    assert word("below 1 for each seed", seeds(0, 0, 0, 0, 0.9)) == REPRODUCED
    assert word("below 1 for each seed", seeds(0, 0, 0, 0, 1.1)) == CONTRADICTED


def test_so_many_of_so_many_seeds():
    some = "below 1 for at least three of five seeds"
    assert word(some, seeds(0, 0, 0, 2, 2)) == REPRODUCED
    assert word(some, seeds(0, 0, 2, 2, 2)) == CONTRADICTED
    assert word(some, seeds(*[0] * 6, *[2] * 4)) == REPRODUCED
    assert word(some, seeds(*[0] * 5, *[2] * 5)) == CONTRADICTED


def test_an_effect_in_exactly_those_seeds():
    criterion = "at most 1 for at least three of five seeds, with that effect present exactly in those"
    assert word(criterion, seeds(0, 0, 0, 0, 2), seeds(1, 1, 1, 1, 0)) == REPRODUCED
    assert word(criterion, seeds(0, 0, 0, 0, 2), seeds(1, 1, 1, 1, 1)) == CONTRADICTED
    assert word(criterion, seeds(0, 0, 0, 0, 2), seeds(1, 1, 1, 0, 0)) == CONTRADICTED
    with pytest.raises(ValueError, match="1 or 0"):
        word(criterion, seeds(0, 0, 0, 0, 2), seeds(0.5, 1, 1, 1, 1))


def test_the_median_of_five_seeds_is_sure_only_where_all_agree():
    """P(three of five draws are the largest seed) = 0.058 > 0.025: the interval reaches from the least to the largest
    of five. Of eleven seeds it does not: P(six of eleven draws are the largest) < 0.001."""
    assert word("below 1, median over seeds", seeds(0.1, 0.2, 0.3, 0.4, 0.9)) == REPRODUCED
    assert word("below 1, median over seeds", seeds(0.1, 0.2, 0.3, 0.4, 1.1)) == INCONCLUSIVE
    assert word("below 1, median over seeds", seeds(*np.linspace(0.1, 0.9, 10), 9)) == REPRODUCED
    assert word("below 1, median over seeds", seeds(1.1, 1.2, 1.3, 1.4, 1.5)) == CONTRADICTED


def test_orders_are_judged_on_the_same_prompts():
    """Noise that the conditions share cancels in their differences; noise of their own does not."""
    generator = np.random.default_rng(0)
    values = np.broadcast_to([0.3, 0.2, 0.1], (5, 3))
    shared = values[..., None] + generator.normal(size=(5, 1, DRAWS))
    apart = values[..., None] + generator.normal(size=(5, 3, DRAWS))
    names = "depth 1", "depth 2", "depth 4"
    falls = "falls from 1 to 2 to 4 for each seed"
    assert word(falls, Part("q", values, names, shared, 9)) == REPRODUCED
    assert word(falls, Part("q", values, names, apart, 9)) == INCONCLUSIVE
    assert word(falls, Part("q", values[:, ::-1], names, shared[:, ::-1], 9)) == CONTRADICTED
    assert word(falls, exact("q", np.broadcast_to([0.3, 0.3, 0.1], (5, 3)), names)) == CONTRADICTED


def test_half_of_that_is_seed_by_seed():
    criterion = "at least 3, and at most half of that without, for each seed"
    first = seeds(4, 6, 8, 10, 12)
    assert word(criterion, first, exact("r", [2, 3, 4, 5, 6], ("without",))) == REPRODUCED
    assert word(criterion, first, exact("r", [2, 3, 4, 5, 6.1], ("without",))) == CONTRADICTED

    criterion = "below 99, and at least 3, and at most half of that without, for each seed"
    half = exact("r", [2, 3, 4, 5, 6], ("without",))
    assert word(criterion, seeds(1, 1, 1, 1, 1), first, half) == REPRODUCED


@pytest.mark.parametrize(
    ("between", "within", "named"), [(1.0, 0.0, "seeds"), (0.0, 0.2, "prompts"), (0.9, 0.1, "seeds")]
)
def test_a_pooled_interval_has_seeds_outside_and_prompts_inside(between, within, named):
    """The variance of the mean of S seeds is between^2 / S + within^2 where all see the same prompts; the larger of
    the two terms says what more of would decide."""
    generator, count = np.random.default_rng(0), 24
    values = generator.normal(size=(count, 1))
    values = between * (values - values.mean()) / values.std()
    drawn = values[..., None] + within * generator.normal(size=1000)
    one = Part("q", values, ("",), drawn, 100)
    verdict = judge(dataclasses.replace(ANY, criterion="at most 0.01"), "cpu", Measured(one))
    value, low, high = verdict.findings[0].interval
    assert abs(value) < 1e-12
    np.testing.assert_allclose(high - low, 2 * 1.96 * np.sqrt(between**2 / count + within**2), rtol=0.1)
    assert (verdict.word, named in verdict.why) == (INCONCLUSIVE, True)


def test_how_many_would_decide():
    """The half-width towards the bound is 0.19 of 0.1: 100 prompts times 1.9^2 = 361."""
    drawn = np.broadcast_to(np.linspace(0.6, 1.0, 401), (5, 1, 401))
    one = Part("q", np.full((5, 1), 0.8), ("",), drawn, 100)
    verdict = judge(dataclasses.replace(ANY, criterion="below 0.9 for each seed"), "cpu", Measured(one))
    assert (verdict.word, verdict.why) == (INCONCLUSIVE, "about 370 prompts would decide (now 100)")
    verdict = judge(ANY, "cpu", Measured(seeds(0.001, 0.002, 0.003, 0.004, 0.0104)))
    assert verdict.why == "about 20 seeds would decide (now 5)"
    assert verdict.findings[0].interval == (0.003, 0.001, 0.0104)


def test_what_no_seed_changes_needs_no_five_seeds():
    assert word("below 1e-10", exact("q", 1e-12, seeded=False)) == REPRODUCED
    assert word("below 1e-10", exact("q", [1e-12])) == OUT_OF_REACH


@pytest.mark.parametrize(
    ("criterion", "parts", "said"),
    [
        ("below 1 at depth 4", (seeds(1),), "no condition 'depth 4'"),
        ("below 1 at each M", (seeds(1),), "needs several conditions"),
        ("strictly earlier", (seeds(1),), "needs several conditions"),
        ("falls from 1 to 2", (exact("q", [[2, 1]], ("depth 1", "depth 3")),), "no condition '2'"),
        ("falls from 1 to 2", (exact("q", [[2, 1, 3]], ("depth 1", "width 1", "depth 2")),), "no condition '1'"),
        ("below 1, and at most half of that", (seeds(1), exact("q", [1, 2])), "does not pair"),
    ],
)
def test_what_does_not_fit_the_criterion_is_an_error(criterion, parts, said):
    with pytest.raises(ValueError, match=said):
        word(criterion, *parts)


def test_parts_are_bound_to_clauses_by_their_words():
    two = dataclasses.replace(ANY, criterion="below 3, and above 1")
    high, low = exact("high", [2.0] * 5), exact("low", [0.5] * 5)
    assert judge(two, "cpu", Measured({"above 1": high, "below 3": low})).word == REPRODUCED
    assert judge(two, "cpu", Measured({"above 1": low, "below 3": high})).word == CONTRADICTED
    with pytest.raises(ValueError, match=r"measured for the clauses \['below 3'\], and the criterion has"):
        judge(two, "cpu", Measured(low))
    with pytest.raises(ValueError, match="above 2"):
        judge(two, "cpu", Measured({"above 2": low, "below 3": low}))


def test_undefined_numbers_are_refused_and_infinite_ones_fail():
    with pytest.raises(ValueError, match="undefined"):
        seeds(float("nan"))
    assert word("below 1 for each seed", seeds(0, 0, 0, 0, np.inf)) == CONTRADICTED


def test_a_verdict_survives_being_written_down():
    verdict = judge(ANY, "cpu", Measured(seeds(0.001, 0.002, 0.003, 0.004, np.inf)))
    assert revive(verdict.plain()) == verdict
    assert "inf" in str(verdict)


@pytest.mark.parametrize("prompts", [300, 10_001])
def test_replicates_of_a_mean_have_its_standard_error(prompts):
    """sd / sqrt(N), with prompts in blocks too; the spread of 1,000 replicates knows it to 2.2 % (one sd)."""
    errors = np.random.default_rng(0).exponential(size=(2, 3, prompts))
    found = means("q", errors, ("a", "b", "c"))
    np.testing.assert_allclose(found.values, errors.mean(2), rtol=1e-12)
    np.testing.assert_allclose(found.replicates.std(2), errors.std(2) / np.sqrt(prompts), rtol=0.1)
    np.testing.assert_allclose(found.replicates.mean(2), found.values, atol=5 * errors.std() / np.sqrt(1000 * prompts))


def test_ratios_are_paired_by_prompt():
    errors = np.random.default_rng(0).exponential(size=(2, 1, 500))
    found = ratios("q", 3 * errors, errors)
    np.testing.assert_allclose(found.replicates, 3, rtol=1e-5)
    assert parse("at least 3")[0].low == found.values.mean().round(12)


def test_a_share_of_other_numbers_of_seeds_is_rounded_up():
    """Three of five are at least 4.2 of seven: five of them."""
    some = "below 1 for at least three of five seeds"
    assert word(some, seeds(*[0] * 5, *[2] * 2)) == REPRODUCED
    assert word(some, seeds(*[0] * 4, *[2] * 3)) == CONTRADICTED


def test_all_parts_of_a_claim_see_the_same_resamples():
    """So that what is compared across parts is paired by prompt: a part and its double differ by the factor alone."""
    errors = np.random.default_rng(1).exponential(size=(2, 3, 400))
    one, double = means("q", errors, ("a", "b", "c")), means("twice", 2 * errors, ("a", "b", "c"))
    np.testing.assert_allclose(double.replicates, 2 * one.replicates, rtol=1e-6)
    np.testing.assert_allclose(means("q", errors[:, :1]).replicates[:, 0], one.replicates[:, 0], rtol=1e-6)
    over = ratios("q", errors, errors[:, ::-1], ("a", "b", "c"))
    np.testing.assert_allclose(over.replicates[:, 0], one.replicates[:, 0] / one.replicates[:, 2], rtol=1e-5)
