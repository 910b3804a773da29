"""The gradient of training.loss by posteriors on a processor, and Adam's step, written out.

machine.products serves the layers, and machine.steps makes of it what training.fit takes.
"""

import math
from typing import Any

import numpy as np

from ccbook.machine.products import (
    HALF,
    ONE,
    OPTIONS,
    TWO,
    ZERO,
    add_product,
    exponential,
    njit,
    nonzero,
    product,
    transposed_bytes,
)
from ccbook.machine.vectors import LANES

NAMES = "W1", "b1", "W2", "b2"  # the order of all tensors here, whatever a posterior's is
TENSORS = "UniTuple(f4[:, ::1], 4)"
DIGITS = "UniTuple(i4[::1], 2), UniTuple(i4[::1], 2), UniTuple(f4[::1], 2), i4[::1], i8[::1], b1"
STACK = "Tuple((f4[:, :, ::1], f4[:, ::1], f4[:, :, ::1], f4[:, ::1]))"  # of as many posteriors
PARTS = f"UniTuple({STACK}, 2)"  # for means and for log standard deviations
BETAS, EPSILON = (0.9, 0.999), np.float32(1e-8)  # of Adam, as torch has them
NEW: Any = tuple(np.float32(1 - beta) for beta in BETAS)


@njit("f8(f4[:, ::1], i8[::1], f4)", **OPTIONS)
def likelihood(z, labels, share):
    """share times minus the log-likelihood of a digit, Σ log Σ exp z - z[label]; its gradient by z takes z's place.

    z [classes, digits and columns to fill a vector]: the few classes are rows, so that vectors hold digits.
    """
    (classes, padded), batch, loss = z.shape, len(labels), 0.0
    top, total = np.full(padded, -np.inf, np.float32), np.zeros(padded, np.float32)
    for y in range(classes):
        top = np.maximum(top, z[y])
    for i in range(batch):
        loss += top[i] - z[labels[i], i]
    z -= top
    exponential(z, ONE, z)
    for y in range(classes):
        total += z[y]
    for i in range(batch):
        loss += math.log(total[i])
    z *= share / np.float32(batch) / total
    for i in range(batch):
        z[labels[i], i] -= share / np.float32(batch)
    return loss * share / batch


@njit("f4[:, ::1](f4[:, ::1])", **OPTIONS)
def transposed(x):
    """With zeros at the end of each row, to whole vectors."""
    out = np.zeros((x.shape[1], len(x) + -len(x) % LANES), np.float32)
    out[:, : len(x)] = x.T
    return out


@njit(f"f8({DIGITS}, UniTuple(f4[:, ::1], 2), {TENSORS}, {TENSORS}, {TENSORS}, {TENSORS}, f4)", **OPTIONS)
def of_preactivations(rows, columns, weights, all_entries, labels, squared, noise, mean, variance, by_mean, by_drawn,
                      share):  # fmt: skip
    """likelihood, where each digit has noise of its own for x and for z.

    Takes nonzero(...) of the images and of their transpose, and the variances e^2s. What is drawn has these, or squared
    those of the biases are. Writes the gradients by means and by variances of what is drawn.
    """
    (w1, b1, w2, b2), (v1, c1, v2, c2), batch, (hidden, classes) = mean, variance, len(labels), mean[2].shape
    # x = max(0, a W1 + b1 + d noise), d² = a² V1 + c1
    x, d, unused = np.empty_like(noise[0]), np.empty_like(noise[0]), np.empty(hidden, np.float32)
    product(*rows, weights[0], w1, -ONE, x, unused)
    product(*rows, weights[1], v1, ONE, d, unused)
    c, x2 = c1 * c1 if squared else c1, np.empty_like(x)
    for i in range(batch):
        for h in range(hidden):
            d[i, h] = math.sqrt(d[i, h] + c[0, h])
            x[i, h] = max(x[i, h] + b1[0, h] + d[i, h] * noise[0][i, h], ZERO)
            x2[i, h] = x[i, h] * x[i, h]
    # zᵀ = W2ᵀ xᵀ + b2 + e noise, e² = V2ᵀ (x²)ᵀ + c2
    xt, w2t, v2t, c = transposed(x), w2.T.copy(), v2.T.copy(), c2 * c2 if squared else c2
    z, e = np.empty((classes, xt.shape[1]), np.float32), np.empty((classes, xt.shape[1]), np.float32)
    for y in range(classes):
        z[y], e[y] = b2[0, y], c[0, y]
    add_product(w2t, xt, z, all_entries)
    add_product(v2t, xt * xt, e, all_entries)
    for y in range(classes):
        for i in range(batch):
            e[y, i] = math.sqrt(e[y, i])
            z[y, i] += e[y, i] * noise[1][i, y]
    loss = likelihood(z, labels, share)
    # e becomes the gradient by e²
    for y in range(classes):
        for i in range(batch):
            e[y, i] = z[y, i] * noise[1][i, y] / (TWO * e[y, i])
        by_mean[3][0, y], by_drawn[3][0, y] = z[y, :batch].sum(), e[y, :batch].sum()
    # by W2: xᵀ g, by V2: (x²)ᵀ g, by x: g W2ᵀ + 2 x (g V2ᵀ) where x > 0, which g becomes
    by_w, by_v = np.zeros((classes, hidden), np.float32), np.zeros((classes, hidden), np.float32)
    add_product(z, x, by_w, all_entries)
    add_product(e, x2, by_v, all_entries)
    by_mean[2][:], by_drawn[2][:] = by_w.T, by_v.T
    g, by_x2 = np.zeros((batch, hidden), np.float32), np.zeros((batch, hidden), np.float32)
    add_product(z.T.copy(), w2t, g, all_entries)
    add_product(e.T.copy(), v2t, by_x2, all_entries)
    for i in range(batch):
        for h in range(hidden):
            g[i, h] = g[i, h] + TWO * x[i, h] * by_x2[i, h] if x[i, h] > ZERO else ZERO
            d[i, h] = g[i, h] * noise[0][i, h] / (TWO * d[i, h])
    # by W1: aᵀ g, by V1: (a²)ᵀ of what d is now, the gradient by d²
    product(*columns, weights[0], g, -ONE, by_mean[0], by_mean[1][0])
    product(*columns, weights[1], d, ONE, by_drawn[0], by_drawn[1][0])
    return loss


