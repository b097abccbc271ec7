"""One worker process: messages of one JSON object a line, a time limit for each, and the memory that it takes."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.install import Place
from benchmarks.peers.machine import available_bytes

POLL_SECONDS = 0.25
QUIT_SECONDS = 5.0
RESERVE = 2**30


class WorkerFailed(Exception):
    """A worker cannot go on with a shape. `status` is one of ``error``, ``crash``, ``timeout``, ``memory``."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Session:
    """A worker, from its start to its end.

    Parameters
    ----------
    place
        How to start it.
    environment
        Further environment variables.
    memory_limit
        Bytes of resident memory at which it is stopped, and it is also stopped when the machine has less than `RESERVE`
        left; None never stops it.
    """

    def __init__(self, place: Place, environment: dict[str, str], memory_limit: int | None = None) -> None:
        self.age_at_last_answer = 0.0
        self._failure: WorkerFailed | None = None
        self._memory_limit = memory_limit
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            place.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            encoding="utf-8", env=inherited | place.environment | environment, start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send a message and wait for the answer.

        Raises
        ------
        WorkerFailed
            The worker ended, took too long or too much memory (it is then stopped), or says that it failed. A worker that
            has ended gives the same failure again.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._send(message)
            reply = self._answer(timeout)
        except WorkerFailed as error:
            self._failure = error
            raise
        self.age_at_last_answer = time.perf_counter() - self._started
        if not reply["ok"]:
            raise WorkerFailed("error", str(reply["reason"]))
        return reply

    def memory(self) -> int | None:
        """Bytes of resident memory now; None where the system does not tell."""
        return _status(self._process.pid, "VmRSS")

    def peak(self) -> int | None:
        """The most resident memory since the start, or since `forget_peak`, in bytes."""
        return _status(self._process.pid, "VmHWM")

    def forget_peak(self) -> None:
        """Start the peak again from the memory taken now."""
        try:
            Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        except OSError:
            return

    def close(self) -> None:
        """End the worker, by force if it does not end by itself."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(QUIT_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self._kill()
        self._reader.join()
        self._errors.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._crash() from None

    def _answer(self, timeout: float) -> dict[str, Any]:
        """The next line that is an answer; workers' packages may print other lines."""
        limit = time.perf_counter() + timeout
        while True:
            left = limit - time.perf_counter()
            if left <= 0:
                self._kill()
                raise WorkerFailed("timeout", f"no answer within {timeout:g} s")
            try:
                line = self._lines.get(timeout=min(left, POLL_SECONDS))
            except queue.Empty:
                self._check_memory()
                continue
            if line is None:
                raise self._crash()
            if line.startswith('{"ok":'):
                reply: dict[str, Any] = json.loads(line)
                return reply

    def _check_memory(self) -> None:
        if self._memory_limit is None:
            return
        taken, left = self.memory(), available_bytes()
        if taken is not None and taken > self._memory_limit:
            self._kill()
            raise WorkerFailed("memory", f"took more than {self._memory_limit / 2**30:.1f} GiB of memory")
        if taken is not None and left is not None and left < RESERVE:
            self._kill()
            raise WorkerFailed("memory", f"took {taken / 2**30:.1f} GiB when the machine had no more to give")

    def _crash(self) -> WorkerFailed:
        code = self._process.wait()
        self._errors.seek(0)
        said = [line.strip() for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        ended = f"was stopped by signal {-code}" if code < 0 else f"ended with code {code}"
        return WorkerFailed("crash", f"the process {ended}: {said[-1] if said else 'no message'}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def _kill(self) -> None:
        """End the worker's process group, which is its own: R starts through a shell."""
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait()


def _status(pid: int, field: str) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None
