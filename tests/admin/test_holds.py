"""Holds through the API: placed, replaced only when seen, released, extended; every refusal says what to do."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.admin._site import HOLD, problem
from tests.control._rows import Shown, row

PATH = "v1/downstreams/payments/hold"


def etag(site, name="payments"):
    return site.get(f"v1/downstreams/{name}").headers["etag"]


def audit(site, **query):
    return site.get("v1/audit", params=query).json()["items"]


def test_a_hold_is_placed_with_reason_expiry_and_actor(site):
    answer = site.put(f"{PATH}?wait=0", {**HOLD, "ticket": "CHG-1"})
    assert answer.status_code == 202, "no process has applied it yet"
    said = answer.json()
    assert said["status"] == "active"
    assert said["effective"] == "forced_open"
    assert said["masked_by"] == []
    assert said["convergence"]["required"] == 2
    assert said["convergence"]["applied"] == 0
    assert {each["instance"] for each in said["convergence"]["pending"]} == {"a", "b"}
    assert answer.headers["x-request-id"]
    held = site.get(f"v1/holds/{said['id']}").json()
    assert (held["target"], held["actor"], held["via"], held["ticket"]) == ("payments", "olga", "api", "CHG-1")
    assert held["reason"] == "the provider is down"
    assert 2690 < held["remaining"] <= 2700
    assert held["masked"] is False
    row = next(each for each in site.get("v1/downstreams").json()["items"] if each["name"] == "payments")
    assert row["state"] == "forced_open"
    assert row["holds"][0]["id"] == said["id"]
    assert audit(site)[0]["seq"] == said["audit_seq"]
    assert audit(site)[0]["hash"] == said["audit_hash"]


def test_the_answer_waits_until_every_process_has_applied_it(site, pages):
    def apply() -> None:
        for page in pages:
            page.data["applied"] = 1
            page.show(payments=row("forced_open"))

    later = threading.Timer(0.3, apply)
    later.start()
    answer = site.put(f"{PATH}?wait=10s")
    later.join()
    assert answer.status_code == 200
    convergence = answer.json()["convergence"]
    assert (convergence["required"], convergence["applied"], convergence["pending"]) == (2, 2, [])
    assert 0.1 < convergence["waited_s"] < 8


def test_a_dry_run_answers_the_same_and_stores_nothing(site):
    before = etag(site)
    answer = site.put(f"{PATH}?dry_run=true")
    assert answer.status_code == 200
    assert answer.headers["dry-run"] == "true"
    assert answer.json()["dry_run"] is True
    assert answer.json()["effective"] == "forced_open"
    assert etag(site) == before
    assert site.get("v1/holds").json()["items"] == []


def test_a_hold_that_is_there_is_replaced_only_by_who_has_seen_it(site):
    first = site.put(f"{PATH}?wait=0")
    said = problem(site.put(f"{PATH}?wait=0", {**HOLD, "ttl": "1h"}), 428, "precondition")
    assert said["etag"] == first.headers["etag"].strip('"')
    stale = site.put(f"{PATH}?wait=0", headers={"If-Match": '"0123"'})
    problem(stale, 412, "stale")
    problem(site.put(f"{PATH}?wait=0", headers={"If-None-Match": "*"}), 412, "stale")
    again = site.put(f"{PATH}?wait=0", {**HOLD, "ttl": "1h"}, headers={"If-Match": first.headers["etag"]})
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["etag"] != first.headers["etag"]
    problem(site.put(f"{PATH}?wait=0", headers={"If-Match": first.headers["etag"]}), 412, "stale")
    several = f'"x", {again.headers["etag"]}'
    assert site.put(f"{PATH}?wait=0", headers={"If-Match": several}).status_code == 202


def test_any_state_may_be_named_by_a_star_if_there_is_a_hold(site):
    problem(site.put(f"{PATH}?wait=0", headers={"If-Match": "*"}), 412, "stale")
    assert site.put(f"{PATH}?wait=0", headers={"If-None-Match": "*"}).status_code == 202
    assert site.put(f"{PATH}?wait=0", headers={"If-Match": "*"}).status_code == 202


def test_a_weak_tag_matches_nothing(site):
    tag = site.put(f"{PATH}?wait=0").headers["etag"]
    problem(site.put(f"{PATH}?wait=0", headers={"If-Match": f"W/{tag}"}), 412, "stale")


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "abc"},
        {"If-Match": '"a'},
        {"If-Match": '""'},
        {"If-Match": ""},
        {"If-None-Match": '"abc"'},
        {"If-Match": '"a"', "If-None-Match": "*"},
    ],
)
def test_preconditions_that_are_none_are_refused(site, headers):
    problem(site.put(f"{PATH}?wait=0", headers=headers), 400, "malformed")


def test_the_tag_in_the_overview_is_the_one_to_send(site):
    site.put(f"{PATH}?wait=0")
    seen = next(each for each in site.get("v1/snapshot").json()["downstreams"] if each["name"] == "payments")
    assert etag(site) == f'"{seen["etag"]}"'
    assert site.put(f"{PATH}?wait=0", headers={"If-Match": f'"{seen["etag"]}"'}).status_code == 202


def test_an_unknown_name_is_refused_with_close_matches(site):
    said = problem(site.put("v1/downstreams/paymnets/hold?wait=0"), 404, "unknown-name")
    assert said["close_matches"] == ["payments"]
    assert site.put("v1/downstreams/paymnets/hold?wait=0&allow_unknown=true").status_code == 202
    said = problem(site.get("v1/downstreams/serach"), 404, "unknown-name")
    assert said["close_matches"] == ["search"]


def test_a_name_may_have_slashes_and_words_of_ours_in_it(site, directory):
    Shown(directory.path, "c", **{"https://pay.example/hold": row(), "a/b": row()})
    for name in ("https%3A%2F%2Fpay.example%2Fhold", "a%2Fb"):
        assert site.get(f"v1/downstreams/{name}").status_code == 200
        assert site.put(f"v1/downstreams/{name}/hold?wait=0").status_code == 202
    targets = {each["target"] for each in site.get("v1/holds").json()["items"]}
    assert targets == {"https://pay.example/hold", "a/b"}


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "  x  "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": None}, "reason"),
        ({"mode": "open"}, "mode"),
        ({"ttl": "forever"}, "ttl"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": "25h"}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"percent": 0}, "percent"),
        ({"percent": 101}, "percent"),
        ({"percent": "50"}, "percent"),
        ({"percent": 50, "mode": "observe"}, "percent"),
        ({"disposition": "defer"}, "disposition"),
        ({"ticket": 7}, "ticket"),
        ({"retention": 1}, "retention"),
    ],
)
def test_a_wrong_value_is_refused_by_name(site, change, parameter):
    said = problem(site.put(f"{PATH}?wait=0", {**HOLD, **change}), 422, "invalid")
    assert said["parameter"] == parameter
    assert parameter in said["detail"]
    assert said["errors"][0]["message"]


@pytest.mark.parametrize("missing", ["mode", "reason", "ttl"])
def test_mode_reason_and_expiry_have_no_default(site, missing):
    body = {name: value for name, value in HOLD.items() if name != missing}
    said = problem(site.put(f"{PATH}?wait=0", body), 422, "invalid")
    assert said["parameter"] == missing


def test_every_wrong_value_is_told_at_once_with_what_is_allowed(site):
    said = problem(site.put(PATH, {"mode": "opn", "reason": "", "ttl": "x", "tl": 1}), 422, "invalid")
    assert [each["parameter"] for each in said["errors"]] == ["reason", "mode", "ttl", "tl"]
    told = {each["parameter"]: each for each in said["errors"]}
    assert "forced_open" in told["mode"]["allowed"]
    assert "45m" in told["ttl"]["message"]
    assert told["tl"]["close_matches"] == ["ttl"]


@pytest.mark.parametrize(
    ("content", "headers", "status", "kind"),
    [
        (b"{", {"Content-Type": "application/json"}, 400, "malformed"),
        (b'"\xff"', {"Content-Type": "application/json"}, 400, "malformed"),
        (b"", {"Content-Type": "application/json"}, 400, "malformed"),
        (b"[]", {"Content-Type": "application/json"}, 422, "invalid"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "media-type"),
        (b"{}", {}, 415, "media-type"),
        (b"mode=forced_open", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "media-type"),
        (b" " * 70_000, {"Content-Type": "application/json"}, 413, "too-large"),
    ],
)
def test_a_body_that_is_none_is_refused(site, content, headers, status, kind):
    problem(site.ask("PUT", PATH, who="olga", content=content, headers=headers), status, kind)


@pytest.mark.parametrize(
    "query", ["wait=x", "wait=-1", "wait=31", "wait=31s", "dry_run=perhaps", "wate=5s", "wait=1&wait=2"]
)
def test_a_wrong_parameter_is_refused_by_name(site, query):
    said = problem(site.put(f"{PATH}?{query}"), 422, "invalid")
    assert said["parameter"].startswith("wa") or said["parameter"] == "dry_run"


def test_releasing_ends_ones_own_hold_and_leaves_that_of_another(site):
    site.put(f"{PATH}?wait=0", who="olga")
    site.put(f"{PATH}?wait=0", {**HOLD, "mode": "observe"}, who="otto")
    lost = site.ask("DELETE", f"{PATH}?wait=0", who="olga", json={"reason": "recovered"})
    assert "?reason=" in problem(lost, 400, "malformed")["detail"]
    answer = site.delete(f"{PATH}?wait=0&reason=recovered", who="olga")
    assert answer.status_code == 202
    assert answer.json()["status"] == "released"
    assert answer.json()["effective"] == "observe"
    left = site.get("v1/holds").json()["items"]
    assert [each["actor"] for each in left] == ["otto"]
    ended = site.get("v1/holds?ended=true&target=payments").json()["items"]
    assert {each["status"] for each in ended} == {"active", "released"}
    assert next(each for each in ended if each["actor"] == "olga")["end_reason"] == "recovered"
    problem(site.delete(f"{PATH}?wait=0", who="olga"), 404, "not-found")


def test_a_hold_of_another_is_an_admins_to_release(site):
    held = site.put(f"{PATH}?wait=0", who="olga").json()["id"]
    problem(site.delete(f"v1/holds/{held}?wait=0", who="otto"), 403, "role")
    problem(site.delete(f"{PATH}?wait=0&hold_id={held}", who="otto"), 403, "role")
    assert site.delete(f"v1/holds/{held}?wait=0&reason=back", who="ada").status_code == 202
    problem(site.delete(f"v1/holds/{held}?wait=0", who="ada"), 409, "conflict")
    problem(site.delete("v1/holds/none?wait=0", who="ada"), 404, "not-found")
    problem(site.get("v1/holds/none"), 404, "not-found")


def test_a_stale_release_is_refused(site):
    tag = site.put(f"{PATH}?wait=0").headers["etag"]
    site.put(f"{PATH}?wait=0", who="otto")
    problem(site.delete(f"{PATH}?wait=0", headers={"If-Match": tag}), 412, "stale")
    assert site.delete(f"{PATH}?wait=0", headers={"If-Match": etag(site)}).status_code == 202


def test_a_masked_hold_says_by_whom(site):
    strict = site.put(f"{PATH}?wait=0", who="olga").json()["id"]
    mild = site.put(f"{PATH}?wait=0", {**HOLD, "mode": "observe"}, who="otto").json()
    assert mild["masked_by"] == [strict]
    assert mild["effective"] == "forced_open"
    assert site.get(f"v1/holds/{mild['id']}").json()["masked"] is True


def test_a_part_of_the_calls_can_be_held_back(site):
    said = site.put(f"{PATH}?wait=0", {**HOLD, "percent": 25, "disposition": "reject"}).json()
    held = site.get(f"v1/holds/{said['id']}").json()
    assert (held["percent"], held["disposition"]) == (25, "reject")


def test_retries_are_taken_away_and_given_back_beside_a_hold(site):
    site.put(f"{PATH}?wait=0")
    path = "v1/downstreams/payments/retries"
    body = {"reason": "a retry storm", "ttl": "10m"}
    off = site.put(f"{path}?wait=0", body)
    assert off.status_code == 202
    assert site.get("v1/downstreams/payments").json()["retries"] == "off"
    problem(site.put(f"{path}?wait=0", {**body, "mode": "observe"}), 422, "invalid")
    problem(site.put(f"{path}?wait=0", body), 428, "precondition")
    problem(site.delete(f"{path}?wait=0", who="otto"), 404, "not-found")
    assert site.delete(f"{path}?wait=0").json()["id"] == off.json()["id"]
    assert site.get("v1/downstreams/payments").json()["retries"] == "on"
    assert [each["mode"] for each in site.get("v1/holds").json()["items"]] == ["forced_open"]


def test_a_hold_is_extended_and_gets_notes(site):
    held = site.put(f"{PATH}?wait=0").json()["id"]
    path = f"v1/holds/{held}?wait=0"
    assert site.ask("PATCH", path, who="olga", json={"ttl": "2h", "note": "still down"}).status_code == 202
    assert site.ask("PATCH", path, who="olga", json={"ticket": "CHG-2"}).status_code == 202
    seen = site.get(f"v1/holds/{held}").json()
    assert 7190 < seen["remaining"] <= 7200
    assert (seen["notes"], seen["ticket"]) == (["still down"], "CHG-2")
    problem(site.ask("PATCH", path, who="olga", json={}), 422, "invalid")
    problem(site.ask("PATCH", path, who="olga", json={"mode": "observe"}), 422, "invalid")
    problem(site.ask("PATCH", path, who="otto", json={"note": "mine"}), 403, "role")


def test_a_command_is_done_once_for_its_key(site):
    path, body = "v1/downstreams/payments/commands", {"command": "reset", "reason": "a new version"}
    first = site.post(f"{path}?wait=0", body, headers={"Idempotency-Key": "k1"})
    assert first.status_code == 202
    assert first.json()["status"] == "issued"
    again = site.post(f"{path}?wait=0", body, headers={"Idempotency-Key": "k1"})
    assert again.json()["id"] == first.json()["id"]
    other = site.post(f"{path}?wait=0", {**body, "command": "probe"}, headers={"Idempotency-Key": "k1"})
    assert other.status_code in (409, 422)
    assert site.post(f"{path}?wait=0", body).json()["id"] != first.json()["id"]
    problem(site.post(path, body, headers={"Idempotency-Key": "x" * 201}), 400, "malformed")
    problem(site.post(path, {**body, "command": "explode"}), 422, "invalid")


def test_all_violated_rules_are_listed(site):
    rules = [
        {"id": "one-stays", "kind": "min_available", "group": ["pay*", "search"], "n": 2},
        {"id": "not-payments", "kind": "never", "group": ["payments"]},
        {"id": "short", "kind": "max_ttl", "seconds": 60},
    ]
    tag = site.get("v1/rules").headers["etag"]
    assert site.put("v1/rules?wait=0", {"rules": rules}, who="ada", headers={"If-Match": tag}).status_code == 202
    said = problem(site.put(f"{PATH}?wait=0"), 409, "rules")
    assert [each["rule"] for each in said["violations"]] == ["not-payments", "one-stays", "short"]
    glass = {**HOLD, "break_glass": ["one-stays", "not-payments", "short"], "reason": "the payment provider is on fire"}
    problem(site.put(f"{PATH}?wait=0", glass, who="olga"), 403, "role")
    assert site.put(f"{PATH}?wait=0", glass, who="ada").json()["overridden"]


def test_too_soon_after_the_last_change_says_when(site):
    rules = {"rules": [{"id": "calm", "kind": "wait_period", "seconds": 30}]}
    tag = site.get("v1/rules").headers["etag"]
    site.put("v1/rules?wait=0", rules, who="ada", headers={"If-Match": tag})
    first = site.put(f"{PATH}?wait=0")
    assert first.status_code == 202
    answer = site.put(f"{PATH}?wait=0", headers={"If-Match": first.headers["etag"]})
    said = problem(answer, 429, "wait")
    assert 0 < int(answer.headers["retry-after"]) <= 30
    assert said["violations"]


def test_what_cannot_be_recorded_is_not_done(site, directory):
    with sqlite3.connect(directory.path / "control.sqlite3") as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    db.close()
    problem(site.put(f"{PATH}?wait=0"), 503, "unaudited")
    assert site.get("v1/holds").json()["items"] == []


def test_refusals_are_audited_too(site):
    site.put("v1/downstreams/nobody/hold?wait=0")
    (last, *_) = audit(site, outcome="refused")
    assert (last["actor"], last["action"], last["target"]) == ("olga", "place", "nobody")


def test_a_change_is_logged_with_its_place_in_the_record(site, caplog):
    with caplog.at_level(logging.INFO, "resilient.admin"):
        said = site.put(f"{PATH}?wait=0", headers={"X-Request-Id": "req-7"})
    assert said.headers["x-request-id"] == "req-7"
    (made,) = [each for each in caplog.records if getattr(each, "event", "") == "resilient.admin.changed"]
    assert (made.request_id, made.actor, made.downstream) == ("req-7", "olga", "payments")
    assert made.audit_hash == said.json()["audit_hash"]


def test_a_request_id_of_another_kind_is_replaced(site):
    answer = site.put(f"{PATH}?wait=0", headers={"X-Request-Id": "a b<script>"})
    assert answer.headers["x-request-id"].isalnum()


def test_the_dashboard_is_told_apart_in_the_record(site):
    site.put(f"{PATH}?wait=0", headers={"X-Resilient-Client": "dashboard"})
    site.put(f"{PATH}?wait=0", who="otto", headers={"X-Resilient-Client": "cli"})
    assert {each["actor"]: each["via"] for each in audit(site)} == {"olga": "dashboard", "otto": "api"}


def test_the_audit_record_is_listed_filtered_exported_and_checked(site, directory):
    site.put(f"{PATH}?wait=0", who="olga")
    site.put(f"{PATH}?wait=0", {**HOLD, "mode": "observe"}, who="otto")
    site.delete(f"{PATH}?wait=0", who="olga")
    listed = site.get("v1/audit").json()
    assert [each["seq"] for each in listed["items"]] == [3, 2, 1]
    assert listed["head"]["seq"] == listed["next"] == 3
    assert listed["items"][0]["hash"] == listed["head"]["hash"]
    assert listed["items"][2]["request"]["reason"] == HOLD["reason"]
    assert [each["seq"] for each in site.get("v1/audit?after=1").json()["items"]] == [2, 3]
    assert [each["seq"] for each in site.get("v1/audit?actor=olga").json()["items"]] == [3, 1]
    lines = site.get("v1/audit", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line)["seq"] for line in lines.text.splitlines()] == [1, 2, 3]
    known = {"known_seq": 3, "known_hash": listed["head"]["hash"]}
    checked = site.get("v1/audit", params={"verify": "true", **known}).json()
    assert (checked["ok"], checked["rows"], checked["compared"]) == (True, 3, True)
    assert "cut off" in checked["caveat"]
    with sqlite3.connect(directory.path / "control.sqlite3") as db:
        db.execute("UPDATE audit SET reason = 'nothing' WHERE seq = 2")
    db.close()
    checked = site.get("v1/audit?verify=true").json()
    assert checked["ok"] is False
    assert checked["faults"][0]["seq"] == 2


def test_a_maintenance_is_planned_shown_and_ended_never_deleted(site):
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    end = (start + timedelta(hours=1)).astimezone(timezone(timedelta(hours=2)))
    body = {"selector": "pay*", "reason": "upgrade", "starts_at": start.isoformat(), "ends_at": end.isoformat()}
    made = site.post("v1/windows?wait=0", body)
    assert made.status_code in (201, 202)
    window = site.get(f"v1/windows/{made.json()['id']}").json()
    assert window["status"] == "scheduled"
    assert window["ends_at"].endswith("Z")
    assert datetime.fromisoformat(window["ends_at"]) == end
    assert [each["id"] for each in site.get("v1/windows").json()["items"]] == [window["id"]]
    assert site.ask("DELETE", f"v1/windows/{window['id']}", who="ada").status_code == 405
    ended = site.post(f"v1/windows/{window['id']}/end?wait=0", {"reason": "called off"})
    assert ended.json()["status"] == "ended"
    problem(site.post(f"v1/windows/{window['id']}/end?wait=0", {"reason": "again"}), 409, "conflict")
    assert site.get("v1/windows").json()["items"] == []
    assert len(site.get("v1/windows?ended=true").json()["items"]) == 1
    problem(site.get("v1/windows/none"), 404, "not-found")


@pytest.mark.parametrize(
    "times",
    [
        {"starts_at": "2027-01-01T02:00:00", "ends_at": "2027-01-01T03:00:00Z"},
        {"starts_at": "tomorrow", "ends_at": "2027-01-01T03:00:00Z"},
        {"starts_at": "2027-01-01T04:00:00Z", "ends_at": "2027-01-01T03:00:00Z"},
        {"starts_at": "2001-01-01T04:00:00Z", "ends_at": "2001-01-01T05:00:00Z"},
        {"starts_at": "9999-12-31T23:59:59Z", "ends_at": "9999-12-31T23:59:59.5Z"},
        {"starts_at": "0001-01-01T00:00:00+14:00", "ends_at": "9999-12-31T23:59:59-14:00"},
    ],
)
def test_a_maintenance_needs_times_that_are_ahead_and_have_a_zone(site, times):
    said = problem(site.post("v1/windows", {"selector": "*", "reason": "upgrade", **times}), 422, "invalid")
    assert said["parameter"] in ("starts_at", "ends_at")


def test_rules_are_replaced_only_by_who_has_seen_them(site):
    tag = site.get("v1/rules").headers["etag"]
    rules = {"rules": [{"id": "short", "kind": "max_ttl", "seconds": 60}]}
    problem(site.put("v1/rules", rules, who="ada"), 428, "precondition")
    problem(site.put("v1/rules", rules, who="ada", headers={"If-Match": '"x"'}), 412, "stale")
    assert site.put("v1/rules?wait=0", rules, who="ada", headers={"If-Match": tag}).status_code == 202
    assert site.get("v1/rules").json()["rules"][0]["seconds"] == 60
    assert site.get("v1/rules").headers["etag"] != tag
    new = site.get("v1/rules").headers["etag"]
    for bad in ({"id": "x", "kind": "max_ttl"}, {"id": "x", "kind": "never", "n": 3}, {"id": "x", "kind": "nope"}):
        problem(site.put("v1/rules", {"rules": [bad]}, who="ada", headers={"If-Match": new}), 422, "invalid")
