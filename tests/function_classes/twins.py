"""Float64 NumPy twins of posteriors and evidences, from the textbook formulas and not from the filters."""

import itertools
from math import comb

import numpy as np
from scipy.special import gammaln


def linear_bayes(xs, ys, weight_std, noise_std):
    """Mean and variance of y_k given the first k examples, by the normal equations of ridge at every k."""
    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    means, variances = [], []
    for k, x in enumerate(xs):
        precision = xs[:k].T @ xs[:k] / noise_std**2 + np.eye(xs.shape[1]) / weight_std**2
        covariance = np.linalg.inv(precision)
        means.append(x @ covariance @ xs[:k].T @ ys[:k] / noise_std**2)
        variances.append(x @ covariance @ x + noise_std**2)
    return np.array(means), np.array(variances)


def log_joint_normal(ys, covariance):
    """log N(y; 0, covariance) of the whole vector at once, in nats."""
    ys = np.asarray(ys, np.float64)
    _, logdet = np.linalg.slogdet(covariance)
    return -0.5 * (logdet + ys @ np.linalg.solve(covariance, ys) + len(ys) * np.log(2 * np.pi))


def linear_evidence(xs, ys, weight_std, noise_std):
    """y ~ N(0, weight_std^2 XX' + noise_std^2 I)."""
    xs = np.asarray(xs, np.float64)
    return log_joint_normal(ys, weight_std**2 * xs @ xs.T + noise_std**2 * np.eye(len(xs)))


def kernel_matrix(kernel, a, b, lengthscale, scale, period):
    """Covariances one pair at a time."""
    result = np.empty((len(a), len(b)))
    for i, x in enumerate(np.asarray(a, np.float64)):
        for j, z in enumerate(np.asarray(b, np.float64)):
            r = np.linalg.norm(x - z)
            u = np.sqrt(5) * r / lengthscale
            v = np.sqrt(3) * r / lengthscale
            result[i, j] = (
                scale**2
                * {
                    "rbf": np.exp(-(r**2) / (2 * lengthscale**2)),
                    "matern-1/2": np.exp(-r / lengthscale),
                    "matern-3/2": (1 + v) * np.exp(-v),
                    "matern-5/2": (1 + u + u**2 / 3) * np.exp(-u),
                    "periodic": np.exp(-2 * np.sum(np.sin(np.pi * (x - z) / period) ** 2) / lengthscale**2),
                }[kernel]
            )
    return result


def kernel_bayes(gram, cross, prior, ys, noise_variance):
    """Mean and variance of y at queries: `cross` (n, N) are covariances of the n examples with them."""
    solved = np.linalg.solve(gram + noise_variance * np.eye(len(gram)), cross)
    return solved.T @ np.asarray(ys, np.float64), prior - np.sum(cross * solved, 0) + noise_variance


def markov_counts(ys, symbols, order):
    """How often each symbol followed each context, over the whole stream."""
    counts = np.zeros((symbols,) * (order + 1))
    for t in range(order, len(ys)):
        counts[tuple(ys[t - order : t + 1])] += 1
    return counts.reshape(-1, symbols)


def markov_evidence(ys, symbols, order, alpha):
    """Uniform start, then the Dirichlet-multinomial law of every row, in Gamma functions."""
    counts = markov_counts(ys, symbols, order)
    rows = gammaln(symbols * alpha) - gammaln(symbols * alpha + counts.sum(1))
    cells = gammaln(alpha + counts) - gammaln(alpha)
    return rows.sum() + cells.sum() - min(order, len(ys)) * np.log(symbols)


def letter_digit_evidence(ys, letters):
    """1/2 for the beginning; 1/n for every letter, for a first digit, and for the digit of every new letter."""
    first_digit = int(ys[0] >= letters)
    body = list(ys[first_digit:])
    asked, answers = body[0::2], body[1::2]
    known = {}
    for letter, digit in zip(asked, answers, strict=False):
        if known.setdefault(letter, digit) != digit:
            return -np.inf
    return -np.log(2) - (first_digit + len(asked) + len(known)) * np.log(letters)


