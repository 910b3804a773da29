"""A chapter's one call: the recorded run of its parameters, or all of its models trained, measured and recorded."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import partial
from io import UnsupportedOperation
from itertools import product
from typing import Any, TextIO

import pandas as pd
import torch
from tqdm import tqdm

from complexity_control import data, methods, parameters, pruning, runs, training
from complexity_control.data import Digits
from complexity_control.parameters import Parameters
from complexity_control.posterior import Posterior
from complexity_control.training import Model

Part = tuple[Posterior, dict[str, pd.DataFrame]]


def perform(chapter: str, given: Mapping[str, Any]) -> runs.Run:
    """The run of a chapter with the given parameters: found on record, or made now.

    Args: given, each parameter by name; a notebook passes its `globals()`.
    Raises: ParameterError, DataError, RunError, DivergedError; none of them leaves a run.
    """
    p = parameters.check(chapter, given)
    digits = data.load(p.dataset, p.device, p.cap.train, p.cap.test)
    folder = runs.path(p, digits)
    found = None if p.force else runs.find(folder)
    if found:
        return found
    began = time.perf_counter()
    models = [Model(lam, seed) for lam, seed in product(p.lambdas, p.seeds)]
    # one model at a time on a core, because a wide stack falls out of its cache; on a GPU the whole stack at once.
    # A model trained alone gives the same bits whoever else is asked for, and on however many cores
    stacks = [[m] for m in models] if p.device == "cpu" else [models]
    cores = min(torch.get_num_threads(), len(stacks))
    with (
        _terminal() as terminal,
        tqdm(total=len(models) * p.epochs, desc=chapter, unit="epoch", file=terminal, mininterval=1) as bar,
    ):
        parts = _train_here(p, digits, stacks, bar) if cores == 1 else _train_on_cores(p, stacks, cores, bar)
    tables = {name: pd.concat([part[1][name] for part in parts], ignore_index=True) for name in parts[0][1]}
    flat = [methods.to_flat(part[0]) for part in parts]
    q = methods.from_flat({name: torch.cat([part[name] for part in flat]) for name in flat[0]})
    return runs.store(folder, p, digits, q, tables, time.perf_counter() - began, cores)


def train_and_measure(p: Parameters, digits: Digits, models: list[Model], on_epoch: Callable[[], object]) -> Part:
    q = training.train(p, digits, models, on_epoch)
    return q, pruning.measure(q, models, digits, p)


def _train_here(p: Parameters, digits: Digits, stacks: list[list[Model]], bar: tqdm) -> list[Part]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums split among threads would round differently
    try:
        return [train_and_measure(p, digits, models, partial(bar.update, len(models))) for models in stacks]
    finally:
        torch.set_num_threads(threads)


def _train_on_cores(p: Parameters, stacks: list[list[Model]], cores: int, bar: tqdm) -> list[Part]:
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads can hang
    epochs = context.Value("L", 0)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(cores, context, _start_worker, (p, epochs)) as pool:
        futures = [pool.submit(_train_in_worker, models) for models in stacks]
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.update(epochs.value - bar.n)
                for future in done:
                    future.result()  # a diverged model ends the run now, not after the others
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # the pool, left by the exception, waits for them
            raise
    return [future.result() for future in futures]


_worker: dict[str, Any] = {}


def _start_worker(p: Parameters, epochs: Any) -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.update(p=p, epochs=epochs, digits=data.load(p.dataset, p.device, p.cap.train, p.cap.test))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # a killed kernel would leave its workers waiting for ever


def _train_in_worker(models: list[Model]) -> Part:
    def count() -> None:
        with _worker["epochs"].get_lock():
            _worker["epochs"].value += 1

    return train_and_measure(_worker["p"], _worker["digits"], models, count)


def _terminal() -> TextIO:
    """Where progress goes: the terminal behind a kernel, because a notebook would store every frame of the bar."""
    try:
        descriptor = sys.stderr.fileno()
    except UnsupportedOperation:  # a kernel that captures no descriptors has left the first one alone
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ else os.open(os.devnull, os.O_WRONLY)
    return os.fdopen(os.dup(descriptor), "w")
