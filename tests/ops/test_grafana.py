"""The dashboard loads anywhere: nothing of one installation in it, and every query asks for what is exported."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ops._promql import OPS, complaints, grouped, labels_of, metrics, promtool

BOARD: dict[str, Any] = json.loads((OPS / "grafana" / "resilient.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = BOARD["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]
TARGETS = [(panel, target) for panel in DRAWN for target in panel["targets"]]
VARIABLES = {each["name"]: each for each in BOARD["templating"]["list"]}
QUERIED = [each for each in VARIABLES.values() if each["type"] == "query"]
ANNOTATIONS = [each for each in BOARD["annotations"]["list"] if not each.get("builtIn")]
EXPRESSIONS = [target["expr"] for _, target in TARGETS] + [each["expr"] for each in ANNOTATIONS]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
KINDS = {"row", "stat", "state-timeline", "table", "timeseries", "heatmap"}
WIDTH = 24


def plain(expression: str) -> str:
    """Put in what Grafana puts in."""
    put_in = {"$__rate_interval": "1m", "$__range": "1h"}
    for name, value in put_in.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$\w+", ".*", expression)


def name(value: object) -> str:
    return re.sub(r"\W+", "-", str(value))[:60]


def test_panels_have_ids_of_their_own_and_a_kind_that_every_grafana_has() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    assert {panel["type"] for panel in PANELS} == KINDS
    assert all(panel["title"] for panel in PANELS)
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)


def test_panels_stand_side_by_side() -> None:
    taken = [panel["gridPos"] for panel in PANELS]
    assert all(each["x"] >= 0 and each["x"] + each["w"] <= WIDTH and each["h"] > 0 for each in taken)
    for a, b in combinations(taken, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


def test_nothing_of_one_installation_is_in_it() -> None:
    assert BOARD["id"] is None
    assert BOARD["uid"] == "resilient"
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert all(
        each["current"].get("value", ["$__all"]) == ["$__all"] and not each["options"] for each in VARIABLES.values()
    )
    asked = [panel["datasource"] for panel in DRAWN] + [target["datasource"] for _, target in TARGETS]
    asked += [each["datasource"] for each in (*ANNOTATIONS, *QUERIED)]
    assert all(each == SOURCE for each in asked)
    uids = set(re.findall(r'"uid": "([^"]*)"', json.dumps(BOARD)))
    assert uids == {"resilient", "${datasource}", "-- Grafana --"}


def test_one_chooses_service_instance_and_downstream() -> None:
    assert list(VARIABLES) == ["datasource", "job", "instance", "downstream"]
    assert all(each["multi"] and each["includeAll"] for each in QUERIED)
    for each in QUERIED:
        match = re.fullmatch(r"label_values\((?P<selector>.*), (?P<label>\w+)\)", each["query"]["query"])
        assert match
        assert complaints(plain(match["selector"]), {}) == []
        assert match["label"] in set().union(*(labels_of(name, {}) for name in metrics(match["selector"])))


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=name)
def test_a_query_asks_only_for_what_is_exported(expression: str) -> None:
    assert complaints(plain(expression), {}) == []


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=name)
def test_a_query_asks_for_what_was_chosen(expression: str) -> None:
    for selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        metric, chosen = selector
        wanted = {"job", "instance", "downstream"} & labels_of(metric, {})
        missing = {each for each in wanted if f'{each}=~"${each}"' not in chosen}
        # The other side of `unless on (job, downstream)` is narrowed by what it is compared with.
        assert not missing or metric == "resilient_hold_active"


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{index}", "expr": plain(each)} for index, each in enumerate(EXPRESSIONS)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}), "utf-8")
    assert f"{len(EXPRESSIONS)} rules found" in promtool("check", "rules", tmp_path / "queries.yml")


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=name)
def test_a_legend_names_only_labels_that_are_left(panel: dict[str, Any], target: dict[str, Any]) -> None:
    used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert used <= grouped(target["expr"])
    assert ("range" in target) != ("instant" in target)


@pytest.mark.parametrize("panel", DRAWN, ids=lambda panel: name(panel["title"]))
def test_a_panel_refers_to_queries_that_it_has(panel: dict[str, Any]) -> None:
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    assert panel["targets"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    values = re.findall(r'"Value #(\w+)"', json.dumps(panel))
    assert set(values) <= set(references)


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=lambda each: each["name"])
def test_an_annotation_names_only_labels_that_are_left(annotation: dict[str, Any]) -> None:
    used = set(re.findall(r"\{\{(\w+)\}\}", annotation["titleFormat"] + annotation["textFormat"]))
    assert used | set(annotation["tagKeys"].split(",")) <= grouped(annotation["expr"])


def test_all_that_people_must_see_at_a_glance_is_there() -> None:
    asked = set().union(*(metrics(each) for each in EXPRESSIONS))
    subjects = {
        "resilient_hold_active",
        "resilient_breaker_status",
        "resilient_call_duration_seconds_bucket",
        "resilient_call_rejections_total",
        "resilient_attempt_duration_seconds_bucket",
        "resilient_retry_budget_ratio",
        "resilient_bulkhead_limit",
        "resilient_control_revision",
        "resilient_control_staleness_seconds",
        "resilient_downstream_state_time_seconds_total",
        "resilient_incident_duration_seconds_sum",
        "resilient_admin_denials_total",
    }
    assert subjects <= asked
