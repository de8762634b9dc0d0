"""Start the processes of a run on this machine, and never leave one behind.

The engine's own launcher runs the user's whole program once more in each process, and what
follows the call in it too. Here each process is a fresh interpreter that is handed one function
(spawned, as multiprocessing calls it), and the process that asked only waits: it can be
interrupted, goes on afterwards alone, and may start another run. It works from a notebook too.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

# Where one process fails the others fail of it: so long they may say what they know, in seconds.
GRACE = 2.0


def must_be_startable() -> None:
    """Raises ValueError where this program is itself being read by a process it has started."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ValueError(
            "several devices are asked for outside of  if __name__ == '__main__':  and each "
            "process reads the program once more: put the call under that line"
        )


def packed(function: Callable[..., Any], *args: Any) -> bytes:
    """A call for `in_processes`: whoever reads it has tensors of its own.

    Raises ValueError where args cannot be handed over.
    """
    try:
        return pickle.dumps((function, args))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"several processes cannot be handed what they should work on ({error}): define "
            "networks at the top of a module, or take one device"
        ) from None


def in_processes(task: bytes, count: int, *more: Any) -> Any:
    """Make a packed call, with `more` arguments after its own, in `count` processes at once;
    what it returns in the first.

    Each has the environment variables by which torch.distributed finds the others. When one
    fails, or this process ends however it may, all are ended.

    Raises what was raised there, a ValueError before anything else; ChildProcessError where a
    process died without a word.
    """
    must_be_startable()
    context = multiprocessing.get_context("spawn")
    port, started, waiting = _free_port(), [], {}
    try:
        for rank in range(count):
            here, there = context.Pipe(duplex=False)
            given = (rank, count, port, task, more, there)
            process = context.Process(target=_member, args=given, daemon=True)
            process.start()
            there.close()  # now the pipe ends when that process does
            started.append(process)
            waiting[here] = rank
        found, silent = _answers(waiting)
        failures = [answer for answer in found.values() if isinstance(answer, Exception)]
        if not silent and not failures:
            for process in started:
                process.join(GRACE)
    finally:
        for process in started:
            # All that a run writes is whole or not there, so no moment is a bad one.
            process.kill()
            process.join()
    for failure in failures:
        if isinstance(failure, ValueError):
            raise failure
    if silent:
        raise ChildProcessError(_last_words(silent[0], started[silent[0]].exitcode))
    if failures:
        raise failures[0]
    return found[0]


def _answers(waiting: dict[Connection, int]) -> tuple[dict[int, Any], list[int]]:
    """What each process returned or raised, and those that ended without either, as they came:
    of all, or, once one has failed, of those that speak within GRACE."""
    found: dict[int, Any] = {}
    silent: list[int] = []
    deadline = None
    while waiting:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = wait(list(waiting), left)
        if not ready:
            break
        for connection in ready:
            assert isinstance(connection, Connection), "only these are waited for"
            rank = waiting.pop(connection)
            try:
                found[rank] = pickle.loads(connection.recv_bytes())
            except EOFError:
                silent.append(rank)
            if deadline is None and (silent or isinstance(found[rank], Exception)):
                deadline = time.monotonic() + GRACE
    return found, silent


def _last_words(rank: int, code: int | None) -> str:
    if code is not None and code < 0:
        how = f"was ended by {signal.Signals(-code).name}, as where memory runs out"
    else:
        how = f"ended with exit code {code}; what it said stands above"
    return f"process {rank} of the run {how}"


def _member(
    rank: int, count: int, port: int, task: bytes, more: tuple[Any, ...], answers: Connection
) -> None:
    """One process of a run, from its beginning to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first to hear ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        function, args = pickle.loads(task)
        answer = function(*args, *more)
    except Exception as error:
        error.add_note(f"in process {rank} of {count}:\n{traceback.format_exc()}")
        answer = _as_sent(error)
    # Plain bytes: a connection's own pickling would lend tensors of a process that soon ends.
    answers.send_bytes(pickle.dumps(answer))
    answers.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "spawned by in_processes"
    parent.join()
    # Not sys.exit: the main thread may be waiting for the others and hear nothing.
    os._exit(1)


def _as_sent(error: Exception) -> Exception:
    """The error, or, where it cannot be pickled and read again, what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a foreign class may do in its own pickling
        said = RuntimeError(f"{type(error).__name__}: {error}")
        said.__notes__ = list(error.__notes__)
        return said
    return error


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
