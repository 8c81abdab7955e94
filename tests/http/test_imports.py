"""What a door loads: its own client library and the core, nothing of the other, and little time of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import resilient

FAMILIES = ("httpx", "httpx2")
OTHER = {"httpx": ("httpx2", "httpcore2"), "httpx2": ("httpx", "httpcore")}
REPEATS = 7
LONGEST = 0.045  # measured: 22 to 27 ms, of which asyncio takes 10


def python(code: str, **settings: str) -> str:
    """Run code in a fresh interpreter that sees what this one sees."""
    paths = [str(Path(resilient.__path__[0]).parent), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **settings}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    """Modules that a statement loads."""
    return set(json.loads(python(f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))")))


def test_the_package_loads_no_client_library_and_no_transport() -> None:
    loaded = loaded_by("import resilient")
    assert "resilient.pipeline" in loaded
    assert not {"httpx", "httpx2", "httpcore", "httpcore2", "http_sf", "ssl"} & loaded
    assert [name for name in loaded if name.startswith(("resilient._http", "resilient.httpx"))] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_door_loads_its_own_library_only(family: str) -> None:
    loaded = loaded_by(f"import resilient.{family}")
    assert {family, f"resilient.{family}", "resilient._http.transport"} <= loaded
    assert not {*OTHER[family], f"resilient.{OTHER[family][0]}"} & loaded


@pytest.mark.parametrize("family", FAMILIES)
def test_a_door_loads_no_package_beyond_its_library(family: str) -> None:
    loaded = loaded_by(f"import resilient.{family}") - loaded_by(f"import {family}")
    packages = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert packages == {"resilient"}


@pytest.mark.parametrize("family", FAMILIES)
def test_both_doors_may_stand_open(family: str) -> None:
    loaded = loaded_by(f"import resilient.{family}, resilient.{OTHER[family][0]}")
    assert {"httpx", "httpx2"} <= loaded


@pytest.mark.parametrize("door", ["asgi", "wsgi"])
def test_a_door_for_servers_loads_no_client_library(door: str) -> None:
    loaded = loaded_by(f"import resilient.{door}")
    assert not {"httpx", "httpx2", "httpcore", "httpcore2", "asyncio"} & loaded


@pytest.mark.parametrize("family", FAMILIES)
def test_without_its_library_a_door_says_which_one_is_missing(family: str) -> None:
    code = f"import sys; sys.modules[{family!r}] = None\ntry:\n    import resilient.{family}\n"
    code += "except ImportError as error:\n    print(error.name)"
    assert python(code).strip() == family


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("colour", ["", "Async"])
def test_network_code_is_loaded_with_the_transport_and_not_by_the_first_call(family: str, colour: str) -> None:
    code = f"import sys, resilient.{family} as door\nfrom resilient import Pipeline\n"
    code += f"door.{colour}ResilientTransport(Pipeline('x'), verify=False)\n"
    code += f"print({OTHER[OTHER[family][0]][1]!r} in sys.modules)"
    assert python(code).strip() == "True"


@pytest.mark.alone
@pytest.mark.parametrize("family", FAMILIES)
def test_a_door_takes_under_45_ms_beyond_its_library(family: str, tmp_path: Path) -> None:
    # Processor time, and the fastest of several: what else the machine does is not ours.
    code = f"import {family}, resilient\nfrom time import process_time as t; a = t()\n"
    code += f"import resilient.{family}; print(t() - a)"
    known = "from time import process_time as t; a = t(); import asyncio; print(t() - a)"  # tells a slow machine
    cache = {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    python(code, **cache)  # writes the bytecode, as an installer does
    python(known, **cache)
    taken = min(float(python(code, **cache)) for _ in range(REPEATS))
    scale = min(float(python(known, **cache)) for _ in range(REPEATS))
    print(f"resilient.{family}: {1000 * taken:.1f} ms beyond {family} and resilient")  # noqa: T201 -- the figure
    assert taken <= max(LONGEST, scale)
