"""Who is let in: hosts, origins, tokens, roles; and what is said to those who are not."""

from __future__ import annotations

import logging

import pytest

from resilient.admin import Caller, Insecure, Tokens, app, new_token
from resilient.errors import ConfigError
from tests.admin._site import HOLD, TEXT, TOKENS, Site, bearer, problem

HOLD_PATH = "v1/downstreams/payments/hold"


def test_nothing_is_served_without_an_authenticator(directory):
    with pytest.raises(ConfigError, match="authenticator must be given"):
        app(directory, hosts=["*"])


def test_nothing_is_served_without_host_names(directory):
    with pytest.raises(ConfigError, match="hosts must be given"):
        app(directory, authenticator=Tokens.from_text(TEXT))


@pytest.mark.parametrize("hosts", [[], ["http://ops"], ["ops:80"], ["ops/"], [""], ["::1"]])
def test_host_names_that_cannot_be_any_are_refused(directory, hosts):
    with pytest.raises(ConfigError, match="hosts must be"):
        app(directory, authenticator=Tokens.from_text(TEXT), hosts=hosts)


def test_insecure_must_say_why_and_is_logged(directory, caplog):
    with pytest.raises(ConfigError, match="why must be"):
        Insecure("because")
    with caplog.at_level(logging.WARNING, "resilient.admin"):
        open_to_all = Insecure("a demo on a laptop")
    assert "without any secret: a demo on a laptop" in caplog.text
    site = Site(directory, hosts=["localhost"])
    assert site.get("v1", who=None).status_code == 401
    from starlette.testclient import TestClient

    served = app(directory, authenticator=open_to_all, hosts=["localhost"])
    client = TestClient(served, base_url="http://localhost")
    assert client.get("/v1").json()["role"] == "viewer"
    assert client.put("/v1/downstreams/payments/hold", json=dict(HOLD)).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1", "", "[::1]", "localhost@evil"])
@pytest.mark.parametrize("path", ["v1/snapshot", "healthz", "readyz", "openapi.json", ""])
def test_a_foreign_host_is_refused_everywhere(site, host, path):
    said = problem(site.get(path, headers={"Host": host}), 403, "host")
    assert "localhost" not in str(said)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8321", "localhost:1", "localhost."])
def test_the_own_host_is_served_on_every_port(site, host):
    assert site.get("v1", headers={"Host": host}).status_code == 200


def test_a_pattern_of_hosts_matches_those_below_it(directory):
    site = Site(directory, hosts=["*.example.com"])
    assert site.get("healthz", headers={"Host": "ops.example.com"}).status_code == 200
    problem(site.get("healthz", headers={"Host": "example.com"}), 403, "host")
    problem(site.get("healthz", headers={"Host": "ops.example.com.evil"}), 403, "host")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:81"},
        {"Origin": "file://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    ],
)
def test_a_change_from_another_site_is_refused_and_a_look_is_not_answered_to_it(site, headers):
    problem(site.put(HOLD_PATH, headers=headers), 403, "origin")
    problem(site.delete(HOLD_PATH, headers=headers), 403, "origin")
    seen = site.get("v1", headers=headers)
    assert seen.status_code == 200
    assert not [name for name in seen.headers if name.startswith("access-control")]


def test_no_answer_has_cors_headers(site):
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    answer = site.ask("OPTIONS", HOLD_PATH, headers=headers)
    problem(answer, 405, "method")
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "query",
    ["token=x", "access_token=abc", "Authorization=Bearer", f"q={TOKENS['ada']}", f"q=%72sl{TOKENS['ada'][3:]}"],
    ids=["token", "access_token", "header", "any", "escaped"],  # tokens are new in each process; ids must not be
)
def test_a_token_in_the_address_is_refused_even_if_it_is_good(site, query):
    said = problem(site.get(f"v1/snapshot?{query}"), 400, "token-in-url")
    assert "replace it" in said["detail"]
    problem(site.get(f"?{query}", who=None), 400, "token-in-url")


def test_a_token_in_the_path_is_refused(site):
    problem(site.get(f"v1/downstreams/{TOKENS['vic']}"), 400, "token-in-url")


def test_every_bad_credential_gets_the_same_answer(directory):
    good = TOKENS["ada"]
    bad = [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {good[:-1]}{'0' if good[-1] != '0' else '1'}"},
        {"Authorization": f"Bearer rsl_000000000000_{'0' * 64}"},
        {"Authorization": f"Basic {good}"},
        {"Authorization": f"Bearer {good} {good}"},
        {"Authorization": b"Bearer \xff\xfe"},
    ]
    answers = set()
    for headers in bad:  # each with a limit of its own
        answer = Site(directory).get("v1", who=None, headers=headers)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        answers.add(answer.text)
    assert len(answers) == 1


