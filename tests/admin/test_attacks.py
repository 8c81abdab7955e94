"""What somebody tries who has no token, a small one, or a bad intent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from resilient.admin import Caller, Tokens, app, new_token
from resilient.control.intent import matches
from tests.admin._site import HOLD, TEXT, TOKENS, Site, bearer, problem

HOLD_PATH = "v1/downstreams/payments/hold"


def window(selector, **more):
    start = datetime.now(UTC) + timedelta(hours=1)
    return {
        "selector": selector,
        "reason": "upgrade",
        "starts_at": start.isoformat(),
        "ends_at": (start + timedelta(hours=1)).isoformat(),
        **more,
    }


# -- tokens that reach some downstreams ------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "selector", "escapes_to"),
    [
        ("p?y", "p*y", "paypay"),
        ("pay[!0-9]", "pay*", "pay1"),
        ("???", "*a*", "payments"),
        ("a*b*c", "a[!b]c", "axc"),
        ("[ab]x", "*x", "cx"),
        ("pay*s", "pay[*]s*", "pay*search"),
    ],
)
def test_a_pattern_reaches_no_further_than_that_of_the_token(only, selector, escapes_to):
    assert matches(selector, escapes_to)
    assert not matches(only, escapes_to)
    assert not Caller("paula", "operator", (only,)).reaches_all(selector)


@pytest.mark.parametrize(
    ("only", "selector", "reached"),
    [
        ("*", "anything*", True),
        ("pay*", "pay*", True),
        ("pay*", "payments", True),
        ("pay*", "payments-*-eu", True),
        ("pay*", "pay?[ab]*", True),
        ("p?y", "pay", True),
        ("p?y", "p?y", True),
        ("pay*", "[p]ay", False),
        ("pay*", "*", False),
        ("pay*", "pa*", False),
        ("*-eu", "x-*-eu", False),
    ],
)
def test_a_pattern_within_that_of_the_token_is_reached(only, selector, reached):
    assert Caller("paula", "operator", (only,)).reaches_all(selector) is reached


def limited(directory, role, *only):
    token, line = new_token("lena", role, only=only)
    made = app(directory, authenticator=Tokens.from_text(f"[tokens]\n{line}"), hosts=["localhost"])
    return TestClient(made, base_url="http://localhost", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.usefixtures("pages")
def test_a_maintenance_is_no_way_around_the_limits_of_a_token(directory):
    client = limited(directory, "operator", "p??????s")
    assert not client.get("/v1/windows").json()["items"]
    problem(client.post("/v1/windows?wait=0", json=window("*ayment?")), 403, "role")
    problem(client.post("/v1/windows?wait=0", json=window("p*****?s")), 403, "role")
    problem(client.post("/v1/windows?dry_run=true", json=window("*s")), 403, "role")
    made = client.post("/v1/windows?wait=0", json=window("payments"))
    assert made.status_code in (201, 202)


def test_rules_are_for_all_downstreams_and_no_matter_for_a_token_for_some(site, directory):
    tag = site.get("v1/rules").headers["etag"]
    client = limited(directory, "admin", "pay*")
    said = problem(client.put("/v1/rules", json={"rules": []}, headers={"If-Match": tag}), 403, "role")
    assert said["allowed"] == ["pay*"]
    assert site.put("v1/rules?wait=0", {"rules": []}, who="ada", headers={"If-Match": tag}).status_code in (200, 202)


def test_what_others_hold_or_plan_is_out_of_reach_by_its_id_too(site, directory):
    hold = site.put("v1/downstreams/search/hold?wait=0", who="ada").json()["id"]
    plan = site.post("v1/windows?wait=0", window("sea*"), who="ada").json()["id"]
    client = limited(directory, "admin", "pay*")
    for method, path, body in (
        ("PATCH", f"/v1/holds/{hold}", {"ttl": "1s"}),
        ("DELETE", f"/v1/holds/{hold}", None),
        ("DELETE", f"/v1/downstreams/search/hold?hold_id={hold}", None),
        ("DELETE", f"/v1/downstreams/search/retries?hold_id={hold}", None),
        ("POST", f"/v1/windows/{plan}/end", {"reason": "because"}),
    ):
        problem(client.request(method, path, json=body), 403, "role")
    sly = client.delete(f"/v1/downstreams/payments/hold?hold_id={hold}")
    assert problem(sly, 422, "invalid")["parameter"] == "hold_id"
    assert site.get(f"v1/holds/{hold}").json()["status"] == "active"


# -- roles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["dry_run=true", "dry_run=1", "dry_run=true&allow_unknown=true", "wait=0"])
def test_a_dry_run_checks_the_role_first(site, query):
    problem(site.put(f"{HOLD_PATH}?{query}", who="vic"), 403, "role")
    problem(site.put(f"{HOLD_PATH}?{query}", who=None), 401, "unauthenticated")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "PUT"},
        {"X-Original-Method": "PUT"},
        {"X-Method-Override": "PUT"},
    ],
)
def test_no_header_makes_a_look_a_change(site, headers):
    site.ask("GET", "v1/downstreams/payments", headers=headers)
    problem(site.post(HOLD_PATH, HOLD, headers=headers), 405, "method")
    assert site.get("v1/holds").json()["items"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-User": "ada"},
        {"X-Remote-User": "ada"},
        {"Remote-User": "ada"},
        {"X-Role": "admin"},
        {"Cookie": f"token={TOKENS['ada']}"},
        {"Cookie": f"Authorization=Bearer {TOKENS['ada']}"},
        {"X-Authorization": f"Bearer {TOKENS['ada']}"},
        {"Proxy-Authorization": f"Bearer {TOKENS['ada']}"},
        {"X-Original-URL": "/healthz"},
        {"X-Rewrite-URL": "/healthz"},
        {"X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1"},
    ],
)
def test_a_token_is_taken_from_one_header_and_identity_from_none(site, headers):
    problem(site.get("v1/snapshot", who=None, headers=headers), 401, "unauthenticated")


def test_a_key_of_another_actor_is_another_key(site):
    body = {"command": "reset", "reason": "because"}
    path = "v1/downstreams/payments/commands?wait=0"
    first = site.post(path, body, headers={"Idempotency-Key": "k"}).json()["id"]
    assert site.post(path, body, headers={"Idempotency-Key": "k"}).json()["id"] == first
    assert site.post(path, body, who="otto", headers={"Idempotency-Key": "k"}).json()["id"] != first
    problem(site.post(path, body, who="vic", headers={"Idempotency-Key": "k"}), 403, "role")
    problem(site.post(path, {**body, "command": "probe"}, headers={"Idempotency-Key": "k"}), 409, "conflict")


# -- addresses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "//v1/snapshot",
        "v1//snapshot",
        "%2e%2e/v1",
        "v1/%2e%2e/v1/snapshot",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2fopenapi.py",
        "index.html%00",
        "index.html/",
        "INDEX.HTML",
        "v1%2fsnapshot",
        "v1;x=y",
        "v1/snapshot/",
        "%2f%2fevil.example",
        "static/index.html",
        ".git",
        "__init__.py",
    ],
)
def test_no_spelling_of_an_address_leads_past_a_check_or_out_of_the_files(site, path):
    answer = site.client.request("GET", f"http://localhost/{path}", follow_redirects=False)
    problem(answer, 404, "not-found")
    assert "location" not in answer.headers


@pytest.mark.parametrize("name", ["a/b", "../x", "a b", "%", "x\u2028y", "../../v1/rules", "hold", "é"])
def test_a_name_in_an_address_is_one_name_whatever_stands_in_it(site, name):
    from urllib.parse import quote

    path = f"v1/downstreams/{quote(name, safe='')}/hold"
    answer = site.put(f"{path}?allow_unknown=true&dry_run=true")
    if name.isprintable():
        assert answer.status_code == 200, answer.text
    else:
        problem(answer, 422, "invalid")
    assert "\r" not in str(answer.headers)


@pytest.mark.parametrize("name", ["%0d%0aSet-Cookie:x=y", "%00", "%1b[31m", "%ff%fe", "%e2%80%ae"])
def test_no_name_with_signs_that_cannot_be_seen_is_held_or_put_into_a_header(site, name, caplog):
    answer = site.put(f"v1/downstreams/{name}/hold?allow_unknown=true&wait=0")
    if name == "%ff%fe":  # what is no UTF-8 becomes the sign for that, which can be seen
        assert answer.status_code in (200, 202)
    else:
        problem(answer, 422, "invalid")
    assert "set-cookie" not in answer.headers
    for record in caplog.records:
        assert "\n" not in record.getMessage()
        assert "\x1b" not in record.getMessage()


@pytest.mark.parametrize("prefix", ["/ops", "/a/b", "/v1", "/v1/snapshot", "/ops/"])
@pytest.mark.parametrize("path", ["v1/snapshot", "v1/holds"])
def test_a_prefix_changes_nothing_about_who_is_let_in(directory, prefix, path):
    site = Site(directory, prefix=prefix)
    full = f"{prefix.rstrip('/')}/{path}"
    assert site.client.get(full, headers=bearer("vic")).status_code == 200
    problem(site.client.get(full), 401, "unauthenticated")
    problem(site.client.get(full, headers={**bearer("vic"), "Host": "evil"}), 403, "host")
    problem(site.client.put(f"{prefix.rstrip('/')}/{HOLD_PATH}", json=dict(HOLD), headers=bearer("vic")), 403, "role")


def test_a_mount_without_slash_leads_nowhere_else(directory):
    for prefix in ("/ops", "//evil.example"):
        answer = Site(directory, prefix=prefix).client.get(prefix, follow_redirects=False)
        if answer.status_code == 308:
            assert "//" not in answer.headers["location"]
            assert ":" not in answer.headers["location"]


# -- hosts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "[::1].evil.example",
        "[::1]evil.example:80",
        "[::1",
        "localhost:80:90",
        "localhost:evil.example",
        "localhost:80/evil",
        "localhost:80@evil.example",
        "localhost:",
        "localhost..",
        "localhost, evil.example",
        "localhost@evil.example",
        "localhost/evil",
        ".localhost",
        "localhost%00",
    ],
)
def test_a_host_header_that_is_no_name_and_port_is_refused(directory, host):
    site = Site(directory, hosts=["localhost", "[::1]"])
    problem(site.get("v1", headers={"Host": host}), 403, "host")


@pytest.mark.parametrize("host", ["[::1]", "[::1]:8321", "Localhost.:8321"])
def test_a_host_header_that_is_one_of_ours_in_another_spelling_is_served(directory, host):
    site = Site(directory, hosts=["localhost", "[::1]"])
    assert site.get("v1", headers={"Host": host}).status_code == 200


def test_two_host_headers_are_none(site):
    twice = [("Host", "localhost"), ("Host", "evil.example"), *bearer("vic").items()]
    assert site.client.get("/v1", headers=twice).status_code == 403


# -- bodies ----------------------------------------------------------------------------------


def sent(site, body, who="ada", kind="application/json"):
    content = body if isinstance(body, bytes) else body.encode()
    return site.ask("PUT", f"{HOLD_PATH}?wait=0", who=who, content=content, headers={"Content-Type": kind})


@pytest.mark.parametrize(
    "ttl",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1",
        "0",
        "1e-320",
        "1" + "0" * 400,
        "true",
        "null",
        "[]",
        '{"a": 1}',
        '"1e3"',
        '" 45m"',
        '"45m\\n"',
        '"\u0663m"',
        '"99999999999999d"',
    ],
)
def test_a_time_that_is_none_is_refused(site, ttl):
    said = problem(sent(site, f'{{"mode": "forced_open", "reason": "it is down", "ttl": {ttl}}}'), 422, "invalid")
    assert said["parameter"] == "ttl"
    assert site.get("v1/holds").json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        "[" * 60_000,
        '{"a":' * 10_000,
        f'{{"mode": {"[" * 20_000}1{"]" * 20_000}}}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"reason": "\xff\xfe"}',
        '{"reason": "\\ud800"}',
        '{"ttl": ' + "9" * 5_000 + "}",
        "",
        "{} {}",
    ],
)
def test_a_body_that_cannot_be_read_is_refused_without_harm(site, body):
    problem(sent(site, body), 400, "malformed")


def test_of_a_name_that_is_said_twice_one_value_is_checked_and_done(site):
    twice = '{"mode": "observe", "mode": "forced_open", "reason": "it is down", "ttl": 60, "ttl": 1e9}'
    problem(sent(site, twice), 422, "invalid")
    done = sent(site, twice.replace("1e9", "90"))
    (hold,) = site.get("v1/holds").json()["items"]
    assert done.json()["effective"] == hold["mode"] == "forced_open"
    request = site.get("v1/audit?action=place&outcome=done").json()["items"][0]["request"]
    assert (request["mode"], request["ttl"]) == ("forced_open", 90)


@pytest.mark.parametrize(
    "body",
    [
        {**HOLD, "reason": f"mine is {TOKENS['ada']}"},
        {**HOLD, "ticket": TOKENS["ada"]},
        {**HOLD, "ttl": TOKENS["ada"]},
        {**HOLD, "mode": TOKENS["ada"]},
        {**HOLD, TOKENS["ada"]: 1},
        {**HOLD, "break_glass": [TOKENS["ada"]]},
    ],
)
def test_a_token_in_a_body_is_refused_and_neither_kept_nor_repeated(site, directory, body, caplog):
    for text in (json.dumps(body), json.dumps(body).replace("rsl", "r\\u0073l")):
        said = problem(sent(site, text), 400, "token-in-body")
        assert "replace it" in said["detail"]
    secret = TOKENS["ada"].rsplit("_", 1)[1]
    assert secret not in caplog.text
    for file in directory.path.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()


def test_a_token_as_a_method_or_an_id_of_a_request_is_not_repeated(site):
    answer = site.ask(TOKENS["ada"], "v1")
    problem(answer, 405, "method")
    answer = site.put(f"{HOLD_PATH}?wait=0", headers={"X-Request-Id": TOKENS["ada"]})
    assert TOKENS["ada"] not in answer.headers["x-request-id"]


# -- preconditions ---------------------------------------------------------------------------


def test_a_star_in_quotation_marks_is_a_tag_like_any_other(site):
    site.put(f"{HOLD_PATH}?wait=0")
    problem(site.put(HOLD_PATH, headers={"If-Match": '"*"'}), 412, "stale")
    problem(site.put(HOLD_PATH, headers={"If-Match": '*, "x"'}), 412, "stale")
    assert site.put(f"{HOLD_PATH}?wait=0", headers={"If-Match": "*"}).status_code in (200, 202)


def test_the_tag_of_another_downstream_is_not_this_ones(site):
    site.put(f"{HOLD_PATH}?wait=0")
    site.put("v1/downstreams/search/hold?wait=0")
    tag = site.get("v1/downstreams/search").headers["etag"]
    problem(site.put(HOLD_PATH, headers={"If-Match": tag}), 412, "stale")
    problem(site.delete(HOLD_PATH, headers={"If-Match": tag}), 412, "stale")


# -- what is refused at the door stands in the audit, too --------------------------------------


def refused(site, **filters):
    query = "&".join(f"{name}={value}" for name, value in {"outcome": "refused", **filters}.items())
    return site.get(f"v1/audit?{query}").json()["items"]


def test_a_refused_login_is_audited_without_what_was_sent(site):
    site.ask("PUT", HOLD_PATH, who=None, json=dict(HOLD), headers={"Authorization": f"Bearer {TOKENS['ada']}0"})
    (row,) = refused(site, action="authenticate")
    assert (row["actor"], row["role"], row["via"]) == ("unknown", "none", "api")
    assert row["target"] == "/v1/downstreams/{name}/hold"
    assert row["request"] == {"method": "PUT", "peer": "testclient", "since_last": 1}
    assert "rsl_" not in json.dumps(row)
    assert site.get("v1/audit?verify=true").json()["ok"]


def test_a_refused_role_is_audited_with_who_it_was(site):
    site.put(HOLD_PATH, who="vic")
    site.put("v1/downstreams/search/hold", who="paula")
    site.put("v1/rules", {"rules": []}, who="olga")
    rows = refused(site, action="authorize")
    assert [(row["actor"], row["role"], row["target"]) for row in rows] == [
        ("olga", "operator", "/v1/rules"),
        ("paula", "operator", "search"),
        ("vic", "viewer", "payments"),
    ]
    assert "this needs the role admin" in rows[0]["reason"]


def test_what_is_refused_at_the_door_wakes_no_process(site, directory):
    before = directory.epoch.word[0], directory.revision()
    site.get("v1", who=None)
    site.put(HOLD_PATH, who="vic")
    assert len(refused(site)) == 2
    assert (directory.epoch.word[0], directory.revision()) == before


def test_who_tries_many_times_fills_no_audit_and_hides_nobody_elses_try(site):
    for _ in range(60):
        site.get("v1", who=None)
        site.put(HOLD_PATH, who="vic")
    logins, roles = refused(site, action="authenticate"), refused(site, action="authorize")
    assert len(logins) == 10
    assert 10 <= len(roles) <= 31
    site.put(HOLD_PATH.replace("payments", "search"), who="paula")
    assert refused(site, action="authorize")[0]["actor"] == "paula"


def test_how_many_were_not_written_down_is_told_by_the_next_row(site, monkeypatch):
    from resilient.admin.failures import Denials

    denials = Denials()
    told = [denials.row("auth") for _ in range(40)]
    assert told[:30] == [1] * 30
    assert told[30:] == [0] * 10
    denials._rows["auth"] = (1.0, *denials._rows["auth"][1:])
    assert denials.row("auth") == 11
    assert denials.row("role", "vic") == 1, "each has a measure of their own"


def test_a_record_that_cannot_be_written_lets_nobody_in_and_fails_no_answer(site, directory, caplog):
    (directory.path / "control.sqlite3").unlink()
    problem(site.get("v1", who=None), 401, "unauthenticated")
    problem(site.put(HOLD_PATH, who="vic"), 403, "role")
    assert "holds no record yet" in caplog.text


# -- mounted in an application of somebody else ------------------------------------------------


@pytest.fixture
def mounted(directory, pages):
    """The API two levels down in an application that has a route of its own, and answers to every host."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    ops = app(directory, authenticator=Tokens.from_text(TEXT), hosts=["localhost"])
    inner = Starlette(routes=[Mount("/ops", ops)])
    outer = Starlette(routes=[Route("/", lambda request: PlainTextResponse("theirs")), Mount("/internal", inner)])
    return TestClient(outer, base_url="http://localhost")


