"""The gradient by posteriors on a processor, at the cost of the nonzero pixels.

Four of five pixels of a digit are 0, and `scale` turns them to -1. With s = -1 for p = 1 and s = 1 for p = 2
    a^p T = (a^p - s) T + s 1ᵀT    and    (a^p)ᵀ g = (a^p - s)ᵀ g + s 1ᵀg
are exact, and a^p - s is 0 wherever a pixel is. The rest is training.loss and its derivative, written out.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from ccbook.machine.vectors import LANES, TILE, add_entries, add_rows, as_float
from complexity_control.digits import scale
from complexity_control.posterior import Posterior
from complexity_control.training import Batch, Settings

njit: Any = numba.njit  # its types are not whole
ROWS = 64  # of a table at a time: with TILE columns they fit into the innermost cache
ROW_IS_BYTE = np.arange(256, dtype=np.int32) * 257  # entries of which each has a weight of its own
PIXELS = scale(torch.arange(256, dtype=torch.uint8)).double()
WEIGHTS = (PIXELS + 1).float().numpy(), (PIXELS**2 - 1).float().numpy()  # a^p - s of each byte
NAMES = "W1", "b1", "W2", "b2"  # the order of step's tensors; a posterior on record has another
# numbers without a type would make doubles of all
ZERO, HALF, ONE, TWO, LARGEST = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2), np.float32(87)
LOG2_E: Any = np.float32(1 / math.log(2))
LN2: Any = np.float32(0.693359375), np.float32(-2.12194440e-4)  # two parts: the first has few bits
SERIES: Any = tuple(np.float32(1 / math.factorial(k)) for k in range(7, -1, -1))
# the compiler may reorder sums: it does so once for a processor, whatever the numbers are and wherever they lie
OPTIONS: Any = {"cache": True, "fastmath": {"reassoc", "nsz", "contract", "arcp"}, "error_model": "numpy"}


@njit("Tuple((i4[::1], i4[::1]))(u1[:, ::1])", **OPTIONS)
def nonzero(a):
    """The nonzero bytes for `product`: where the entries of each row start, for each ROWS columns, and the entries."""
    rows, columns = a.shape
    starts, entries = np.empty(-(-columns // ROWS) * rows + 1, np.int32), np.empty(a.size + LANES, np.int32)
    n, s = 0, 0
    for begin in range(0, columns, ROWS):
        for i in range(rows):
            starts[s] = n
            for j in range(begin, min(begin + ROWS, columns), LANES):
                n += add_entries(entries.ctypes.data + 4 * n, a.ctypes.data + i * columns + j, j - begin)
            s += 1
    starts[s] = n
    return starts, entries


@njit("void(i4[::1], i4[::1], f4[::1], f4[:, ::1], f4, f4[:, ::1], f4[::1])", **OPTIONS)
def product(starts, entries, weights, table, shift, out, total):
    """out = (a^p - s) T + s 1ᵀT and total = 1ᵀT, with the weights and the shift s of p."""
    rows, width = table.shape
    space = np.empty(ROWS * TILE + LANES, np.float32)
    piece = space[-(space.ctypes.data // 4) % LANES :]  # so that no vector crosses a line of the cache
    total[:] = ZERO
    for r in range(rows):
        row = table[r]
        for h in range(width):
            total[h] += row[h]
    for i in range(len(out)):
        row = out[i]
        for h in range(width):
            row[h] = shift * total[h]
    tiles = -(-width // TILE)
    for tile in range(tiles):
        left, right, s = tile * width // tiles, (tile + 1) * width // tiles, 0
        for begin in range(0, rows, ROWS):
            for r in range(min(ROWS, rows - begin)):
                row, copy = table[begin + r, left:right], piece[r * TILE : r * TILE + right - left]
                for h in range(len(row)):
                    copy[h] = row[h]
            for i in range(len(out)):
                into = out.ctypes.data + 4 * (i * width + left)
                add_rows(into, right - left, piece.ctypes.data, TILE, entries.ctypes.data, starts[s], starts[s + 1],
                         weights.ctypes.data)  # fmt: skip
                s += 1


@njit("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], i4[::1])", **OPTIONS)
def add_product(x, table, out, entries):
    """out += x T, where x may have more columns than T has rows."""
    (rows, width), tiles = table.shape, -(-table.shape[1] // TILE)
    for i in range(len(out)):
        for tile in range(tiles):
            left, right = tile * width // tiles, (tile + 1) * width // tiles
            for begin in range(0, rows, len(entries)):
                into, piece = out.ctypes.data + 4 * (i * width + left), table.ctypes.data + 4 * (begin * width + left)
                add_rows(into, right - left, piece, width, entries.ctypes.data, 0, min(len(entries), rows - begin),
                         x.ctypes.data + 4 * (i * x.shape[1] + begin))  # fmt: skip


@njit("void(f4[:, ::1], f4, f4[:, ::1])", **OPTIONS | {"fastmath": {"contract"}})
def exponential(x, factor, out):
    """out = exp(factor x), as 2^n exp(y) with a whole n and a series: numba's own takes one number at a time."""
    for r in range(len(x)):
        row, result = x[r], out[r]
        for h in range(len(row)):
            y = min(max(factor * row[h], -LARGEST), LARGEST)
            n = np.floor(y * LOG2_E + HALF)
            rest, power = (y - n * LN2[0]) - n * LN2[1], SERIES[0]
            for c in SERIES[1:]:
                power = power * rest + c
            result[h] = power * as_float((np.int32(n) + np.int32(127)) << np.int32(23))


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


