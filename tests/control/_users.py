"""Act as another user in a process of its own: what root may do says nothing of who is not root."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable

import pytest

NOBODY = 1000

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files to another user and become it"
)


def report_of(function: Callable[[], object], uid: int = NOBODY) -> str:
    """Run a function in a forked child that has become another user; return what it returns, or the error it raised."""
    with tempfile.TemporaryFile() as answer:
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                try:
                    said = str(function())
                except Exception as error:
                    said = f"{type(error).__name__}: {error}"
                os.write(answer.fileno(), said.encode())
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        assert status == 0
        answer.seek(0)
        return answer.read().decode()
