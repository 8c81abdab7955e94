"""What one run of the command works with: the options, the directory, who asks, and where the answers go."""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resilient.cli import places
from resilient.cli.exits import UNREACHABLE, USAGE, Stop
from resilient.cli.paper import Output, Paper
from resilient.cli.words import count, listed
from resilient.clock import SYSTEM
from resilient.control import paths

if TYPE_CHECKING:
    from resilient.control.directory import Directory
    from resilient.control.operations import Operations
    from resilient.control.pages import PageView
    from resilient.control.receipts import Who

__all__ = ["Options", "Session"]


@dataclass(frozen=True, slots=True)
class Options:
    """What can be said before or after every command's name; None where nothing was said.

    Attributes:
        dir: The control directory itself.
        app: Name of the application.
        output: Form of the results.
        yes: Whether questions are answered with yes.
        no_color: Whether colours are unwanted.

    """

    dir: Path | None = None
    app: str | None = None
    output: Output | None = None
    yes: bool | None = None
    no_color: bool | None = None

    def over(self, other: Options) -> Options:
        """Return what these say, and the others where these say nothing."""
        return Options(
            *(mine if mine is not None else theirs for mine, theirs in zip(self.all(), other.all(), strict=True))
        )

    def all(self) -> tuple[Any, ...]:
        """Return the options in the order of their declaration."""
        return self.dir, self.app, self.output, self.yes, self.no_color


class Session:
    """One run of the command.

    Args:
        options: What was said beside the command's own parameters.

    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.paper = Paper(options.output or Output.TABLE, color=not options.no_color)
        self._open = ExitStack()

    def close(self) -> None:
        """Let go of the directory."""
        self._open.close()

    @cached_property
    def path(self) -> Path:
        """Where the control directory is.

        Raises:
            Stop: If that cannot be told.

        """
        return places.choose(self.options.dir, self.options.app)

    def path_to_be(self, directory: Path | None, app: str | None) -> Path:
        """Return where the control directory is, or will be when the application has started.

        Args:
            directory: What the settings say, if neither the command line nor the environment says anything.
            app: The same.

        """
        own, told = self.options, any(os.environ.get(name) for name in (paths.VARIABLE, places.APP_VARIABLE))
        if own.dir is None and own.app is None and not told:
            self.options = Options(directory, app).over(own)
        try:
            return self.path
        except Stop as stop:
            named = self.options.app or os.environ.get(places.APP_VARIABLE)
            if stop.code != UNREACHABLE or not named:
                raise
            return paths.location(named)

    @cached_property
    def directory(self) -> Directory:
        """The control directory, opened as its owner if root asks."""
        from resilient.control import private  # noqa: PLC0415 -- `--help` and completion need none of it
        from resilient.control.directory import Directory  # noqa: PLC0415

        path = self.path
        if os.geteuid() == 0 and path.exists() and path.lstat().st_uid != 0:
            from resilient.cli import ahead  # noqa: PLC0415 -- only root needs it

            ahead.load(self.paper)
            self._open.enter_context(private.as_owner_of(path))
            self.paper.note(f"Acting as {private.owner_name(os.geteuid())} in {path}.")
        directory = Directory(path)
        self._open.callback(directory.close)
        return directory

    @cached_property
    def operations(self) -> Operations:
        """What can be changed."""
        from resilient.control.operations import Operations  # noqa: PLC0415 -- as above

        return Operations(self.directory)

    def pages(self) -> list[PageView]:
        """Return what each process shows."""
        from resilient.control.pages import read_pages  # noqa: PLC0415 -- as above

        return read_pages(self.directory.path)

    def overview(self) -> dict[str, Any]:
        """Return the whole picture, as the API shows it too."""
        from resilient.control.overview import overview  # noqa: PLC0415 -- as above

        return overview(self.directory, now=SYSTEM.wall())

    def who(self, role: Literal["operator", "admin"] = "operator") -> Who:
        """Return who asks: the user of the shell, and behind `sudo` also the one who called it.

        The owner of the directory's files can do everything to them anyway, so no role is asked for.
        """
        from resilient.control.receipts import Who  # noqa: PLC0415 -- as above

        return Who(actor(), role, "cli")

    def agree(self, verb: str, names: list[str], *, pattern: bool) -> None:
        """Ask before something is done to more than one downstream; go on only if the number is typed.

        Args:
            verb: What is to be done, such as "trip".
            names: The downstreams.
            pattern: Whether they were chosen by a pattern.

        Raises:
            Stop: If the answer is another one, or nobody can be asked.

        """
        if self.options.yes or not pattern:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            what = f"A pattern needs --yes where nobody can be asked; it matches {listed(names)}."
            raise Stop(USAGE, what)
        if len(names) == 1:
            return
        self.paper.note(f"This will {verb} {count(len(names), 'downstream')}: {listed(names, 20)}")
        sys.stderr.write(f"Type {len(names)} to go on: ")
        sys.stderr.flush()
        if sys.stdin.readline().strip() != str(len(names)):
            raise Stop(USAGE, "Nothing was done.")


def actor() -> str:
    """Return the name of the user, such as `ann`, or `root (sudo by ann)`."""
    try:
        # Not from LOGNAME or USER, which anybody can set.
        import pwd  # noqa: PLC0415 -- not on Windows

        name = pwd.getpwuid(os.getuid()).pw_name
    except ImportError:
        name = getpass.getuser()
    except KeyError:
        name = f"uid {os.getuid()}"
    sudo = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {sudo})" if os.getuid() == 0 and sudo.isprintable() and sudo not in {"", name} else name