def test_a_token_is_good_in_one_header_only(site):
    twice = [("Host", "localhost"), *(("Authorization", f"Bearer {TOKENS['ada']}"),) * 2]
    assert site.client.get("/v1", headers=twice).status_code == 401


def test_failures_of_a_peer_are_slowed_down_and_a_good_token_still_passes(site, caplog):
    for _ in range(10):
        problem(site.get("v1", who=None), 401, "unauthenticated")
    answer = site.get("v1", who=None)
    problem(answer, 429, "too-many-failures")
    assert 1 <= int(answer.headers["retry-after"]) <= 6
    assert site.get("v1").status_code == 200, "who shares an address with an attacker is not locked out"
    assert site.app.site.denials.counts["auth"] == 11
    denied = [record for record in caplog.records if getattr(record, "event", "") == "resilient.admin.denied"]
    assert len(denied) == 10, "what is slowed down does not fill the log"
    assert denied[0].peer == "testclient"


def test_an_authenticator_whose_secrets_can_be_guessed_is_not_even_asked_after_too_many(directory):
    class Pin:
        asked = 0

        async def authenticate(self, connection):
            self.asked += 1
            return Caller("pat", "viewer") if connection.headers.get("x-pin") == "1234" else None

    from starlette.testclient import TestClient

    pin = Pin()
    client = TestClient(app(directory, authenticator=pin, hosts=["localhost"]), base_url="http://localhost")
    assert client.get("/v1", headers={"X-Pin": "1234"}).json()["name"] == "pat"
    for _ in range(10):
        assert client.get("/v1").status_code == 401
    assert client.get("/v1", headers={"X-Pin": "1234"}).status_code == 429
    assert pin.asked == 11


def test_an_authenticator_that_fails_lets_nobody_in(directory, caplog):
    class Broken:
        def authenticate(self, connection):
            raise RuntimeError("down")

    from starlette.testclient import TestClient

    client = TestClient(app(directory, authenticator=Broken(), hosts=["localhost"]), base_url="http://localhost")
    assert client.get("/v1").status_code == 401
    assert "down" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", HOLD_PATH, HOLD),
        ("DELETE", HOLD_PATH, None),
        ("PUT", "v1/downstreams/payments/retries", HOLD),
        ("DELETE", "v1/downstreams/payments/retries", None),
        ("POST", "v1/downstreams/payments/commands", {"command": "reset", "reason": "because"}),
        ("POST", "v1/windows", {}),
        ("POST", "v1/windows/x/end", {}),
        ("PATCH", "v1/holds/x", {}),
        ("DELETE", "v1/holds/x", None),
        ("PUT", "v1/rules", {"rules": []}),
    ],
)
def test_a_viewer_changes_nothing(site, method, path, body):
    said = problem(site.ask(method, path, who="vic", json=body), 403, "role")
    assert said["role"] == "viewer"
    assert said["allowed"] in ("operator", "admin")


def test_rules_are_an_admins(site):
    said = problem(site.put("v1/rules", {"rules": []}, who="olga"), 403, "role")
    assert said["allowed"] == "admin"


def test_a_token_for_some_downstreams_changes_no_others(site):
    said = problem(site.put("v1/downstreams/search/hold", who="paula"), 403, "role")
    assert said["allowed"] == ["pay*"]
    problem(site.put("v1/downstreams/search/retries", {**HOLD, "mode": "no_retries"}, who="paula"), 403, "role")
    body = {"command": "reset", "reason": "because"}
    problem(site.post("v1/downstreams/search/commands", body, who="paula"), 403, "role")
    window = {
        "selector": "*",
        "reason": "upgrade",
        "starts_at": "2099-01-01T00:00:00Z",
        "ends_at": "2099-01-01T01:00:00Z",
    }
    problem(site.post("v1/windows", window, who="paula"), 403, "role")
    assert site.get("v1/downstreams/search", who="paula").status_code == 200, "reading is not limited"


def test_refusals_are_counted_by_reason(site):
    site.get("v1", headers={"Host": "evil"})
    site.get("v1?token=x")
    site.put(HOLD_PATH, who="vic")
    site.put(HOLD_PATH, headers={"Origin": "http://evil"})
    assert site.app.site.denials.counts == {"host": 1, "token_in_url": 1, "role": 1, "origin": 1}


