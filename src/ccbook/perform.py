"""A chapter's one call: the recorded run of its parameters, or all of its models trained, measured and recorded."""

import contextlib
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ccbook import chapters
from ccbook.machine import download, kernels, progress, workers
from ccbook.machine.idx import fingerprint
from ccbook.machine.kernels import Stepper
from ccbook.parameters import Hypernetwork, Parameters, check
from ccbook.records import history, store, verification
from ccbook.records.provenance import code, sources
from ccbook.records.run import Run, RunError
from complexity_control import pruning, training
from complexity_control.digits import Digits
from complexity_control.method import Method
from complexity_control.posterior import Params, Posterior, from_flat, to_flat
from complexity_control.training import DivergedError, Model

UNKNOWN = 60.0  # seconds, taken for a run of a kind that has none on record
IMPORTED = {chapter.function: code(sources(chapter.function)) for chapter in chapters.METHODS.values()}

Job = tuple[list[Model], Params | None]  # a stack of models, and the tensors that a fine-tuning starts from


class Part(NamedTuple):
    """The results of one stack of models."""

    posterior: Posterior  # a row for each row of the metrics
    tables: dict[str, pd.DataFrame]
    hypernetwork: Params  # trained parameters of a hypernetwork, [S, ...]; empty for a direct method


def perform(chapter: str, values: Mapping[str, Any]) -> Run:
    """The run of a chapter with the given parameters, as for `check`: found on record, or made now.

    A run on record that is to be repeated (force) is trained again, compared with the record, and left as it is.
    Raises: ParameterError, DataError, RunError, DivergedError; none of them leaves a run.
    """
    p, digits, begin = store.resolve(chapter, values)
    found = store.find(p, digits)
    if found and not p.force:
        return found
    with _trained(p, digits, begin) as run:
        if not found:
            return store.keep(run)
        print(verification.compare(found, run).text, file=sys.stderr)
        return found


def perform_all(jobs: Sequence[tuple[str, dict]], device: str) -> list[Run | str]:
    """The runs of many (chapter, values), in their order; of one that diverged, the words.

    On a processor as many are made at once as there are cores: the work of one leaves most of them idle.
    """
    at_once = torch.get_num_threads() if device == "cpu" else 1
    planned = [check(chapter, values) for chapter, values in jobs]
    distinct = list(dict.fromkeys(planned))
    # of a kind that has no run on record nothing is known
    seconds = [0.0 if found else expected.seconds if expected else UNKNOWN
               for _, found, expected in history.outlook(distinct)]  # fmt: skip
    # the longest first: at the end few cores wait
    order = sorted(zip(distinct, seconds, strict=True), key=lambda job: -job[1])
    number = iter(range(1, len(order) + 1))
    with progress.bar(store.home(), f"0 of {len(order)} runs", sum(seconds), progress.ALL) as bar:

        def on_run(expected: float) -> None:
            bar.set_description_str(f"{next(number)} of {len(order)} runs", refresh=False)
            bar.update(expected)

        made = workers.run(_one_of_many, order, at_once, on_run)
    outcomes = dict(zip([p for p, _ in order], made, strict=True))
    return [outcomes[p] for p in planned]


def _one_of_many() -> Callable[..., Run | str]:
    def run_or_words(p: Parameters, seconds: float, on_run: Callable[[float], object]) -> Run | str:
        try:
            return perform(p.chapter, p.model_dump(exclude={"chapter"}))
        except DivergedError as error:
            return f"({p.method}): {str(error).split(':')[0]}"
        finally:
            on_run(seconds)

    return run_or_words


def verify(run: Run) -> verification.Verification:
    """Train a recorded run again, by the code as it stands, and compare; the record stays. Raises: as perform."""
    p, digits, begin = store.resolve(run.parameters.chapter, run.parameters.model_dump(exclude={"chapter"}))
    if fingerprint(digits) != run.receipt["data"]["sha256"]:
        raise RunError(f"{p.dataset} no longer has the digits that {run.id} saw; put them there again")
    with _trained(p, digits, begin) as again:
        return verification.compare(run, again)