@njit("f8(" + "UniTuple(i4[::1], 2), " * 2 + "UniTuple(f4[::1], 2), i4[::1], i8[::1], b1, UniTuple(f4[:, ::1], 2), "
      + "UniTuple(f4[:, ::1], 4), " * 4 + "f4, f4, f4, f4)", **OPTIONS)  # fmt: skip
def step(rows, columns, weights, all_entries, labels, squared, noise, mean, log_std, by_mean, by_log_std, share,
         kl_weight, prior_std, clip):  # fmt: skip
    """share times minus the log-likelihood of a digit, plus kl_weight times the KL, for one posterior.

    Takes nonzero(...) of the images and of their transpose. Writes the gradients by W1, b1, W2 and b2 to by_mean and
    by_log_std.
    """
    (w1, b1, w2, b2), batch, (hidden, classes) = mean, len(labels), mean[2].shape
    padded = batch + -batch % LANES
    v1, c1, v2, c2 = np.empty_like(w1), np.empty_like(b1), np.empty_like(w2), np.empty_like(b2)
    for s, v in zip(log_std, (v1, c1, v2, c2)):  # noqa: B905 (numba's has no strict)
        exponential(s, TWO, v)
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
    # zᵀ = W2ᵀ xᵀ + b2 + e noise, e² = V2ᵀ (x²)ᵀ + c2: the few classes are rows, so that vectors hold digits
    xt, w2t, v2t, c = np.zeros((hidden, padded), np.float32), w2.T.copy(), v2.T.copy(), c2 * c2 if squared else c2
    xt[:, :batch] = x.T
    z, e = np.empty((classes, padded), np.float32), np.empty((classes, padded), np.float32)
    top, total, loss = np.full(padded, -np.inf, np.float32), np.zeros(padded, np.float32), 0.0
    for y in range(classes):
        z[y], e[y] = b2[0, y], c[0, y]
    add_product(w2t, xt, z, all_entries)
    add_product(v2t, xt * xt, e, all_entries)
    for y in range(classes):
        for i in range(batch):
            e[y, i] = math.sqrt(e[y, i])
            z[y, i] += e[y, i] * noise[1][i, y]
        top = np.maximum(top, z[y])
    # the loss, Σ log Σ exp z - z[label], and its gradients: z becomes that by z, and e that by e²
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
    for y in range(classes):
        for i in range(batch):
            e[y, i] = z[y, i] * noise[1][i, y] / (TWO * e[y, i])
        by_mean[3][0, y], by_log_std[3][0, y] = z[y, :batch].sum(), e[y, :batch].sum()
    # by W2: xᵀ g, by V2: (x²)ᵀ g, by x: g W2ᵀ + 2 x (g V2ᵀ) where x > 0, which g becomes
    by_w, by_v = np.zeros((classes, hidden), np.float32), np.zeros((classes, hidden), np.float32)
    add_product(z, x, by_w, all_entries)
    add_product(e, x2, by_v, all_entries)
    by_mean[2][:], by_log_std[2][:] = by_w.T, by_v.T
    g, by_x2 = np.zeros((batch, hidden), np.float32), np.zeros((batch, hidden), np.float32)
    add_product(z.T.copy(), w2t, g, all_entries)
    add_product(e.T.copy(), v2t, by_x2, all_entries)
    for i in range(batch):
        for h in range(hidden):
            g[i, h] = g[i, h] + TWO * x[i, h] * by_x2[i, h] if x[i, h] > ZERO else ZERO
            d[i, h] = g[i, h] * noise[0][i, h] / (TWO * d[i, h])
    # by W1: aᵀ g, by V1: (a²)ᵀ of what d is now, the gradient by d²
    product(*columns, weights[0], g, -ONE, by_mean[0], by_mean[1][0])
    product(*columns, weights[1], d, ONE, by_log_std[0], by_log_std[1][0])
    loss *= share / batch
    for k, v in enumerate((v1, c1, v2, c2)):
        loss += complexity(mean[k], log_std[k], v, by_mean[k], by_log_std[k], squared and k % 2 == 1, kl_weight,
                           prior_std, clip)  # fmt: skip
    return loss


