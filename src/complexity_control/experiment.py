"""A chapter's one call: the recorded run of its parameters, or all of its models trained, measured and recorded."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
import torch

from complexity_control import data, methods, progress, pruning, runs, training
from complexity_control.data import Digits
from complexity_control.methods import Method
from complexity_control.parameters import Hypernetwork, Parameters
from complexity_control.posterior import Params, Posterior
from complexity_control.progress import Bar
from complexity_control.training import DivergedError, Model

WORTH_A_PROCESS = 2_000  # minibatches; fewer are trained sooner than another Python has started


class Part(NamedTuple):
    """What one stack of models comes to."""

    posterior: Posterior  # a row for each row of the metrics
    tables: dict[str, pd.DataFrame]
    hypernetwork: Params  # trained parameters of a hypernetwork, [S, ...]; empty for a direct method


def perform(chapter: str, given: Mapping[str, Any]) -> runs.Run:
    """The run of a chapter with the given parameters: found on record, or made now.

    Args: given, each parameter by name; a notebook passes its `globals()`.
    Raises: ParameterError, DataError, RunError, DivergedError; none of them leaves a run.
    """
    p, digits, begin = runs.resolve(chapter, given)
    folder = runs.path(p, digits)
    found = None if p.force else runs.find(folder)
    if found:
        return found
    runs.check_place(p, digits)
    began = time.perf_counter()
    kernels = training.set_products()
    lambdas = [None] if isinstance(p, Hypernetwork) else p.lambdas
    models = [Model(lam, seed) for lam, seed in product(lambdas, p.seeds)]
    # one model at a time on a core, because a wide stack falls out of its cache; on a GPU the whole stack at once.
    # A model trained alone gives the same bits whoever else is asked for, and on however many cores
    stacks = [[m] for m in models] if p.device == "cpu" else [models]
    jobs = [(stack, begin and _beginning(begin, stack, p.device)) for stack in stacks]
    cores = cores_for(p, digits, len(models))
    with progress.bar(runs.home(), chapter, len(models) * p.epochs) as bar:
        parts = _train_here(p, digits, jobs, bar) if cores == 1 else _train_on_cores(p, jobs, cores, kernels, bar)
    part = _joined(parts)
    _check(part.tables["metrics"])
    if begin:  # what the hypernetwork took is paid once, whatever number of lambdas is fine-tuned
        part.tables["metrics"]["updates_shared"] = begin.metrics["updates_shared"].max()
    return runs.store(folder, p, digits, *part, seconds=time.perf_counter() - began, cores=cores, kernels=kernels)


def cores_for(p: Parameters, digits: Digits, models: int) -> int:
    """How many of the cores at hand a training of so many models is spread over."""
    steps = training.steps(len(digits.train_labels), p) * models
    return min(torch.get_num_threads(), models) if p.device == "cpu" and steps > WORTH_A_PROCESS else 1


def _check(metrics: pd.DataFrame) -> None:
    lost = metrics[metrics.isna().any(axis="columns")]
    if len(lost):
        lam, seed = lost.iloc[0][["lam", "seed"]]
        raise DivergedError(
            f"the posterior at lambda {lam:g}, seed {seed} is no distribution: its evidence is not a "
            "number. A hypernetwork is trained for lambdas from 0.1 to 100 and may fail far from them"
        )


def train_and_measure(
    p: Parameters, digits: Digits, models: list[Model], begin: Posterior | None, on_epoch: Callable[[float], object]
) -> Part:
    """Train a stack of models, from a given posterior or else from random starts, and measure it at every lambda."""
    method = method_of(p)
    params = methods.to_flat(begin) if begin else training.start(method, models, digits, p)
    trained = training.fit(method, params, models, digits, p, on_epoch)
    each = training.updates(sum(t[0].numel() for t in trained.values()), len(digits.train_labels), p)
    shared, stack = isinstance(p, Hypernetwork), len(models)
    if shared:
        models = [Model(lam, m.seed) for m in models for lam in p.lambdas]
    lam = torch.tensor([m.lam for m in models], device=p.device).view(stack, -1)
    q = method.posterior(trained, lam)
    tables = pruning.measure(q, models, digits, p)
    tables["metrics"] = tables["metrics"].assign(updates=0 if shared else each, updates_shared=each if shared else 0)
    return Part(q, tables, trained if shared else {})


def method_of(p: Parameters) -> Method:
    """The method that a chapter's letter stands for; fine-tuning is direct training from a given start."""
    if isinstance(p, Hypernetwork):
        return (methods.low_rank if p.method == "c" else methods.linear)(p.feed)
    return methods.direct