@contextlib.contextmanager
def _trained(p: Parameters, digits: Digits, begin: Run | None) -> Iterator[Run]:
    """A run in a folder of its own, which is gone afterwards unless the run is kept."""
    store.check_allowed(p, digits)
    store.check_place(p, digits, _size(p, digits))
    if code(sources(function := chapters.METHODS[p.method].function)) != IMPORTED[function]:
        raise RunError("the sources of complexity_control were edited since this process has read them. Start it anew; "
                       "in Jupyter, restart the kernel")  # fmt: skip
    draft = store.draft(p, digits)  # before the training: an edit of the sources from now on makes another run
    began = time.perf_counter()
    steps = training.steps(len(digits.train_labels), p.settings)
    chosen, cores = kernels.best_products(), workers.cores_for(p.models, steps, p.device)
    kernels.set_products(chosen)
    part = _train(p, digits, begin, cores, chosen)
    way = kernels.way(digits, p.settings)
    draft |= {"cores": cores, "product_kernels": chosen, "gradient": way}
    draft["seconds"] = round(time.perf_counter() - began, 1)
    with store.written(draft, p, *part) as run:
        yield run


def _size(p: Parameters, digits: Digits) -> int:
    """How many numbers a hypernetwork has; a direct method has none besides its posteriors."""
    if not isinstance(p, Hypernetwork):
        return 0
    return sum(t.numel() for t in training.start(method_of(p), [Model(None, 0)], digits, p.settings).values())


def method_of(p: Parameters) -> Method:
    """The method of a chapter, by those of its parameters that the method's function takes."""
    make = chapters.METHODS[p.method].make
    return make(**{name: getattr(p, name) for name in inspect.signature(make).parameters})


def train_and_measure(p: Parameters, digits: Digits, stepper: Stepper, job: Job,
                      on_epoch: Callable[[float], object]) -> Part:  # fmt: skip
    """Train a stack of models, from given tensors or else from random starts, and measure it at every lambda."""
    (models, begin), method, count = job, method_of(p), len(digits.train_labels)
    history: list[tuple] = []  # lam, seed, epoch, loss

    def note(losses: Tensor) -> None:
        epoch = len(history) // len(models) + 1
        history.extend((*model, epoch, loss) for model, loss in zip(models, losses.tolist(), strict=True))
        on_epoch(float(losses.mean()))

    trained = training.fit(method, models, digits, p.settings, begin, note, stepper)
    each = training.updates(sum(t[0].numel() for t in trained.values()), count, p.settings)
    shared, stack = isinstance(p, Hypernetwork), len(models)
    past = pd.DataFrame(history, columns=["lam", "seed", "epoch", "loss"])
    if shared:
        models = [Model(lam, m.seed) for m in models for lam in p.lambdas]
    q = method.posterior(trained, torch.tensor([m.lam for m in models], device=p.device).view(stack, -1))
    tables = pruning.measure(q, models, digits, p.prior_std) | {"history": past}
    for table in tables.values():
        table.insert(0, "method", p.method)
    tables["metrics"] = tables["metrics"].assign(updates=0 if shared else each, updates_shared=each if shared else 0)
    return Part(q, tables, trained if shared else {})


