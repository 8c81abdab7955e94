"""Places that the deployment page tells people to use work, and those it warns of are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from resilient.control.directory import Directory
from resilient.control.errors import UnsafeDirectory
from tests.ops._promql import ROOT

PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")


def block(kind: str) -> str:
    return re.search(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_two_containers_of_a_pod_share_a_directory_in_a_volume_that_is_open_to_all(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    containers = yaml.safe_load(block("yaml"))["spec"]["containers"]
    places = []
    for container in containers:
        (mount,) = container["volumeMounts"]
        settings = {each["name"]: each["value"] for each in container["env"]}
        below = Path(settings["RESILIENT_CONTROL_DIR"]).relative_to(mount["mountPath"])
        places.append(volume / below)
    assert len(places) == 2
    first, second = (Directory(each, create=True) for each in places)
    assert first.path == second.path
    first.close()
    second.close()


@pytest.mark.parametrize("below", ["", "shop"])
def test_no_directory_is_used_where_all_may_replace_it(below: str, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    with pytest.raises(UnsafeDirectory):
        Directory(volume / below, create=True)


def test_a_directory_that_systemd_has_made_is_used(tmp_path: Path) -> None:
    unit = block("ini")
    made = tmp_path / re.search(r"RuntimeDirectory=(\w+)", unit)[1]
    made.mkdir(int(re.search(r"RuntimeDirectoryMode=(\d+)", unit)[1], 8))
    assert f"RESILIENT_CONTROL_DIR=/run/{made.name}" in unit
    Directory(made, create=True).close()
