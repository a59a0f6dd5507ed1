"""Independent jobs in processes of their own, reported as they finish."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

FEWEST = 4  # jobs for which starting processes pays


def finish(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int | None, fewest: int = FEWEST
) -> Generator[Any]:
    """Call ``function`` with the arguments of each job; yields the results in the order in which they come.

    A Ctrl-C lets the jobs that have begun come to their end and drops the others.

    Args:
        function: of a module, with arguments that can be pickled.
        jobs: the arguments.
        workers: processes; one for each core if None.
        fewest: jobs that are worth processes of their own; fewer are done in this one.

    Raises:
        OSError: a process was killed.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(jobs) < fewest:
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


@contextlib.contextmanager
def _workers_deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, finish their few clips and leave the message to the parent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _die_with_parent() -> None:
    """A worker whose parent was killed would otherwise wait for ever, and write while the next run does."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