def test_a_mounted_app_checks_hosts_origins_tokens_and_roles_itself(mounted):
    base = "/internal/ops"
    evil = {"Host": "evil.example"}
    assert mounted.get("/", headers=evil).text == "theirs"
    problem(mounted.get(f"{base}/healthz", headers=evil), 403, "host")
    problem(mounted.get(f"{base}/v1", headers={**bearer("vic"), **evil}), 403, "host")
    problem(mounted.get(f"{base}/v1"), 401, "unauthenticated")
    assert mounted.get(f"{base}/v1", headers=bearer("vic")).json()["name"] == "vic"
    hold = f"{base}/v1/downstreams/payments/hold"
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        problem(mounted.put(hold, json=dict(HOLD), headers={**bearer("olga"), **headers}), 403, "origin")
    problem(mounted.put(hold, json=dict(HOLD), headers=bearer("vic")), 403, "role")
    problem(mounted.put(hold, json=dict(HOLD)), 401, "unauthenticated")
    problem(mounted.get(f"{base}/v1?token={TOKENS['vic']}", headers=bearer("vic")), 400, "token-in-url")
    assert mounted.put(f"{hold}?wait=0", json=dict(HOLD), headers=bearer("olga")).status_code in (200, 202)


@pytest.mark.parametrize(
    "path",
    [
        "/internal/ops//v1/snapshot",
        "/internal//ops/v1/snapshot",
        "/internal/ops/../ops/v1%2fsnapshot",
        "/internal/ops/%2e%2e/",
        "/internal/%6fps/v1/snapshot",
        "/internal/ops%2fv1/snapshot",
        "/internal/ops/v1/snapshot/internal/ops/healthz",
        "/internal/ops/internal/ops/healthz",
    ],
)
def test_no_spelling_of_a_mounted_address_is_let_in_without_a_token(mounted, path):
    assert mounted.get(path, follow_redirects=False).status_code in (401, 404)


