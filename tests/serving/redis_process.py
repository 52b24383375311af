"""A real Redis server for tests."""

import contextlib
import shutil
import socket
import subprocess
import time

import pytest
import redis


class RedisProcess:
    """A Redis server on a port of its own that can be killed and started again.

    Args:
      folder: where it keeps its files.
      durable: whether each write is on disk before it is answered.
    """

    def __init__(self, folder, *, durable=False):
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("there is no redis-server on the path")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        keeping = ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
        self._command = [
            binary,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        self._command += keeping
        self.url = f"redis://127.0.0.1:{port}"
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self):
        """Starts it and waits until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(redis.RedisError):
                self.client.ping()
                return
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def kill(self):
        """Ends it as a crash would."""
        self._process.kill()
        self._process.wait()
