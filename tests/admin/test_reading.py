"""What can be looked at, in JSON and as text, mounted anywhere, with or without a control directory."""

from __future__ import annotations

import json
import shutil

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from resilient.admin import Tokens, app
from resilient.errors import ConfigError
from tests.admin._site import HOLD, TEXT, Site, bearer, problem
from tests.control._rows import row

READS = (
    "v1 v1/snapshot v1/downstreams v1/downstreams/payments v1/downstreams/payments/events v1/holds v1/windows "
    "v1/processes v1/events v1/incidents v1/audit v1/rules"
).split()


def test_the_caller_learns_who_they_are_and_how_far_this_reaches(site):
    said = site.get("v1", who="ada").json()
    assert (said["name"], said["role"], said["app"]) == ("ada", "admin", "shop")
    assert said["reach"] == "2 processes on this host"
    assert said["version"]


def test_health_is_constant_and_needs_no_token(site, directory):
    assert site.get("healthz", who=None).json() == {"status": "ok"}
    shutil.rmtree(directory.path)
    assert site.get("healthz", who=None).json() == {"status": "ok"}


def test_readiness_lists_critical_names_and_an_open_breaker_is_ready(directory, pages):
    pages[0].show(payments=row("open"))
    assert Site(directory).get("readyz", who=None).json() == {"status": "ready", "critical": {}}
    site = Site(directory, critical=["payments", "other"])
    answer = site.get("readyz", who=None)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "critical": {"payments": "open", "other": "unknown"}}
    strict = Site(directory, critical=["payments"], unready=["open"])
    assert strict.get("readyz", who=None).status_code == 503
    with pytest.raises(ConfigError, match="unready must be"):
        Site(directory, unready=["opn"])
    shutil.rmtree(directory.path)
    gone = Site(directory, critical=["payments"], unready=["open"]).get("readyz", who=None)
    assert (gone.status_code, gone.json()["critical"]) == (200, {"payments": "unknown"})