def test_a_name_with_an_encoded_slash_is_one_name_below_a_mount(mounted):
    hold = "/internal/ops/v1/downstreams/internal%2Fops%2Fhold/hold?allow_unknown=true&wait=0"
    assert mounted.put(hold, json=dict(HOLD), headers=bearer("olga")).status_code in (200, 202)
    (one,) = mounted.get("/internal/ops/v1/holds", headers=bearer("vic")).json()["items"]
    assert one["target"] == "internal/ops/hold"


def test_a_limited_token_cannot_reach_another_name_by_encoding_slashes(directory, pages):
    client = limited(directory, "operator", "pay*")
    for name in ("pay%2F..%2Fsearch", "..%2Fsearch", "search%3Fx=pay", "PAYMENTS", "%70ayments%2f..%2fsearch"):
        answer = client.put(f"/v1/downstreams/{name}/hold?allow_unknown=true&wait=0", json=dict(HOLD))
        assert answer.status_code in (200, 202, 403)
    held = {each["target"] for each in client.get("/v1/holds").json()["items"]}
    assert all(name.startswith("pay") for name in held), held
    assert "search" not in held


# -- metrics -----------------------------------------------------------------------------------


def test_metrics_are_not_there_unless_asked_for_and_then_not_for_everybody(directory, pages):
    problem(Site(directory).get("metrics", who="ada"), 404, "not-found")
    asked = Site(directory, metrics=True)
    problem(asked.get("metrics", who=None), 401, "unauthenticated")
    shown = asked.get("metrics")
    assert shown.status_code == 200
    asked.put(f"{HOLD_PATH}?wait=0", {**HOLD, "reason": "words-of-olga", "ticket": "CHG-4411"})
    shown = asked.get("metrics").text
    assert 'resilient_hold_active{downstream="payments",mode="forced_open"} 1.0' in shown
    for word in ("words-of-olga", "CHG-4411", "olga", "h-"):
        assert word not in shown.replace("with-", ""), "no label carries what people wrote, or who they are"


def test_what_anybody_may_ask_for_is_made_once(site, monkeypatch):
    from resilient.admin import openapi

    first = site.get("openapi.json", who=None)
    monkeypatch.setattr(openapi, "document", lambda endpoints: pytest.fail("made again"))
    assert site.get("openapi.json", who=None).json() == first.json()
    assert first.headers["content-type"] == "application/json"
    for _ in range(5):  # one look of all askers together serves them for half a second
        assert site.get("readyz", who=None).status_code == 200


@pytest.mark.parametrize("host", ["\x1b[2J", "a\nresilient.audit forged", "x" * 50_000, "\u202e"])
def test_an_address_that_a_proxy_passes_on_writes_no_lines_of_its_own(directory, caplog, host):
    made = app(directory, authenticator=Tokens.from_text(TEXT), hosts=["localhost"])
    client = TestClient(made, base_url="http://localhost", client=(host, 1))
    problem(client.get("/v1"), 401, "unauthenticated")
    assert "from unreadable" in caplog.text
    assert host not in caplog.text
