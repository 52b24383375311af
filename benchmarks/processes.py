"""Servers that benchmarks start, each in a process of its own."""

import socket
import subprocess

import psutil


class Process:
    """A server that can be killed and started again on its port.

    Args:
      name: for the reader.
      command: what to run.
      says_ready: whether it prints a line once it is ready, which is waited for and kept as `ready`.
    """

    def __init__(self, name: str, *command: str, says_ready: bool = True):
        self.name = name
        self._command = command
        self._says_ready = says_ready
        self.start()

    def start(self) -> None:
        """Starts it; one that says so is ready then."""
        self._running = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self._says_ready:
            assert self._running.stdout is not None
            self.ready = self._running.stdout.readline()
            assert self.ready, f"{self.name} did not start"

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._running.kill()
        self._running.wait()

    def resident_mib(self) -> float:
        """Its memory now."""
        return round(psutil.Process(self._running.pid).memory_info().rss / 2**20, 1)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
