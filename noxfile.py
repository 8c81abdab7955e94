"""Every check of the project, each in its own environment: run `nox`, or `nox -s NAME` for one.

Default sessions: lint, typing, docs, and the tests on each supported Python that is present.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import nox

SUPPORTED = ("3.11", "3.12", "3.13")
PROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = ".[all]"

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"  # uv, where it is there, takes half the time
nox.options.download_python = "never"
# A missing Python is skipped, and said so in the summary, also where CI is set.
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "typing", "docs", "tests"]


def works(python: Path, version: str) -> bool:
    """Tell whether an interpreter really runs: a version manager's shim may be an empty promise."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


@cache
def find(version: str) -> Path | None:
    """Return a working interpreter: from PATH, else from where pyenv and uv keep theirs."""
    name = f"python{version}"
    folders = [Path(each) for each in os.environ.get("PATH", "").split(os.pathsep) if each]
    for root, pattern in (
        (os.environ.get("PYENV_ROOT", "~/.pyenv"), f"versions/{version}*/bin"),
        ("~/.local/share/uv/python", f"cpython-{version}*/bin"),
    ):
        folders += sorted(Path(root).expanduser().glob(pattern), reverse=True)
    return next((found for each in folders if (found := each / name).is_file() and works(found, version)), None)


def offer() -> str:
    """Put every working interpreter where nox looks first; return the newest version."""
    present = {version: python for version in SUPPORTED if (python := find(version))}
    if not present:
        raise SystemExit("None of these Pythons was found: " + ", ".join(SUPPORTED))
    for python in present.values():
        if shutil.which(python.name) != str(python):
            os.environ["PATH"] = os.pathsep.join((str(python.parent), os.environ.get("PATH", "")))
    return max(present, key=SUPPORTED.index)


NEWEST = offer()


def install(session: nox.Session, *groups: str, project: str | None = ".") -> None:
    """Install dependency groups, and the project as its users get it: built, not editable."""
    packages = nox.project.dependency_groups(PROJECT, *groups)
    session.install("--quiet", *packages, *((project,) if project else ()))


def failures() -> bool:
    """Tell whether tests failed in the last run, as pytest has noted it."""
    noted = Path(".pytest_cache/v/cache/lastfailed")
    return noted.exists() and bool(json.loads(noted.read_text("utf-8")))


@nox.session(python=list(SUPPORTED))
def tests(session: nox.Session) -> None:
    """Run the suite against the built package; arguments after `--` go to pytest."""
    install(session, "test", "peers", "sdks", project=EXTRAS)
    # The first run writes bytecode, also where the environment says not to: else each worker compiles all tests.
    env = {"PYTHONDONTWRITEBYTECODE": ""}
    if session.posargs:
        session.run("pytest", *session.posargs, env=env)
        return
    # First what may share the machine. Most of that waits for something, so two workers to a core: more of them
    # take longer to collect the tests than they save.
    # The newest Python runs all, the others the core (see tests/conftest.py); `full` runs all on each.
    env["RESILIENT_LEAVE_OUT"] = "" if session.python == NEWEST else "long upon"
    # Plain asserts: to rewrite thousands of tests takes each worker longer than to run many of them.
    session.run("pytest", "-n", "4", "--assert=plain", "-m", "not soak and not alone", env=env, success_codes=[0, 1])
    # Many tests are about time, and four run at once: what failed beside others has to pass with few, or by itself.
    if failures():
        session.run("pytest", "--last-failed", env=env, success_codes=[0, 1])
    if failures():
        session.run("pytest", "--last-failed", env=env)
    # What measures time or memory runs alone, and on the newest Python, like the long ones that are the same on all.
    if session.python == NEWEST:
        alone = sorted(
            str(each) for each in Path("tests").rglob("test_*.py") if "mark.alone" in each.read_text("utf-8")
        )
        session.run("pytest", "-m", "alone and not soak", *alone, env=env)


@nox.session(python=list(SUPPORTED))
def full(session: nox.Session) -> None:
    """Run every test but the soak on every Python, also what `tests` runs on some of them only."""
    install(session, "test", "peers", "sdks", project=EXTRAS)
    session.run("pytest", "-n", "4", "-m", "not soak", env={"PYTHONDONTWRITEBYTECODE": ""}, success_codes=[0, 1])
    if failures():
        session.run("pytest", "--last-failed")


@nox.session(python=NEWEST)
def soak(session: nox.Session) -> None:
    """Run the long counts in full."""
    install(session, "test", "peers", project=EXTRAS)
    session.run("pytest", "-m", "soak", "--timeout", "3600", *session.posargs, env={"HYPOTHESIS_PROFILE": "soak"})


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Check the style with every rule, and the format."""
    install(session, "lint", project=None)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=NEWEST)
def typing(session: nox.Session) -> None:
    """Check the sources strictly, and what users' type checkers see."""
    install(session, "typing")
    session.run("mypy", "--strict", "src")
    if any(Path("tests/typing").glob("*.py")):
        session.run("mypy", "--strict", "tests/typing")
        session.run("pyright")


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning or a dead cross-reference is an error."""
    install(session, "docs", "demo", project=EXTRAS)
    session.run("sphinx-build", "-q", "-n", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.log("docs/_build/html/index.html")


@nox.session(python=NEWEST)
def demo(session: nox.Session) -> None:
    """Run the main jobs on real traffic: a service in trouble, and one that is killed, with protection and without.

    Without arguments each of them, short, with each client library, and the picture is drawn. Arguments after
    `--` are those of one demo: of the first, or after the word `survival` of the second.
    """
    install(session, "demo", project=EXTRAS)
    if session.posargs:
        which, options = "outage", list(session.posargs)
        if options[0] == "survival":
            which = options.pop(0)
        session.run("python", "-m", f"examples.{which}", *options)
        return
    picture = Path(session.create_tmp()) / "stale-outage.svg"
    for family in ("httpx2", "httpx"):
        session.run("python", "-m", "examples.outage", "--family", family, "--seconds", "24")
        drawn = ("--picture", str(picture.resolve()))
        session.run("python", "-m", "examples.survival", "--family", family, "--seconds", "12", *drawn)
    session.log(f"{picture}: {picture.stat().st_size} bytes")


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """Measure every policy beside an empty decorator and beside its peers."""
    install(session, "test", "peers", project=EXTRAS)
    session.run("python", "-m", "benchmarks", *session.posargs)
