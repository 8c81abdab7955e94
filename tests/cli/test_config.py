"""`resilient.toml` is taken as it is meant, or refused with everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilient.control import config
from resilient.control.intent import Rule
from resilient.errors import ConfigError

DIGEST = "ab" * 32
WHOLE = f"""
[control]
app = "checkout"
directory = "run"
statistics = false

[admin]
host = "0.0.0.0"
port = 9000
hosts = ["ops.internal"]
metrics = true
critical = ["payments"]
tls_cert = "cert.pem"
tls_key = "/etc/key.pem"

[admin.tokens]
0123456789ab = {{ name = "grafana", role = "viewer", sha256 = "{DIGEST}" }}
ba9876543210 = {{ name = "night-shift", role = "operator", sha256 = "{DIGEST}", only = ["payments-*"] }}

[[rules]]
id = "search-stays"
kind = "min_available"
group = ["search-*"]
n = 1

[[rules]]
id = "short"
kind = "max_ttl"
seconds = "4h"
"""


def write(tmp_path, text):
    path = tmp_path / "resilient.toml"
    path.write_text(text, "utf-8")
    return path


def test_every_setting_arrives(tmp_path):
    found = config.load(write(tmp_path, WHOLE))
    assert found.control == config.ControlSettings(app="checkout", directory=tmp_path / "run", statistics=False)
    assert (found.admin.host, found.admin.port, found.admin.hosts) == ("0.0.0.0", 9000, ("ops.internal",))
    assert (found.admin.metrics, found.admin.critical) == (True, ("payments",))
    assert (found.admin.tls_cert, found.admin.tls_key) == (tmp_path / "cert.pem", Path("/etc/key.pem"))
    assert found.admin.tokens == (
        config.TokenSettings(id="0123456789ab", name="grafana", role="viewer", sha256=DIGEST),
        config.TokenSettings(
            id="ba9876543210", name="night-shift", role="operator", sha256=DIGEST, only=("payments-*",)
        ),
    )
    assert found.rules == (
        Rule(id="search-stays", kind="min_available", group=("search-*",), n=1),
        Rule(id="short", kind="max_ttl", seconds=14400.0),
    )


def test_an_empty_file_means_the_defaults(tmp_path):
    found = config.load(write(tmp_path, ""))
    assert found == config.Config()
    assert found.rules is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[contrl]", "contrl: unknown key; did you mean 'control'?"),
        ("[control]\nap = 'x'", "control.ap: unknown key; did you mean 'app'?"),
        ("[control]\nzzz = 'x'", "control.zzz: unknown key; known are app, directory, statistics"),
        ("control = 1", "control must be a table, got 1"),
        ("[control]\napp = 'a b'", "control.app must be 1 to 64 letters, digits, '.', '_' or '-', got 'a b'"),
        ("[control]\nstatistics = 1", "control.statistics must be true or false, got 1"),
        ("[control]\ndirectory = ''", "control.directory must be a path, got ''"),
        ("[admin]\nport = 70000", "admin.port must be a whole number from 0 to 65535, got 70000"),
        ("[admin]\nport = true", "admin.port must be a whole number from 0 to 65535, got True"),
        ("[admin]\nhosts = 'x'", "admin.hosts must be a list of names, got 'x'"),
        ("[admin]\ntls_cert = 'x'", "admin.tls_cert and admin.tls_key must be set together"),
        ("[admin]\ntokens = ['x']", "admin.tokens must be tables under the ids of tokens"),
        ("[admin.tokens.0123456789ab]\nname = 'a'", "admin.tokens.0123456789ab.role is required"),
        (
            "[admin.tokens.0123456789ab]\nrole = 'operater'",
            "must be one of viewer, operator, admin (did you mean operator?)",
        ),
        ("[[rules]]\nid = 'a'", "rules[0].kind is required"),
        ("[[rules]]\nid = 'a'\nkind = 'nevr'", "(did you mean never?), got 'nevr'"),
        ("[[rules]]\nid = 'a'\nkind = 'never'", "rules[0].group is required"),
        ("[[rules]]\nid = 'a'\nkind = 'max_ttl'\nn = 1", "rules[0].n: unknown key; known are group, id, kind, seconds"),
        ("[[rules]]\nid = 'a'\nkind = 'min_available'", "rules[0].n is required"),
        ("[[rules]]\nid='a'\nkind='never'\ngroup=[]", "rules[0].group must be a list of at least one name or pattern"),
        ("[[rules]]\nid='a'\nkind='max_ttl'\nseconds='soon'", "rules[0].seconds must be a duration above 0"),
        ("[[rules]]\nid='a'\nkind='max_forced_open_fraction'\nfraction=2", "must be a number from 0 to 1, got 2"),
        ("x = ", "no TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_what_is_allowed(tmp_path, text, complaint):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert complaint in str(caught.value)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, "[control]\nap = 1\n[admin]\nport = -1\n[[rules]]\nid = 'a'\n"))
    assert len(str(caught.value).splitlines()) == 3


def test_what_must_be_unique_is(tmp_path):
    token = f"[admin.tokens.{{}}]\nname = 'a'\nrole = 'viewer'\nsha256 = '{DIGEST}'\n"
    rule = "[[rules]]\nid = 'r'\nkind = 'never'\ngroup = 'x'\n"
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, token.format("a" * 12) + token.format("b" * 12) + 3 * rule))
    assert "admin.tokens: name 'a' is there 2 times" in str(caught.value)
    assert "rules: id 'r' is there 3 times" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[admin.tokens.0123456789ab]\nname='a'\nrole='viewer'\nsha256='{}'\n",
        "[admin.tokens]\n{} = {{ name = 'a', role = 'viewer' }}\n",
        "[admin]\ntokens = ['{}']\n",
    ],
)
def test_a_token_that_stands_where_its_digest_should_is_not_repeated(tmp_path, text):
    secret = "rsl_0123456789ab_verysecret"
    with pytest.raises(ConfigError, match="as `resilient token new` prints") as caught:
        config.load(write(tmp_path, text.format(secret)))
    assert secret not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "nowhere.toml")


def test_the_file_is_the_one_that_is_named_or_the_one_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESILIENT_CONFIG", raising=False)
    assert config.find() is None
    write(tmp_path, "")
    assert config.find() == Path("resilient.toml")
    monkeypatch.setenv("RESILIENT_CONFIG", "/etc/other.toml")
    assert config.find() == Path("/etc/other.toml")
