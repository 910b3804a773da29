"""Products of matrices at the cost of the nonzero pixels, and an exponential of vectors.

Four of five pixels of a digit are 0, and `scale` turns them to -1. With s = -1 for p = 1 and s = 1 for p = 2
    a^p T = (a^p - s) T + s 1ᵀT    and    (a^p)ᵀ g = (a^p - s)ᵀ g + s 1ᵀg
are exact, and a^p - s is 0 wherever a pixel is. numba's cache follows machine.sparse: touch that after a change here.
"""

import math
from typing import Any

import numba
import numpy as np
import torch

from ccbook.machine.vectors import LANES, TILE, add_entries, add_rows, transpose
from complexity_control.digits import scale

njit: Any = numba.njit  # its types are not whole
ROWS = 64  # of a table at a time: with TILE columns they fit into the innermost cache
PIXELS = scale(torch.arange(256, dtype=torch.uint8)).double()
WEIGHTS = (PIXELS + 1).float().numpy(), (PIXELS**2 - 1).float().numpy()  # a^p - s of each byte
ROW_IS_BYTE = np.arange(256, dtype=np.int32) * 257  # entries of which each has a weight of its own
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
    halves, n, s = a.view(np.int64), 0, 0  # of vectors: nearly half of them have no entry
    for begin in range(0, columns, ROWS):
        for i in range(rows):
            starts[s] = n
            for j in range(begin, min(begin + ROWS, columns), LANES):
                if halves[i, j // 8] | halves[i, j // 8 + 1]:
                    n += add_entries(entries.ctypes.data + 4 * n, a.ctypes.data + i * columns + j, j - begin)
            s += 1
    starts[s] = n
    return starts, entries


@njit("u1[:, ::1](u1[:, ::1], i8)", **OPTIONS)
def transposed_bytes(a, columns):
    """The transpose of so many columns, with zeros at the end of each row to whole vectors."""
    rows, width = a.shape
    full, out = rows // LANES * LANES, np.zeros((width, rows + -rows % LANES), np.uint8)
    for j in range(0, width, LANES):
        for i in range(0, full, LANES):
            transpose(out.ctypes.data + j * out.shape[1] + i, out.shape[1], a.ctypes.data + j + i * width, width)
    for i in range(full, rows):
        for j in range(width):
            out[j, i] = a[i, j]
    return out[:columns]


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
            result[h] = power * np.int32((np.int32(n) + 127) << 23).view(np.float32)
