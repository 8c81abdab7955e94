"""The command on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

from tests.cli._shell import environment

SECONDS = 20


class Terminal:
    """Runs the command on a terminal of its own; what it prints is in `text`."""

    def __init__(self, *words: str, columns: int = 130, **more: str) -> None:
        self.text = ""
        self.code: int | None = None
        given = environment(**more)
        del given["COLUMNS"]
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            os.execve(sys.executable, [sys.executable, "-m", "resilient.cli", *words], given)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self._pid, 9)
            os.waitpid(self._pid, 0)
        os.close(self._fd)

    def send(self, text: str) -> None:
        """Type."""
        os.write(self._fd, text.encode())

    def until(self, words: str, *, times: int = 1) -> str:
        """Read until some words were printed."""
        end = time.monotonic() + SECONDS
        while self.text.count(words) < times:
            assert time.monotonic() < end, self.text
            assert self._read(), self.text
        return self.text

    def until_end(self) -> str:
        """Read until the command has ended."""
        end = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < end, self.text
        self.code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self.text

    def plain(self) -> str:
        """Return what was printed, without what only the terminal minds."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text).replace("\r", "")

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], SECONDS)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the other end is closed
            return False
        self.text += data.decode()
        return bool(data)
