"""Milliseconds of one training step of one model, on one core: median of several epochs of method (a)."""

import time
from itertools import pairwise
from statistics import median

import torch

from complexity_control import data, methods, parameters, training


def main() -> None:
    torch.set_num_threads(1)
    p = parameters.check("a_direct", parameters.defaults("a_direct") | {"lambdas": [1], "seeds": [0], "epochs": 5})
    digits = data.load(p.dataset, train=20_000)
    models = [training.Model(1.0, 0)]
    sizes = [digits.train_images.shape[1], *p.hidden, digits.classes]
    start = methods.direct.init([training.generator(models[0], "initialisation", "cpu")], sizes, p.init_log_std)
    ends = [time.perf_counter()]
    training.fit(methods.direct, start, models, digits, p, lambda: ends.append(time.perf_counter()))
    steps = -(-len(digits.train_labels) // p.batch_size)
    each = [1e3 * (end - begin) / steps for begin, end in pairwise(ends)]
    print(f"{median(each):.2f} ms a step (of {min(each):.2f} to {max(each):.2f}), batch {p.batch_size}, one core")


if __name__ == "__main__":
    main()
