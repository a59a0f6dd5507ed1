"""Independent jobs in processes of their own, reported as they finish."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from worldmodel.collect import _die_with_parent, _workers_deaf_to_interrupts

FEWEST = 4  # jobs for which starting processes pays


def finish(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int | None) -> Generator[Any]:
    """Call ``function`` with the arguments of each job; yields the results in the order in which they come.

    A Ctrl-C lets the jobs that have begun come to their end and drops the others.

    Args:
        function: of a module, with arguments that can be pickled.
        jobs: the arguments.
        workers: processes; one for each core if None.

    Raises:
        OSError: a process was killed.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(jobs) < FEWEST:
        for job in jobs:
            yield function(*job)
        return
    # A fork would share the parent's GL and thread state, so workers start fresh.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent) as pool:
        with _workers_deaf_to_interrupts():
            futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise OSError(
                "workers: got one that was killed, expected it to finish (is memory short?); "
                "give fewer workers and run the same command to go on"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
