"""Jobs spread over processes, one a core; what they return doesn't depend on how many there are."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

import torch
from tqdm import tqdm

from ccbook import STOPS
from complexity_control.training import DivergedError

WORTH_A_PROCESS = 2_000  # minibatches; fewer are trained sooner than another Python has started


class WorkerError(RuntimeError):
    """A worker process that has died."""


# what ends a training although the code is right
FAILURES = (WorkerError, DivergedError, OSError, MemoryError, torch.OutOfMemoryError)


def cores_for(models: int, steps: int, device: str) -> int:
    """How many of the cores at hand a training of so many models, of so many steps each, is spread over."""
    worth = device == "cpu" and models * steps > WORTH_A_PROCESS
    return min(torch.get_num_threads(), models) if worth else 1


def run(prepare: Callable[[], Callable[..., Any]], jobs: Sequence[tuple], cores: int,
        on_report: Callable[[float], object]) -> list[Any]:  # fmt: skip
    """The results of all jobs, in their order.

    Args: prepare, called once in each process, gives the function that does a job: it is called with the job's items
        and a function that reports a number, as the loss after each epoch. Both are pickled. on_report, called here
        with each number.
    Raises: what a job raises, as soon as it does; WorkerError.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads can hang
    with _undisturbed():  # a process keeps track of their semaphores
        tasks, events = context.Queue(), context.Queue()
    processes = [context.Process(target=_work, args=(prepare, tasks, events), daemon=True) for _ in range(cores)]
    for task in enumerate(jobs):
        tasks.put(task)
    results: dict[int, Any] = {}
    started: list[Any] = []  # this process may have other children
    try:
        with _undisturbed():
            for process in processes:
                process.start()
                started.append(process)
        while len(results) < len(jobs):
            try:
                kind, *content = events.get(timeout=0.5)
            except queue.Empty:
                if any(process.exitcode for process in processes):
                    raise WorkerError("a worker process has died; the machine may be out of memory") from None
                continue
            if kind == "report":
                on_report(*content)
            elif kind == "result":
                results[content[0]] = content[1]
            else:
                raise content[0]  # a job that fails ends all now, not after the others
        for _ in processes:
            tasks.put(None)  # an end of their own choice lets them tidy up
    except BaseException:
        for process in started:
            process.terminate()
        raise
    finally:
        for process in started:
            process.join()
        tasks.cancel_join_thread()  # nobody reads what is left of it
    return [results[k] for k in range(len(jobs))]


def _work(prepare: Callable[[], Callable[..., Any]], tasks: Any, events: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore too, which a worker that is ended would leave behind
    try:
        do = prepare()
        for place, job in iter(tasks.get, None):
            events.put(("result", place, do(*job, lambda number: events.put(("report", number)))))
    except Exception as error:
        events.put(("error", error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # a killed kernel would leave its workers waiting for ever


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and a cluster's signal wait for the end of this: a worker whose start is cut short would complain.

    Ctrl-C, or a terminal that is closed, never reaches the processes started in it: their parent ends them, and they
    have nothing to say.
    """
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    waiting: list[int] = []
    stops = [s for s in STOPS if signal.getsignal(s) != signal.SIG_IGN]
    usual: dict[int, Any] = {s: signal.signal(s, lambda number, _: waiting.append(number)) for s in stops}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a process inherits what is blocked
    resource_tracker.ensure_running()  # started by the first worker, it would lift the block of Ctrl-C
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
        for number, handler in usual.items():
            signal.signal(number, handler)
    for number in waiting[:1]:
        signal.raise_signal(number)