@njit(f"f8({DIGITS}, {TENSORS}, {TENSORS}, {TENSORS}, {TENSORS}, {TENSORS}, f4)", **OPTIONS)
def of_weights(rows, columns, weights, all_entries, labels, squared, noise, mean, variance, by_mean, by_drawn, share):
    """of_preactivations, where the weights are drawn instead, once for all digits: with noise for each tensor."""
    batch, (hidden, classes) = len(labels), mean[2].shape
    w = np.empty_like(mean[0]), np.empty_like(mean[1]), np.empty_like(mean[2]), np.empty_like(mean[3])
    for k in range(4):
        for r in range(len(w[k])):
            out, m, v, n = w[k][r], mean[k][r], variance[k][r], noise[k][r]
            for h in range(len(m)):
                out[h] = m[h] + (v[h] if squared and k % 2 == 1 else math.sqrt(v[h])) * n[h]
    # x = max(0, a W1 + b1), zᵀ = W2ᵀ xᵀ + b2
    x, unused = np.empty((batch, hidden), np.float32), np.empty(hidden, np.float32)
    product(*rows, weights[0], w[0], -ONE, x, unused)
    for i in range(batch):
        for h in range(hidden):
            x[i, h] = max(x[i, h] + w[1][0, h], ZERO)
    xt, w2t = transposed(x), w[2].T.copy()
    z = np.empty((classes, xt.shape[1]), np.float32)
    for y in range(classes):
        z[y] = w[3][0, y]
    add_product(w2t, xt, z, all_entries)
    loss = likelihood(z, labels, share)
    # by W2: xᵀ g, by x: g W2ᵀ where x > 0, which g becomes, by W1: aᵀ g
    by_w, g = np.zeros((classes, hidden), np.float32), np.zeros((batch, hidden), np.float32)
    add_product(z, x, by_w, all_entries)
    by_mean[2][:] = by_w.T
    for y in range(classes):
        by_mean[3][0, y] = z[y, :batch].sum()
    add_product(z.T.copy(), w2t, g, all_entries)
    for i in range(batch):
        for h in range(hidden):
            g[i, h] = g[i, h] if x[i, h] > ZERO else ZERO
    product(*columns, weights[0], g, -ONE, by_mean[0], by_mean[1][0])
    # by the variance: of the mean's, noise / (2 d)
    for k in range(4):
        for r in range(len(w[k])):
            out, by_m, v, n = by_drawn[k][r], by_mean[k][r], variance[k][r], noise[k][r]
            for h in range(len(n)):
                out[h] = by_m[h] * n[h] / (TWO * (v[h] if squared and k % 2 == 1 else math.sqrt(v[h])))
    return loss