def chain_evidence(xs, ys, weight_std, noise_std, slope):
    """Every coordinate of every layer is y = leaky(z), z ~ N(0, weight_std^2 UU' + noise_std^2 I) with U the layer
    before; the density of y has 1 / slope for every negative value."""
    before = np.asarray(xs, np.float64)
    total = 0.0
    for layer in np.moveaxis(np.asarray(ys, np.float64), 1, 0):
        pre = np.where(layer < 0, layer / slope, layer)
        total += sum(linear_evidence(before, z, weight_std, noise_std) for z in pre.T)
        total -= np.sum(layer < 0) * np.log(slope)
        before = layer
    return total


def finite_bayes(prior, labels, densities, ys):
    """P(y_k = +1 | x_<=k, y_<k) over hypotheses: prior (H,), labels +-1 (H, P), densities of the inputs (H, P)."""
    weights, found = np.asarray(prior, np.float64).copy(), []
    for k, y in enumerate(ys):
        weights = weights * densities[:, k]
        found.append(weights[labels[:, k] > 0].sum() / weights.sum())
        weights = np.where(labels[:, k] == y, weights, 0.0)
    return np.array(found)


def satisfied(term, x):
    """Whether every literal of a conjunction holds, read one literal at a time."""
    return all(x[i] == literal for i, literal in enumerate(term) if literal != 0)


def conjunction_evidence(positives, negatives, literal, forced):
    """p(inputs, labels) relative to uniform inputs, for signed conjunctions: the sum over terms in closed form, by
    inclusion and exclusion over the negatives and the binomial theorem over forced positives.

    Z = (1-q)^|N| sum_j C(m,j) (1-q)^(m-j) q^j sum_{A in N} (-1)^|A| prod_i [1 - p + 2^j p/2 (agree_i(+) + agree_i(-))]
    """
    dim = len((positives + negatives)[0])
    result = 0.0
    for j in range(len(positives) + 1):
        power = comb(len(positives), j) * (1 - forced) ** (len(positives) - j) * forced**j
        for size in range(len(negatives) + 1):
            for chosen in itertools.combinations(negatives, size):
                rows = np.array([*positives, *chosen]).reshape(-1, dim)
                agree = np.all(rows == 1, 0).astype(float) + np.all(rows == -1, 0)
                product = np.prod(1 - literal + 2.0**j * literal / 2 * agree)
                result += power * (-1) ** size * product
    return (1 - forced) ** len(negatives) * result


def conjunction_bayes(xs, ys, literal, forced):
    """P(y_k = +1 | x_<=k, y_<k) from these evidences; forced = 0 ignores what inputs say."""
    found = []
    for k in range(len(ys)):
        positives = [tuple(x) for x, y in zip(xs[:k], ys[:k], strict=True) if y > 0]
        negatives = [tuple(x) for x, y in zip(xs[:k], ys[:k], strict=True) if y < 0]
        query = tuple(xs[k])
        plus = conjunction_evidence([*positives, query], negatives, literal, forced)
        found.append(plus / (plus + conjunction_evidence(positives, [*negatives, query], literal, forced)))
    return np.array(found)


def mixture_bayes(log_probs, means, stds, xs, ys, noise_std):
    """Mixture of linear-Gaussian components with diagonal priors: at every k the weights (P, M) from the joint evidence
    of the first k labels, mean and variance of y_k, and log p(y_k | y_<k) as a difference of log evidences."""
    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    log_probs, means, stds = (np.asarray(a, np.float64) for a in (log_probs, means, stds))
    weights, moments, evidence = [], [], []
    for k in range(len(ys) + 1):
        seen, shown = xs[:k], ys[:k]
        logs, components = [], []
        for log_prob, mean, std in zip(log_probs, means, stds, strict=True):
            covariance = (seen * std**2) @ seen.T + noise_std**2 * np.eye(k)
            rest = shown - seen @ mean
            logs.append(log_prob + (log_joint_normal(rest, covariance) if k else 0.0))
            if k < len(ys):
                cross = seen @ (std**2 * xs[k])
                solved = np.linalg.solve(covariance, np.stack([rest, cross], 1)) if k else np.zeros((0, 2))
                variance = np.sum((std * xs[k]) ** 2) - cross @ solved[:, 1] + noise_std**2
                components.append((xs[k] @ mean + cross @ solved[:, 0], variance))
        evidence.append(np.logaddexp.reduce(logs))
        if k < len(ys):
            weights.append(np.exp(np.array(logs) - evidence[-1]))
            m, v = np.array(components).T
            total = weights[-1] @ m
            moments.append((total, weights[-1] @ (v + (m - total) ** 2)))
    mean, variance = np.array(moments).T
    return np.array(weights), mean, variance, np.diff(evidence)