def _beginning(begin: runs.Run, stack: list[Model], device: str) -> Posterior:
    """The rows of a recorded posterior that belong to a stack's lambdas and seeds."""
    rows = list(begin.metrics[["lam", "seed"]].itertuples(index=False, name=None))
    chosen = [rows.index((m.lam, m.seed)) for m in stack]
    return methods.from_flat({n: t[chosen].to(device) for n, t in methods.to_flat(begin.posterior).items()})


def _joined(parts: list[Part]) -> Part:
    """All stacks as one, in the order of lambda and seed."""
    tables = {name: pd.concat([part.tables[name] for part in parts], ignore_index=True) for name in parts[0].tables}
    order = tables["metrics"].sort_values(["lam", "seed"]).index
    tables = {
        name: table.sort_values(["lam", "seed"], kind="stable", ignore_index=True) for name, table in tables.items()
    }
    posteriors = [methods.to_flat(part.posterior) for part in parts]
    flat = {name: torch.cat([part[name] for part in posteriors])[order.tolist()] for name in posteriors[0]}
    shared = {name: torch.cat([part.hypernetwork[name] for part in parts]) for name in parts[0].hypernetwork}
    return Part(methods.from_flat(flat), tables, shared)


Job = tuple[list[Model], Posterior | None]


def _train_here(p: Parameters, digits: Digits, jobs: list[Job], bar: Bar) -> list[Part]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums split among threads would round differently

    try:
        return [part for job in jobs for part in _in_memory(p, digits, job, bar)]
    finally:
        torch.set_num_threads(threads)


def _in_memory(p: Parameters, digits: Digits, job: Job, bar: Bar) -> list[Part]:
    """A stack trained at once or, where the GPU's memory is too small for that, in halves."""
    (models, begin), before = job, bar.epochs

    def show(loss: float) -> None:
        bar.show(bar.epochs + len(models), loss)

    try:
        return [train_and_measure(p, digits, models, begin, show)]
    except torch.OutOfMemoryError:
        if len(models) == 1:
            raise
    torch.cuda.empty_cache()
    training._gradient.cache_clear()  # compiled for the whole stack, it has fallen back to what isn't compiled
    bar.show(before, float("nan"))
    half = len(models) // 2
    halves = [(models[rows], begin and _rows(begin, rows)) for rows in (slice(half), slice(half, None))]
    return [part for smaller in halves for part in _in_memory(p, digits, smaller, bar)]


def _rows(q: Posterior, rows: slice) -> Posterior:
    return methods.from_flat({name: t[rows] for name, t in methods.to_flat(q).items()})


def _train_on_cores(p: Parameters, jobs: list[Job], cores: int, kernels: str, bar: Bar) -> list[Part]:
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads can hang
    epochs, loss = context.Value("L", 0), context.Value("d", 0.0)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(cores, context, _start_worker, (p, kernels, epochs, loss)) as pool:
        futures = [pool.submit(_train_in_worker, job) for job in jobs]
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.show(epochs.value, loss.value)
                for future in done:
                    future.result()  # a diverged model ends the run now, not after the others
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # the pool, left by the exception, waits for them
            raise
    return [future.result() for future in futures]


_worker: dict[str, Any] = {}


def _start_worker(p: Parameters, kernels: str, epochs: Any, loss: Any) -> None:
    torch.set_num_threads(1)
    training.set_products(kernels)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.update(p=p, epochs=epochs, loss=loss, digits=data.load(p.dataset, p.device, p.cap.train, p.cap.test))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # a killed kernel would leave its workers waiting for ever


def _train_in_worker(job: Job) -> Part:
    def count(loss: float) -> None:
        _worker["loss"].value = loss
        with _worker["epochs"].get_lock():
            _worker["epochs"].value += 1

    return train_and_measure(_worker["p"], _worker["digits"], *job, count)