@njit("f8[::1](" + "u1[:, :, ::1], " * 2 + "UniTuple(f4[::1], 2), i4[::1], i8[:, ::1], b1, UniTuple(f4[:, :, ::1], 2), "
      + "UniTuple(f4[:, :, ::1], 4), " * 4 + "f4[::1], f4[::1], f4, f4)", **OPTIONS)  # fmt: skip
def steps(images, turned, weights, all_entries, labels, squared, noise, mean, log_std, by_mean, by_log_std, share,
          kl_weight, prior_std, clip):  # fmt: skip
    """step for all posteriors, of which as many in turn see the same digits as there are for each model."""
    losses, each = np.empty(len(share)), len(share) // len(images)
    for s in range(len(images)):
        rows, columns = nonzero(images[s]), nonzero(turned[s])
        for k in range(s * each, (s + 1) * each):
            q = [(t[0][k], t[1][k], t[2][k], t[3][k]) for t in (mean, log_std, by_mean, by_log_std)]
            losses[k] = step(rows, columns, weights, all_entries, labels[s], squared, (noise[0][k], noise[1][k]),
                             q[0], q[1], q[2], q[3], share[k], kl_weight[k], prior_std, clip)  # fmt: skip
    return losses


def whole(images: np.ndarray) -> np.ndarray:
    """Images with zeros at the end of each row, to whole vectors."""
    missing = -images.shape[2] % LANES
    return np.ascontiguousarray(np.pad(images, ((0, 0), (0, 0), (0, missing))) if missing else images)


def gradient(count: int, settings: Settings) -> Callable[[Posterior, Batch], tuple[Posterior, Tensor]]:
    """The clipped gradient of training.loss by means and log standard deviations, and the losses of all posteriors.

    To float32 accuracy, for what is_sparse of kernels takes. What it returns is overwritten when it is called again.
    """
    squared, clip = settings.bias_noise == "variance", settings.clip or math.inf
    made: list[Posterior] = []

    def clipped(q: Posterior, batch: Batch) -> tuple[Posterior, Tensor]:
        if not made or made[0].mean["W1"].shape != q.mean["W1"].shape:
            made[:] = [Posterior(*({n: torch.empty_like(t) for n, t in part.items()} for part in q))]
        by_name = [tuple(part[n].view(len(part[n]), -1, part[n].shape[-1]).numpy() for n in NAMES)
                   for part in (*q, *made[0])]  # fmt: skip
        images, turned = (whole(x.numpy()) for x in (batch.images, batch.images.transpose(1, 2)))
        lam, noise = batch.lam.flatten(), tuple(n.numpy() for n in batch.noise)
        share = lam**-settings.lam_power / batch.lam.shape[1]
        losses = steps(images, turned, WEIGHTS, ROW_IS_BYTE, batch.labels.numpy(), squared, noise, *by_name,
                       share.numpy(), (share * lam / count).numpy(), settings.prior_std, clip)  # fmt: skip
        return made[0], torch.from_numpy(losses).float()

    return clipped