def test_no_token_is_in_any_log(site, caplog):
    with caplog.at_level(logging.DEBUG):
        site.get("v1")
        site.get(f"v1?token={TOKENS['ada']}")
        site.get(f"v1/downstreams/{TOKENS['ada']}")
        site.get("v1", who=None, headers={"Authorization": f"Bearer {TOKENS['ada']}x"})
        site.put(HOLD_PATH, who="vic")
    for record in caplog.records:
        if record.name.startswith("resilient"):
            assert "rsl_" not in record.getMessage() + str(record.__dict__)


def test_a_method_that_is_not_offered_says_which_are(site):
    answer = site.ask("POST", "v1/snapshot")
    said = problem(answer, 405, "method")
    assert answer.headers["allow"] == "GET, HEAD"
    assert said["allowed"] == ["GET", "HEAD"]


def test_head_is_get_without_a_body(site):
    answer = site.ask("HEAD", "v1/snapshot")
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["etag"]


def test_every_answer_has_the_headers_of_a_page_that_trusts_nobody(site):
    for answer in (site.get(""), site.get("v1"), site.get("nothing"), site.get("v1", who=None)):
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
            "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers


def test_a_token_is_shown_once_and_kept_as_a_digest():
    token, line = new_token("alice", "operator", only=("pay*", 'a"b\\c'))
    assert token not in line
    assert token.rsplit("_", 1)[1] not in line
    known = Tokens.from_text(f"[admin.tokens]\n{line}")
    assert known.roles() == {"operator"}
    assert "alice" in repr(known)
    assert token.rsplit("_", 1)[1] not in repr(known)
    (caller, _), *_ = known._known.values()
    assert caller == Caller("alice", "operator", ("pay*", 'a"b\\c'))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must have a table"),
        ("tokens = 1", "must have a table"),
        ("[tokens", "must be TOML"),
        ("[tokens]\na = 1", "must be tables"),
        ('[tokens.a]\nname = "a"\nrole = "viewer"', "sha256 must be 64 hexadecimal digits"),
        (f'[tokens.a]\nname = "a"\nrole = "root"\nsha256 = "{"0" * 64}"', "role must be one of"),
        (f'[tokens.a]\nname = ""\nrole = "admin"\nsha256 = "{"0" * 64}"', "name must be"),
        (f'[tokens.a]\nnam = "x"\nrole = "admin"\nsha256 = "{"0" * 64}"', "got also nam"),
        (f'[tokens.a]\nname = "a"\nrole = "admin"\nsha256 = "{"0" * 64}"\nonly = []', "only must be"),
        (f'[tokens.a]\nname = "a"\nrole = "admin"\nsha256 = "{TOKENS["ada"]}"', "never put a token itself here"),
    ],
)
def test_what_is_no_table_of_tokens_is_refused_without_showing_one(text, said):
    with pytest.raises((ConfigError, TypeError), match=said) as caught:
        Tokens.from_text(text)
    assert "rsl_" not in str(caught.value)


def test_a_file_of_tokens_that_others_may_write_is_refused(tmp_path):
    place = tmp_path / "tokens.toml"
    place.write_text(TEXT)
    place.chmod(0o600)
    assert Tokens.from_file(place).roles() == {"viewer", "operator", "admin"}
    place.chmod(0o620)
    with pytest.raises(ConfigError, match="nobody else may write"):
        Tokens.from_file(place)
    with pytest.raises(ConfigError, match="cannot be read"):
        Tokens.from_file(tmp_path / "none.toml")


def test_tokens_come_from_the_environment(tmp_path):
    place = tmp_path / "tokens.toml"
    place.write_text(TEXT)
    place.chmod(0o600)
    assert Tokens.from_env({}) is None
    assert Tokens.from_env({"RESILIENT_ADMIN_TOKENS": TEXT}).roles()
    assert Tokens.from_env({"RESILIENT_ADMIN_TOKENS_FILE": str(place)}).roles()
    with pytest.raises(ConfigError, match="both set"):
        Tokens.from_env({"RESILIENT_ADMIN_TOKENS": TEXT, "RESILIENT_ADMIN_TOKENS_FILE": str(place)})


def test_a_bearers_name_is_that_of_the_audit(site):
    assert site.get("v1", who="paula").json()["only"] == ["pay*"]
    assert bearer("vic")["Authorization"].startswith("Bearer rsl_")