def _train(p: Parameters, digits: Digits, begin: Run | None, cores: int, chosen: str) -> Part:
    lambdas = [None] if isinstance(p, Hypernetwork) else p.lambdas
    models = [Model(lam, seed) for lam, seed in product(lambdas, p.seeds)]
    # one model at a time on a core, because a wide stack falls out of its cache; on a GPU the whole stack at once.
    # A model trained alone gives the same bits whoever else is asked for, and on however many cores
    stacks = [[m] for m in models] if p.device == "cpu" else [models]
    jobs = [(stack, begin and _beginning(begin, stack, p.device)) for stack in stacks]
    with progress.bar(store.home(), p.chapter, len(models) * p.epochs) as bar:
        if cores > 1:
            each = workers.run(partial(_prepare, p, chosen), jobs, cores, lambda loss: bar.show(bar.n + 1, loss))
        else:
            each = train_here(p, digits, jobs, bar)
    part = _joined(each)
    metrics = part.tables["metrics"]
    lost = metrics[~np.isfinite(metrics["evidence"])]
    if len(lost):
        where = "lambda {:g}, seed {}".format(*lost.iloc[0][["lam", "seed"]])
        raise DivergedError(f"the posterior at {where} is no distribution: its evidence is not finite. A hypernetwork"
                            " is trained for lambdas from 0.1 to 100 and may fail far from them")  # fmt: skip
    if begin:  # what the hypernetwork took is paid once, whatever number of lambdas is fine-tuned
        metrics["updates_shared"] = begin.metrics["updates_shared"].max()
    return part


def _beginning(begin: Run, stack: list[Model], device: str) -> Params:
    """The rows of a recorded posterior that belong to a stack's lambdas and seeds."""
    rows = list(begin.metrics[["lam", "seed"]].itertuples(index=False, name=None))
    chosen = [rows.index((m.lam, m.seed)) for m in stack]
    return {name: t[chosen].to(device) for name, t in to_flat(begin.posterior).items()}


def _joined(parts: list[Part]) -> Part:
    """All stacks as one, in the order of lambda and seed."""
    tables = {name: pd.concat([part.tables[name] for part in parts], ignore_index=True) for name in parts[0].tables}
    order = tables["metrics"].sort_values(["lam", "seed"]).index.tolist()
    tables = {n: t.sort_values(["lam", "seed"], kind="stable", ignore_index=True) for n, t in tables.items()}
    posteriors = [to_flat(part.posterior) for part in parts]
    flat = {name: torch.cat([part[name] for part in posteriors])[order] for name in posteriors[0]}
    shared = {name: torch.cat([part.hypernetwork[name] for part in parts]) for name in parts[0].hypernetwork}
    return Part(from_flat(flat), tables, shared)


def _prepare(p: Parameters, chosen: str) -> Callable[..., Part]:
    """What a worker process does with each job."""
    kernels.set_products(chosen)
    digits = download.load(p.dataset, p.device, p.cap.train, p.cap.test)
    stepper = kernels.stepper(method_of(p), digits, p.settings)
    return lambda models, begin, on_epoch: train_and_measure(p, digits, stepper, (models, begin), on_epoch)


def train_here(p: Parameters, digits: Digits, jobs: list[Job], bar: progress.Bar) -> list[Part]:
    """Train stacks of models in this process, one after the other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums split among threads would round differently
    try:
        stepper = kernels.stepper(method_of(p), digits, p.settings)
        return [part for job in jobs for part in _in_memory(p, digits, stepper, job, bar)]
    finally:
        torch.set_num_threads(threads)


def _in_memory(p: Parameters, digits: Digits, stepper: Stepper, job: Job, bar: progress.Bar) -> list[Part]:
    """A stack trained at once or, where the GPU's memory is too small for that, in halves."""
    (models, begin), before = job, bar.n
    try:
        return [train_and_measure(p, digits, stepper, job, lambda loss: bar.show(bar.n + len(models), loss))]
    except torch.OutOfMemoryError:
        if len(models) == 1:
            raise
    torch.cuda.empty_cache()
    bar.show(before, float("nan"))
    rows = slice(len(models) // 2), slice(len(models) // 2, None)
    halves = [(models[half], begin and {name: t[half] for name, t in begin.items()}) for half in rows]
    stepper = kernels.stepper(method_of(p), digits, p.settings)  # compiled for the smaller stack
    return [part for smaller in halves for part in _in_memory(p, digits, stepper, smaller, bar)]