@njit("f8(" + "f4[:, ::1], " * 5 + "b1, f4, f4, f4)", **OPTIONS)
def complexity(mean, log_std, variance, by_mean, by_drawn, squared, weight, prior_std, clip):
    """weight KL, eq. (2); in place: the likelihood's gradients, by means and variances of what is drawn, to the loss's.

    Those are by mean and log_std. What is drawn has this variance, or squared: the square of it.
    """
    precision, constant, total = ONE / (prior_std * prior_std), np.float32(math.log(prior_std) - 0.5), 0.0
    for r in range(len(mean)):
        m, s, v, by_m, by_s, part = mean[r], log_std[r], variance[r], by_mean[r], by_drawn[r], ZERO
        for h in range(len(m)):
            part += HALF * precision * (m[h] * m[h] + v[h]) - s[h] + constant
            g = by_m[h] + weight * precision * m[h]
            by_m[h] = min(max(g, -clip), clip)
            g = by_s[h] * TWO * (TWO * v[h] * v[h] if squared else v[h]) + weight * (precision * v[h] - ONE)
            by_s[h] = min(max(g, -clip), clip)
        total += float(part)  # a single sum of so many would round too much
    return weight * total


@njit("void(" + "f4[:, ::1], " * 4 + "f4, f4)", **OPTIONS)
def adam(x, gradient, first, second, rate, correction):
    """A step of Adam (Kingma and Ba, 2015), in place.

    Step t's rate is the learning rate over 1 - β1^t, its correction 1 / √(1 - β2^t).
    """
    for r in range(len(x)):
        value, g, m, v = x[r], gradient[r], first[r], second[r]
        for h in range(len(g)):
            m[h] += NEW[0] * (g[h] - m[h])
            v[h] += NEW[1] * (g[h] * g[h] - v[h])
            value[h] -= rate * m[h] / (math.sqrt(v[h]) * correction + EPSILON)


@njit(f"{TENSORS}({STACK}, i8)", **OPTIONS)
def of_posterior(stack, k):
    """The tensors of one posterior; a bias is a row."""
    return stack[0][k], stack[1][k : k + 1], stack[2][k], stack[3][k : k + 1]


@njit("f8[::1](u1[:, :, ::1], UniTuple(f4[::1], 2), i4[::1], i8[:, ::1], b1, UniTuple(f4[:, :, ::1], 2), "
      + f"{STACK}, {PARTS}, {PARTS}, {PARTS}, {PARTS}, f4[::1], f4[::1], f4, f4, f4, f4)", **OPTIONS)  # fmt: skip
def steps(images, weights, all_entries, labels, squared, noise_of_digits, noise_of_weights, posteriors, gradients,
          first, second, share, kl_weight, prior_std, clip, rate, correction):  # fmt: skip
    """share times minus the log-likelihood of a digit, plus kl_weight times the KL, for each posterior.

    As many posteriors in turn see the same digits as there are for each model. One of the two noises is empty. Writes
    the gradients by means and log standard deviations, and where rate isn't 0 makes a step of Adam, with its moments.
    """
    losses, each = np.empty(len(share)), len(share) // len(images)
    for s in range(len(images)):
        digits = nonzero(images[s]), nonzero(transposed_bytes(images[s], posteriors[0][0].shape[1]))
        for k in range(s * each, (s + 1) * each):
            m, ls = of_posterior(posteriors[0], k), of_posterior(posteriors[1], k)
            by_m, by_l = of_posterior(gradients[0], k), of_posterior(gradients[1], k)
            v = np.empty_like(m[0]), np.empty_like(m[1]), np.empty_like(m[2]), np.empty_like(m[3])
            for i in range(4):
                exponential(ls[i], TWO, v[i])
            if len(noise_of_digits[0]):
                noise = noise_of_digits[0][k], noise_of_digits[1][k]
                losses[k] = of_preactivations(*digits, weights, all_entries, labels[s], squared, noise, m, v, by_m,
                                              by_l, share[k])  # fmt: skip
            else:
                losses[k] = of_weights(*digits, weights, all_entries, labels[s], squared,
                                       of_posterior(noise_of_weights, k), m, v, by_m, by_l, share[k])  # fmt: skip
            for i in range(4):
                losses[k] += complexity(m[i], ls[i], v[i], by_m[i], by_l[i], squared and i % 2 == 1, kl_weight[k],
                                        prior_std, clip)  # fmt: skip
            if rate > ZERO:
                for part in range(2):
                    x, g = (m, ls)[part], (by_m, by_l)[part]
                    m1, m2 = of_posterior(first[part], k), of_posterior(second[part], k)
                    for i in range(4):
                        adam(x[i], g[i], m1[i], m2[i], rate, correction)
    return losses