def test_a_snapshot_is_not_sent_again_until_something_changes(site, pages):
    first = site.get("v1/snapshot")
    tag = first.headers["etag"]
    again = site.get("v1/snapshot", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    assert site.get("v1/snapshot", headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
    pages[0].show(payments=row("open"), search=row())
    changed = site.get("v1/snapshot", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.json()["verdict"].startswith("1 of 2 downstreams open")


def test_one_downstream_is_shown_with_each_process(site, pages):
    pages[1].show(payments=row("open", breakers={"circuit_breaker": {"state": "open", "failure_rate": 0.9}}))
    said = site.get("v1/downstreams/payments").json()
    assert said["states"] == {"closed": 1, "open": 1}
    shown = {each["instance"]: each["state"] for each in said["processes"]}
    assert shown == {"a": "closed", "b": "open"}
    assert said["events"] == []


def test_downstreams_are_filtered(site, pages):
    pages[0].show(payments=row("open"), search=row())
    assert [each["name"] for each in site.get("v1/downstreams?state=open").json()["items"]] == ["payments"]
    assert [each["name"] for each in site.get("v1/downstreams?q=SEA").json()["items"]] == ["search"]
    problem(site.get("v1/downstreams?state=ajar"), 422, "invalid")


def test_events_are_listed_behind_a_cursor(site, directory):
    def write(db):
        for number in range(5):
            fields = json.dumps({"to": "open"})
            name = "search" if number == 3 else "payments"
            db.execute(
                "INSERT INTO events (at, instance, name, downstream, fields) VALUES (?, 'a', ?, ?, ?)",
                (1000.0 + number, "resilient.breaker.transition", name, fields),
            )

    directory.database.write(write)
    listed = site.get("v1/events?limit=2").json()
    assert [each["seq"] for each in listed["items"]] == [4, 5], "the latest ones, oldest first"
    assert listed["next"] == 5
    assert listed["items"][0]["fields"] == {"to": "open"}
    assert listed["items"][0]["at"] == "1970-01-01T00:16:43.000Z"
    assert [each["seq"] for each in site.get("v1/events?after=1&limit=2").json()["items"]] == [2, 3]
    assert site.get("v1/events?after=5").json() == {"items": [], "next": 5}
    own = site.get("v1/downstreams/search/events").json()["items"]
    assert [each["seq"] for each in own] == [4]
    problem(site.get("v1/downstreams/nobody/events"), 404, "unknown-name")


def test_incidents_are_listed_newest_first(site, directory):
    def write(db):
        add = "INSERT INTO incidents (downstream, started_at, ended_at, planned, cause) VALUES (?, ?, ?, ?, ?)"
        db.execute(add, ("payments", 1000.0, 1060.0, 0, "failure_rate"))
        db.execute(add, ("search", 2000.0, None, 1, "hold"))

    directory.database.write(write)
    said = site.get("v1/incidents").json()["items"]
    assert [each["downstream"] for each in said] == ["search", "payments"]
    assert said[1]["duration_s"] == 60
    assert said[0]["ended_at"] is None
    assert said[0]["planned"] is True
    assert [each["downstream"] for each in site.get("v1/incidents?target=payments").json()["items"]] == ["payments"]


@pytest.mark.parametrize(
    "path", ["v1/snapshot", "v1/downstreams", "v1/holds", "v1/windows", "v1/processes", "v1/events", "v1/audit"]
)
def test_who_asks_for_text_gets_a_table(site, path):
    site.put("v1/downstreams/payments/hold?wait=0", {**HOLD, "reason": "the\u202eprovider"})
    answer = site.get(path, headers={"Accept": "text/plain"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.splitlines()[0].isupper()
    assert answer.text.endswith("\n")
    assert all(sign.isprintable() or sign == "\n" for sign in answer.text)


def test_nothing_is_at_other_addresses(site):
    for path in ("v2", "v1/", "v1/downstreams/", "v1/downstreams/payments/", "../x", "static/main.js", "index.html/x"):
        problem(site.get(path), 404, "not-found")


def test_the_dashboard_is_served_with_its_files(site):
    page = site.get("", who=None)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    tag = page.headers["etag"]
    assert site.get("", who=None, headers={"If-None-Match": tag}).status_code == 304
    script = site.get("main.js", who=None)
    assert script.headers["content-type"].startswith("text/javascript")
    problem(site.get("none.js", who=None), 404, "not-found")


@pytest.mark.parametrize("prefix", ["/ops", "/a/b c/ops"])
def test_it_works_under_any_prefix(directory, pages, prefix):
    inner = app(directory, authenticator=Tokens.from_text(TEXT), hosts=["testserver"])
    outer = Starlette(routes=[Mount("/deep", Starlette(routes=[Mount(prefix, inner)])), Mount(prefix, inner)])
    client = TestClient(outer, headers=bearer("olga"))
    for base in (prefix, f"/deep{prefix}"):
        for path in READS:
            assert client.get(f"{base}/{path}").status_code == 200, path
        assert client.get(f"{base}/").headers["content-type"].startswith("text/html")
        assert client.get(f"{base}/nope/nope").headers["content-type"] == "application/problem+json"
        assert client.post(f"{base}/v1").status_code == 405
        assert client.get(f"{base}/v1/downstreams/a%2Fb").status_code == 404
    assert client.get(prefix, follow_redirects=False).headers["location"].endswith(f"{prefix}/".replace(" ", "%20"))


def test_the_mount_itself_leads_to_the_page_with_a_relative_link(directory, pages):
    inner = app(directory, authenticator=Tokens.from_text(TEXT), hosts=["testserver"])
    client = TestClient(inner, root_path="/x/ops")
    answer = client.get("/x/ops", follow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["location"] == "ops/"


def test_a_control_directory_that_is_not_there_is_told_and_found_later(tmp_path):
    from resilient.control.directory import Directory

    site = Site(tmp_path / "later")
    for path in READS:
        answer = site.get(path)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
    problem(site.put("v1/downstreams/payments/hold"), 503, "unavailable")
    made = Directory(tmp_path / "later", create=True, app="shop")
    assert site.get("v1/snapshot").status_code == 200
    made.close()


def test_a_directory_that_is_replaced_is_opened_anew(directory, tmp_path):
    from resilient.control.directory import Directory

    sites = [Site(directory.path), Site(directory)]
    for site in sites:
        assert site.get("v1").status_code == 200
    shutil.rmtree(directory.path)
    for site in sites:
        assert site.get("v1").status_code == 503
    other = Directory(directory.path, create=True, app="other")
    for site in sites:
        assert site.get("v1").json()["app"] == "other"
    other.close()


def test_an_application_is_found_by_its_name_or_by_the_environment(directory, monkeypatch, tmp_path):
    monkeypatch.setenv("RESILIENT_CONTROL_DIR", str(directory.path))
    tokens = Tokens.from_text(TEXT)
    for where in (None, "shop"):
        client = TestClient(app(where, authenticator=tokens, hosts=["testserver"]), headers=bearer("vic"))
        assert client.get("/v1").json()["app"] == "shop"
    monkeypatch.delenv("RESILIENT_CONTROL_DIR")
    monkeypatch.delenv("RESILIENT_APP", raising=False)
    with pytest.raises(ConfigError, match="control directory must be named"):
        app(authenticator=tokens, hosts=["testserver"])
    with pytest.raises(ConfigError, match="app must be"):
        app("a b", authenticator=tokens, hosts=["testserver"])


def test_a_fault_of_the_service_is_told_without_a_traceback(site, monkeypatch, caplog):
    def broken():
        raise ValueError("inner secret")

    monkeypatch.setattr(type(site.app.site.backend), "overview", lambda self: broken())
    said = problem(site.get("v1/snapshot"), 500, "fault")
    assert "secret" not in str(said)
    assert "inner secret" in caplog.text


def test_metrics_are_off_until_asked_for_and_then_need_a_viewer(directory, pages):
    problem(Site(directory).get("metrics"), 404, "not-found")
    site = Site(directory, metrics=True)
    problem(site.get("metrics", who=None), 401, "unauthenticated")
    answer = site.get("metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'resilient_control_process_count{state="live"} 2.0' in answer.text
    assert 'resilient_admin_denials_total{reason="auth"}' in answer.text
    asked = 'resilient_admin_request_duration_seconds_count{method="GET",role="",route="/metrics",status="401"}'
    assert asked in answer.text
    assert Site(directory, metrics="public").get("metrics", who=None).status_code == 200
    with pytest.raises(ConfigError, match="metrics must be"):
        Site(directory, metrics="yes")
