"""The function classes under contract: every registered one with its defaults, and what its author wants beside."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import function_classes as fc
from function_classes import FunctionClass, Prediction, Prompt, Real
from icl.contracts.classes import residuals, tempered
from tests.harness import beats_bayes, losses

POINTS = 7
PROMPTS = 2048

GP = {"name": "gaussian-process", "kernel": "rbf", "points": POINTS}
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "associative-recall": ({"points": 12, "pairs": 2, "symbols": 8, "longest_gap": 3, "power": -0.5},),
    "autoregressive": (
        {"features": "random", "feature_count": 5, "feature_seed": 1, "order": 1, "weight_std": 1.5},
        {"features": "linear", "order": 3, "noise_std": 0.9, "weight_std": 0.8},
    ),
    "bandit": (
        {"arms": 2, "alpha": 0.5, "beta": 2.0, "policy": "rounds"},
        {"arms": 3, "rewards": "gaussian", "scale": 1.5, "noise_std": 0.8},
    ),
    "bursty-classes": (
        {"dim": 2, "classes": 4, "labels": 2, "spread": 1.0, "zipf": 1.0, "burst_probability": 0.5, "label_shift": 1},
        {
            "dim": 2,
            "labels": 5,
            "classes": 5,
            "spread": 0.7,
            "trial": "in-context",
            "scoring": "every",
        },
        {"dim": 2, "classes": 4, "labels": 2, "spread": 1.0, "zipf": 1.0, "trial": "in-weights", "scoring": "every"},
        {"dim": 2, "classes": 4, "labels": 2, "spread": 1.0, "zipf": 0.5, "trial": "in-weights-uniform"},
    ),
    "causal-graph": (
        {"graph": "tree", "graph_seed": 1, "symbols": 2, "alpha": 0.5},
        {"graph": "pairs", "roots": "stationary"},
    ),
    "cellular-automaton": (
        {"cells": 5, "radius": 2, "density": None, "rule_density": 0.4},
        {"rules": "life-like", "cells": 4, "density": 0.4, "rule_density": 0.3},
    ),
    "chain-of-thought": (
        {"dim": 2, "layers": 2, "intermediates": "hidden"},
        {"dim": 3, "layers": 1, "noise_std": 0.3},
    ),
    "cnf": ({"dim": 3, "terms": 2, "monotone": True, "teaching": "mixed", "taught": 0.6, "plus": 0.6},),
    "conjunction": (
        {"dim": 4, "literal": 0.5, "forced": 0.2, "plus": 0.4},
        {"dim": 4, "literal": 0.5, "teaching": "mixed"},
        {"dim": 5, "monotone": True, "teaching": "first"},
    ),
    "convex-combination": (
        {
            "first": {"name": "gaussian-mixture-regression", "dim": 2, "axis_std": 0.3},
            "second": {"name": "linear-pool", "dim": 2, "pool_size": 3},
            "share": 0.7,
            "noise_std": 0.3,
            "unit_variance": True,
        },
    ),
    "decision-tree": (
        {"dim": 2, "levels": 3, "scale": 2.0, "noise_std": 0.5},
        {"dim": 40, "levels": 4},
    ),
    "dfa": (
        {"symbols": 3, "least_states": 2, "most_states": 3, "stop": 0.3, "pool_size": 5, "pool_seed": 1},
        {"symbols": 3, "pool_size": None},
        {"sampler": "paper", "symbols": 3, "most_edges": 2, "least_states": 3, "pool_size": 5, "longest": 4},
    ),
    "disjunction": ({"dim": 4, "literal": 0.4, "teaching": "mixed", "taught": 0.3},),
    "dnf": (
        {"dim": 2, "terms": 2, "literal": 0.5, "plus": 0.6},
        {"dim": 3, "terms": 2, "monotone": True, "teaching": "first"},
    ),
    "feature-regression": ({"dim": 2, "size": 4, "layers": 2, "slope": 0.3, "network_seed": 3, "noise_std": 0.4},),
    "fixed-markov": (
        {"p": 0.5, "q": 0.6, "start": "uniform"},
        {"chain_seed": 3, "symbols": 3, "order": 2, "alpha": 0.5},
    ),
    "fourier": ({"frequencies": 2, "half_period": 3.0, "weight_std": 0.7, "noise_std": 0.4},),
    "fourier-mixture": ({"frequencies": 3, "half_period": 4.0, "weight_std": 1.5, "noise_std": 0.4},),
    "gaussian-mixture-regression": (
        {"dim": 3, "centers": (1.0, -2.0, 0.5), "probabilities": (0.5, 0.3, 0.2), "axis_std": 0.5, "spread": 0.7},
    ),
    "gaussian-process": (
        {"dim": 2, "kernel": "matern-5/2", "lengthscale": 1.5, "scale": 2.0, "noise_std": 0.3},
        {"lengthscales": (0.3, 1.5), "scales": (0.7, 1.4), "noise_std": 0.3, "kernel": "matern-3/2"},
        {"kernel": "periodic", "period": 1.7, "lengthscale": 0.9, "noise_std": 0.2},
    ),
    "haar": ({"levels": 2, "weight_std": 2.0, "noise_std": 0.5, "inputs": {"name": "uniform", "low": -0.5}},),
    "heteroscedastic-linear": (
        {"dim": 2, "noise": {"name": "levels", "count": 5, "low": 0.3, "high": 1.5}, "weights": "independent"},
        {"dim": 2, "weights": "independent", "noise": {"name": "inverse-gamma", "shape": 6.0}, "weight_std": 0.7},
        {"dim": 3, "noise": {"name": "uniform-noise", "low": 0.4}, "weight_std": 0.7},
    ),
    "hmm": ({"states": 2, "symbols": 3, "transition_alpha": 0.5, "emission_alpha": 0.5, "pool_seed": 2},),
    "hmm-mixture": ({"states": 2, "symbols": 2, "pool_size": 3, "pool_seed": 1},),
    "induction": (
        {"symbols": 3, "shortest": 1, "longest": 4, "noise": 0.3},
        {"symbols": 2, "shortest": 2, "longest": 5, "points": 9},
    ),
    "integer-halfspace": ({"dim": 3, "largest": 1, "plus": 0.6},),
    "letter-digit": ({"letters": 2},),
    "linear-classification": (
        {"dim": 1, "link": "probit", "weight_std": 1.2},
        {"dim": 2, "link": "threshold"},
        {"dim": 3, "link": "threshold"},
    ),
    "linear-dynamical-system": (
        {"dim": 2, "pool_size": 3, "pool_seed": 1, "radius": 0.8, "noise_std": 0.5},
        {"pool_size": None},
    ),
    "linear-mixture": (
        {"dim": 3, "regressors": 3, "probabilities": (0.6, 0.3, 0.1), "scale": 2.0, "regressor_seed": 4},
    ),
    "interpolated-pool": ({"dim": 3, "pool_size": 4, "pool_seed": 3, "share": 0.2, "noise_std": 1.0},),
    "linear-pool": ({"dim": 3, "pool_size": 5, "pool_seed": 3, "weight_std": 2.0, "noise_std": 1.0},),
    "linear-regression": ({"dim": 3, "noise_std": 1.0, "weight_std": 0.5, "weight_mean": 0.7, "inputs": "uniform"},),
    "low-rank": ({"dim": 16, "rank": 2, "weight_std": 0.3},),
    "majority": ({"dim": 5, "literal": 0.5},),
    "markov": (
        {"symbols": 2, "order": 2, "alpha": 0.4},
        {"symbols": 4, "order": 0},
        {"symbols": 3, "alpha": 2.0, "start": "stationary"},
    ),
    "markov-pool": (
        {"pool_size": 1},
        {"pool_size": 3, "pool_seed": 1, "symbols": 2, "order": 2, "alpha": 0.5, "start": "stationary"},
    ),
    "mixture": (
        {
            "classes": (
                {"name": "linear-regression", "dim": 2, "inputs": {"name": "gaussian", "std": 1.5}},
                {"name": "sign-vector", "dim": 2, "noise_std": 0.3, "weight_std": 0.7},
                {"name": "gaussian-process", "dim": 2, "inputs": {"name": "gaussian", "std": 0.8}},
            ),
            "probabilities": (0.5, 0.3, 0.2),
            "unit_variance": True,
        },
        {"classes": ({"name": "markov", "alpha": 0.4}, {"name": "markov", "order": 0})},
        {
            "classes": (
                {"name": "chain-of-thought", "dim": 2, "layers": 2},
                {"name": "chain-of-thought", "dim": 2, "layers": 2, "slope": 0.8, "noise_std": 0.4},
            )
        },
    ),
    "monomials": ({"dim": 3, "size": 2, "sets": 5, "set_seed": 2, "weight_std": 2.0, "noise_std": 0.5},),
    "nearest-neighbor": ({"dim": 8, "coins": 2},),
    "parity": ({"dim": 4, "teaching": "mixed"}, {"dim": 3, "teaching": "first", "plus": 0.6}),
    "permuted-projection": (
        {"dim": 2, "classes": 3, "projection": "none", "mean_std": 1.5, "noise_std": 0.8},
        {"dim": 2, "classes": 2, "projection": "gaussian"},
        {"dim": 2, "classes": 3, "tasks": 4, "task_seed": 3},
    ),
    "quadratic": ({"dim": 2, "weight_std": 0.6, "noise_std": 0.5, "inputs": "uniform"},),
    "randomized-labels": (
        {"base": {"name": "linear-regression", "dim": 2, "weight_mean": 0.4}, "by": "permutation", "rate": 0.6},
    ),
    "relu-network": ({"dim": 2, "hidden": 3, "scale": 0.7, "noise_std": 0.3},),
    "shuffled-order": ({"base": "markov"}, {"base": {"name": "nearest-neighbor", "dim": 4}}),
    "shifted-inputs": (
        {"base": GP, "shift": {"name": "mean-shift", "value": 0.7}},
        {"shift": {"name": "subspace", "value": 0.7}},
    ),
    "sign-vector": ({"dim": 3, "weight_std": 0.5, "noise_std": 0.3}, {"dim": 13}),
    "sinusoid": ({"rates": (0.7, 1.1, 2.0), "weight_std": 1.5, "noise_std": 0.5},),
    "sliding-window": (
        {"dim": 2, "window": 2, "function": "shared", "noise_std": 0.5, "weight_std": 0.7},
        {"dim": 2, "function": "relu", "hidden": 3},
    ),
    "sparse-disjunction": ({"dim": 5, "sparsity": 2, "teaching": "mixed"},),
    "sparse-linear": ({"dim": 4, "sparsity": 3, "weight_std": 0.7, "noise_std": 0.5}, {"dim": 30, "sparsity": 4}),
    "sparse-parity": ({"dim": 5, "sparsity": 3},),
    "switching-lag": ({"lag": 3, "p": 0.4, "q": 0.3},),
    "threshold": ({"dim": 3, "literal": 0.5},),
    "tokenized": (
        {"base": {"name": "markov", "symbols": 2, "alpha": 0.7}, "tokenizer": {"name": "blocks", "length": 2}},
        {"base": {"name": "hmm", "symbols": 3}, "tokenizer": {"name": "bpe", "size": 7, "longest": 4}, "fit_seed": 1},
    ),
}
# Classes whose streams repeat what was shown: outputs that no later prediction needs, and why.
REPEATED = {"associative-recall": "what follows a query or nothing is determined by what came before"}


class Case:
    """One configuration, and what one compiled program says about it. Float fields enter the program as data."""

    def __init__(self, task: FunctionClass):
        self.task = task
        self.traces = 0
        self._program = jax.jit(self._run, static_argnames="n")

    def _run(self, task: FunctionClass, key: jax.Array, n: int) -> dict[str, Any]:
        self.traces += 1
        prompts = task.batch(key, n)
        one = task.sample_latent(jax.random.fold_in(key, 1))
        again = jax.vmap(lambda i: task.sample_prompt(one, jax.random.fold_in(key, i)))(jnp.arange(4))
        found = {"prompts": prompts, "one task": again}
        if task.bayes_kind.kind != "none":
            found["bayes"] = jax.vmap(task.bayes)(prompts)
            found["log predictive"] = jax.vmap(task.log_predictive)(prompts)
        return found

    def run(self, seed: int = 0, task: FunctionClass | None = None, n: int = PROMPTS) -> dict[str, Any]:
        return self._program(self.task if task is None else task, jax.random.key(seed), n)

    @functools.cached_property
    def result(self) -> dict[str, Any]:
        return self.run()

    @property
    def prompts(self) -> Prompt:
        return self.result["prompts"]

    @functools.cached_property
    def few(self) -> Prompt:
        return jax.tree.map(lambda a: a[:16], self.prompts)

    def perturbed(self, factor: float) -> list[FunctionClass]:
        """The task with one float field multiplied (0 moved instead), for every such field, nested ones too."""
        leaves, structure = jax.tree.flatten(self.task)
        moved = [leaf * factor if leaf else abs(1 - factor) for leaf in leaves]
        changes = [[*leaves[:i], moved[i], *leaves[i + 1 :]] for i in range(len(leaves))]
        return [jax.tree.unflatten(structure, change) for change in changes]

    def tempered(self, factor: float) -> Prediction:
        """Bayes made bolder or more timid: the mean multiplied, or probabilities raised to a power."""
        return tempered(self.task, self.result["bayes"], factor)

    def losses(self, prediction: Prediction) -> np.ndarray:
        return losses(self.task, self.prompts, prediction)

    def beats_bayes(self, prediction: Prediction) -> bool:
        nats = not isinstance(self.task.y_space, Real)
        return beats_bayes(self.losses(prediction), self.losses(self.result["bayes"]), nats=nats).beats

    def residuals(self) -> np.ndarray:
        """(N, places): zero on average at every place where Bayes is the posterior of this very generator."""
        return residuals(self.task, self.prompts, self.result["bayes"])


@functools.cache
def cases(name: str) -> tuple[Case, ...]:
    """The cases of one registered class: defaults with few points, then its variants."""
    fields = ({}, *VARIANTS.get(name, ()))
    return tuple(Case(fc.get(name, **{"points": POINTS, **one})) for one in fields)


def value_shape(task: FunctionClass, points: int) -> tuple[int, ...]:
    return (points, *((task.steps,) if task.steps > 1 else ()), *task.y_space.shape)
