"""Every criterion that is written down, with values made by hand: inside and outside, for each clause in its order.

(conditions, inside, outside). Written from the English, not from what the parser makes of it.
"""

ONE = ("",)

CASES = {
    "akyurek-2022": {
        "ridge-by-construction": [(("float32",), [9e-6], [1e-5])],
        "depth-to-bayes": [
            (("depth 1", "depth 2", "depth 4", "depth 8"), [0.3, 0.1, 0.02, 0.5], [0.3, 0.1, 0.2, 0.01]),
            (("depth 1", "depth 2", "depth 4", "depth 8"), [0.3, 0.1, 0.0099, 0.5], [0.001, 0.001, 0.011, 0.001]),
        ],
        "one-layer-is-gd": [(ONE, [0.89], [0.9])],
        "depth-flips-family": [(("depth 4", "depth 8"), [1.51, 9.0], [1.51, 1.5])],
        "noise-diagonal": [
            (("1/16", "1/9", "1/4", "4/9"), [0.67, 1.0, 1.49, 1.2], [1.0, 1.0, 1.0, 0.66]),
            (("1/16", "1/9", "1/4", "4/9"), [0.05, 0.1, 0.3, 0.4], [0.05, 0.3, 0.1, 0.4]),
        ],
        "noiseless-is-ols": [(ONE, [0.029], [0.031])],
        "training-noise-matters": [(ONE, [0.049], [0.051])],
        "moment-before-weights": [(("moment", "weights"), [2.0, 3.0], [3.0, 3.0])],
        "nonlinear-encoding": [(ONE, [0.79], [0.81])],
        "probe-control": [(ONE, [2.01], [1.99])],
        "one-head-suffices": [(ONE, [1.29], [1.31])],
        "width-below-dim": [(ONE, [3.01], [2.99])],
    },
    "default-run": {"nearer-than-sixteen-steps": [(ONE, [0.0066], [0.0068])]},
    "loops": {
        "near-least-squares": [(ONE, [0.049], [0.051])],
        "fewer-parameters": [(ONE, [0.34], [0.36])],
        "fixed-point": [(ONE, [1.49], [1.51])],
        "few-loops-diverge": [(ONE, [1.51], [1.49])],
        "truncation-is-free": [(ONE, [0.68], [0.66])],
        "loops-match-depth": [(ONE, [1.49], [1.51])],
    },
    "mixers": {
        "nothing-without-mixing": [(("linear-regression", "conjunction"), [3.1, 3.1], [3.1, 2.9])],
        "attention-is-nearest": [(("linear-regression", "conjunction"), [1.1, 1.1], [1.1, 0.9])],
        "delta-rule-corrects": [(("linear-regression",), [0.99], [1.01])],
    },
    "von-oswald-2022": {
        "one-layer-loss": [(ONE, [0.981], [1.021])],
        "one-layer-sensitivity": [(ONE, [0.991], [0.989])],
        "implied-rate": [(ONE, [0.951], [0.949])],
        "interpolation": [(ONE, [1.019], [1.021])],
        "construction-k-steps": [(("K = 1", "K = 5"), [9e-11, 1e-12], [9e-11, 2e-10])],
        "two-steps-beat-gd": [(ONE, [0.84], [0.86])],
        "two-steps-are-gdpp": [(ONE, [1.04], [0.92])],
        "input-range": [(("0.5", "1", "1.5", "2"), [0.91, 1.0, 1.0, 1.09], [1.0, 1.0, 1.0, 1.11])],
        "softmax-one-head": [(ONE, [1.01], [1.03])],
        "softmax-two-heads": [(ONE, [0.51], [0.49])],
        "copy-then-one-step": [(ONE, [1.04], [1.06]), (ONE, [1.0], [0.0])],
        "untied-five-layers": [(ONE, [0.96], [0.94])],
    },
    "zhang-2023": {
        "global-minimum": [(("isotropic", "anisotropic"), [0.049, 0.01], [0.01, 0.051])],
        "gamma-not-lambda": [(ONE, [5.1], [4.9])],
        "risk-formula": [(("M = 10", "M = 20", "M = 200"), [0.951, 1.0, 1.049], [1.0, 0.94, 1.0])],
        "bias-vanishes": [(ONE, [0.009], [0.011])],
        "covariate-scale": [(("c = 0.5", "c = 1.5", "c = 2"), [0.91, 1.0, 1.09], [0.91, 1.0, 1.11])],
        "task-shift-tolerated": [(("scaled", "sparse"), [0.951, 1.049], [1.0, 1.051])],
        "random-covariance": [(ONE, [0.09], [0.11]), (ONE, [0.81], [1.26])],
        "length-spike": [(("learned positions",), [4.0], [2.9]), (("without",), [1.4], [2.1])],
        "large-transformers-adapt": [(ONE, [0.29], [0.31])],
    },
}