def eigenvector_law(table, symbols, order):
    """The stationary law of contexts as the left eigenvector at eigenvalue 1."""
    table = np.asarray(table, np.float64)
    size = symbols**order
    moves = np.zeros((size, size))
    for context in range(size):
        for symbol in range(symbols):
            moves[context, (context * symbols + symbol) % size] += table[context, symbol] / table[context].sum()
    values, vectors = np.linalg.eig(moves.T)
    law = np.real(vectors[:, np.argmax(np.real(values))])
    return law / law.sum()


def pool_bayes(ys, pool, symbols, order):
    """Predictions of a pool of chains with stationary starts: ratios of the probabilities of whole prefixes."""

    def prefix(table, seen):
        law = eigenvector_law(table, symbols, order)
        start, total = tuple(seen[:order]), 0.0
        for context in range(symbols**order):
            digits = tuple(context // symbols**n % symbols for n in reversed(range(order)))
            total += law[context] * (digits[: len(start)] == start)
        for t in range(order, len(seen)):
            context = sum(s * symbols**n for n, s in enumerate(reversed(seen[t - order : t])))
            total *= table[context, seen[t]]
        return total

    result = []
    for t in range(len(ys)):
        joint = [sum(prefix(table, [*map(int, ys[:t]), j]) for table in pool) for j in range(symbols)]
        result.append(np.array(joint) / np.sum(joint))
    return np.array(result)


def stationary_row_bayes(ys, alpha, cells=400):
    """Two symbols, rows Beta(alpha, alpha), stationary start: the posterior of p = P(0 -> 1), q = P(1 -> 0) on a grid
    of midpoints."""
    middle = (np.arange(cells) + 0.5) / cells
    p, q = np.meshgrid(middle, middle, indexing="ij")
    density = (p * (1 - p) * q * (1 - q)) ** (alpha - 1)
    rows = np.stack([np.stack([1 - p, p]), np.stack([q, 1 - q])])
    result = [[0.5, 0.5]]
    density = density * (p if ys[0] else q) / (p + q)
    for before, now in itertools.pairwise(ys):
        predicted = np.array([np.sum(density * rows[before, j]) for j in range(2)])
        result.append(predicted / predicted.sum())
        density = density * rows[before, now]
        density /= density.max()
    return np.array(result)


def edge_bayes(ys, parents, symbols, alpha, cyclic=False):
    """Add-alpha over edges from parents to children; uniform at roots. `cyclic` has parents that come later."""
    result, edges = [], []
    for t, parent in enumerate(parents):
        seen = [(ys[p], ys[c]) for c, p in enumerate(parents[:t]) if p >= 0 and (cyclic or p < c)]
        edges = [child for row, child in seen if parent >= 0 and row == ys[parent]]
        counts = np.bincount(edges, minlength=symbols) + alpha if edges else np.full(symbols, alpha)
        result.append(counts / counts.sum())
    return np.array(result)


def hidden_bayes(ys, start, transition, emission):
    """Predictions of a hidden Markov model: sums over all paths."""
    paths = list(itertools.product(range(len(start)), repeat=len(ys)))
    symbols = emission.shape[1]

    def joint(seen):
        total = 0.0
        for path in paths:
            chance = start[path[0]]
            for before, now in itertools.pairwise(path[: len(seen)]):
                chance *= transition[before, now]
            for state, symbol in zip(path, seen, strict=False):
                chance *= emission[state, symbol]
            # Every prefix of a path is counted once for each of its continuations.
            total += chance / len(start) ** (len(ys) - len(seen))
        return total

    result = []
    for t in range(len(ys)):
        law = np.array([joint([*map(int, ys[:t]), j]) for j in range(symbols)])
        result.append(law / law.sum())
    return np.array(result), joint(list(map(int, ys)))
