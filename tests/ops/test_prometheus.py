"""The alert rules load, fire when they must and only then, and name only what is exported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.ops._promql import OPS, ROOT, complaints, grouped, labels_of, metrics, promtool

RULES = OPS / "prometheus" / "alerts.yml"
CASES = OPS / "prometheus" / "alerts_test.yml"

GROUPS = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
EVERY = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EVERY if "alert" in rule}
TESTS = yaml.safe_load(CASES.read_text("utf-8"))


def recorded() -> dict[str, set[str]]:
    """Return the labels of each recording rule: those it is grouped by."""
    return {rule["record"]: grouped(rule["expr"]) for rule in EVERY if "record" in rule}


def name(rule: dict[str, str]) -> str:
    return rule.get("alert") or rule["record"]


def test_promtool_accepts_the_rules() -> None:
    assert f"{len(EVERY)} rules found" in promtool("check", "rules", RULES)


def test_every_alert_fires_and_stays_silent_as_its_cases_say() -> None:
    promtool("test", "rules", CASES)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_case_in_which_it_fires_and_something_for_which_it_does_not(alert: str) -> None:
    fires, silent = False, False
    for case in TESTS["tests"]:
        for check in case["alert_rule_test"]:
            if check["alertname"] == alert:
                fires |= bool(check["exp_alerts"])
                others = {tuple(sorted(_identity(each["series"], alert).items())) for each in case["input_series"]}
                silent |= not check["exp_alerts"] or len(others) > len(check["exp_alerts"])
    assert fires
    assert silent


def _identity(series: str, alert: str) -> dict[str, str]:
    labels = dict(re.findall(r'(\w+)="([^"]*)"', series))
    return {key: value for key, value in labels.items() if key in grouped(ALERTS[alert]["expr"])}


def test_an_alert_that_were_gone_would_be_missed(tmp_path: Path) -> None:
    text = RULES.read_text("utf-8")
    (tmp_path / "alerts_test.yml").write_text(CASES.read_text("utf-8"), "utf-8")
    (tmp_path / "alerts.yml").write_text(text.replace("alert: ResilientBreakerOpen\n", "alert: Renamed\n"), "utf-8")
    with pytest.raises(AssertionError, match="ResilientBreakerOpen"):
        promtool("test", "rules", tmp_path / "alerts_test.yml")


@pytest.mark.parametrize("rule", EVERY, ids=name)
def test_a_rule_names_only_what_is_exported(rule: dict[str, str]) -> None:
    assert complaints(rule["expr"], recorded()) == []


@pytest.mark.parametrize("series", sorted({each["series"] for case in TESTS["tests"] for each in case["input_series"]}))
def test_a_case_is_made_of_what_is_exported(series: str) -> None:
    assert complaints(series, {}) == []


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("resilient_call_latency > 1", "resilient_call_latency is in no catalogue"),
        ("resilient_call_duration_seconds > 1", "resilient_call_duration_seconds is not what a histogram exports"),
        ('resilient_call_active{user="ann"}', "resilient_call_active has no label user"),
        ("sum by (user) (resilient_call_active)", "nothing here has the label user"),
        ('resilient_hold_active{mode=~"observe|forced"}', "mode is never forced"),
        ("rate(resilient_call_active[5m])", "rate() of the gauge resilient_call_active"),
    ],
)
def test_a_rule_that_names_something_else_is_found_out(expression: str, complaint: str) -> None:
    assert complaints(expression, {}) == [complaint]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("alert", ALERTS)
def test_a_text_uses_only_labels_that_its_alert_has(alert: str) -> None:
    rule = ALERTS[alert]
    used = set(re.findall(r"\$labels\.(\w+)", "".join(rule["annotations"].values())))
    has = set.union(*(labels_of(each, recorded()) for each in metrics(rule["expr"])))
    assert used <= (grouped(rule["expr"]) or has)
