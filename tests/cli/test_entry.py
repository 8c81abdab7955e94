"""The command can be started in every way, says what it can do, and what it needs."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from importlib import metadata
from pathlib import Path

import pytest
import typer.main

from resilient.cli import exits, root
from tests.cli._shell import environment, here, member, resilient

DIGEST = "ab" * 32


def commands(command, before=()):
    for name, each in sorted(command.commands.items()):
        if hasattr(each, "commands"):
            yield from commands(each, (*before, name))
        else:
            yield (*before, name)


def test_the_script_is_installed():
    script = Path(sys.executable).with_name("resilient")
    if not script.exists():  # an environment that was made before the script was
        pytest.skip("this environment has no script `resilient`; install the project again")
    done = resilient("--version", command=(str(script),))
    assert (done.code, done.out) == (0, f"resilient {metadata.version('resilient-client')}\n")


def test_every_command_of_the_operators_is_there_and_explains_itself():
    found = list(commands(typer.main.get_command(root.application())))
    assert found == [
        ("admin", "serve"), ("audit",), ("config", "check"), ("doctor",), ("incident", "report"), ("maint", "end"),
        ("maint", "list"), ("maint", "schedule"), ("probe",), ("processes",), ("release",), ("reset",), ("retries",),
        ("rules", "set"), ("rules", "show"), ("show",), ("status",), ("token", "new"), ("trip",),
    ]  # fmt: skip
    for each in found:
        done = here(*each, "-h")
        assert done.code == 0
        for option in ("--dir", "--app", "--output", "--yes", "--no-color"):
            assert option in done.out


def test_the_exit_codes_are_those_that_are_documented():
    text = here("--help").out
    text = " ".join(text.split())
    for code in (exits.APPLIED, exits.FOUND, exits.USAGE, exits.REFUSED, exits.PARTLY, exits.UNREACHABLE):
        assert f"{code} " in text.partition("Exit codes:")[2]
    assert "78 unsafe" in text


@pytest.mark.parametrize(("missing", "words"), [("typer", ["status"]), ("typer", []), ("rich", ["trip", "x"])])
def test_without_typer_it_says_what_to_install(missing, words):
    code = f"import sys; sys.modules[{missing!r}] = None; from resilient.cli import main; main({words!r})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment(), check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"needs {missing}, which is not installed" in done.stderr
    assert 'python3 -m pip install "resilient-client[cli]"' in done.stderr


def test_names_are_completed_from_live_pages(place):
    script = f"resilient trip --dir {place} pay"
    more = {"_RESILIENT_COMPLETE": "complete_bash", "COMP_WORDS": script, "COMP_CWORD": "4"}
    with member(place, "payments", "payouts", "search"):
        done = here(**more)
        assert done.out.split() == ["payments", "payouts"]
        more = {"COMP_WORDS": "resilient show sea", "COMP_CWORD": "2", "RESILIENT_CONTROL_DIR": str(place)}
        assert here(_RESILIENT_COMPLETE="complete_bash", **more).out.split() == ["search"]
    more["RESILIENT_CONTROL_DIR"] = str(place / "nowhere")
    done = here(_RESILIENT_COMPLETE="complete_bash", **more)
    assert (done.out.strip(), done.err) == ("", "")


def test_a_settings_file_is_checked(tmp_path):
    file = tmp_path / "resilient.toml"
    file.write_text("[control]\napp = 'checkout'\n")
    done = here("config", "check", str(file))
    assert (done.code, done.out) == (0, f"{file}: good; 0 tokens, no rules.\n")
    file.write_text("[control]\nap = 'checkout'\n[admin]\nport = -1\n")
    done = here("config", "check", str(file))
    assert (done.code, done.out) == (2, "")
    assert "control.ap: unknown key; did you mean 'app'?" in done.err
    found = here("config", "check", str(file), "-o", "json").json
    assert (found["valid"], len(found["problems"])) == (False, 2)


def test_a_token_is_shown_once_and_its_digest_is_for_the_settings(tmp_path):
    done = here("token", "new", "night-shift", "--role", "operator", "--only", "payments-*")
    token = done.out.strip()
    assert token.startswith("rsl_")
    assert token not in done.err
    assert token.partition("_")[2].partition("_")[2] not in done.err
    file = tmp_path / "resilient.toml"
    file.write_text(done.err[done.err.index("[admin.tokens]") :])
    assert here("config", "check", str(file)).out == f"{file}: good; 1 token, no rules.\n"
    assert here("token", "new", "x", "--role", "operator", "-o", "json").json.keys() == {"token", "settings"}
    assert here("token", "new", "x", "--role", "boss").code == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--host", "0.0.0.0"), 78, "no token of an operator"),
        (("--host", "0.0.0.0", "--config", "with.toml"), 78, "in the clear"),
        (("--config", "wrong.toml"), 2, "admin.prt: unknown key; did you mean 'port'?"),
        (("--tls-cert", "cert.pem"), 2, "tls_cert and tls_key must be given together"),
        (("--host", "not a host"), 2, "host must be"),
    ],
)
def test_the_server_refuses_to_listen_where_that_is_not_safe(place, tmp_path, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    entry = f"0123456789ab = {{ name = 'ann', role = 'operator', sha256 = '{DIGEST}' }}"
    Path("with.toml").write_text(f"[admin.tokens]\n{entry}\n")
    Path("wrong.toml").write_text("[admin]\nprt = 1\n")
    done = here("admin", "serve", "--port", "0", *words, "--dir", str(place))
    assert (done.code, done.out) == (code, "")
    assert said in done.err


def test_the_server_serves_what_the_settings_say(place, tmp_path):
    token = here("token", "new", "ann", "--role", "viewer", "-o", "json").json
    file = tmp_path / "resilient.toml"
    control = f"[control]\ndirectory = '{place}'\n"
    file.write_text(f"{control}[admin]\nport = 0\n[admin.tokens]\n{token['settings']}\n")
    command = [sys.executable, "-m", "resilient.cli", "admin", "serve", "--config", str(file)]
    with (
        member(place, "payments"),
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        ) as server,
    ):
        try:
            address = server.stdout.readline().split()[-1]
            request = urllib.request.Request(
                f"{address}v1/processes", headers={"Authorization": f"Bearer {token['token']}"}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 200
        finally:
            server.terminate()
            out, err = server.communicate(timeout=10)
    assert token["token"] not in out + err


def test_following_ends_with_ctrl_c(place):
    with member(place, "payments"):
        command = [sys.executable, "-m", "resilient.cli", "audit", "--follow", "--dir", str(place)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        ) as it:
            assert it.stdout.readline().startswith("SEQ  AT")
            here("trip", "payments", "--reason", "why not", "--for", "1m", "--dir", str(place))
            assert "  place  payments  done  why not" in it.stdout.readline()
            it.send_signal(signal.SIGINT)
            out, err = it.communicate(timeout=10)
        assert (it.returncode, out, err) == (0, "", "")


def test_the_settings_of_the_documentation_are_good(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    file = tmp_path / "resilient.toml"
    file.write_text(page.partition("```toml\n")[2].partition("```")[0], "utf-8")
    done = here("config", "check", str(file))
    assert (done.code, done.out) == (0, f"{file}: good; 1 token, 1 rule.\n")


def test_the_page_has_every_command_and_every_exit_code():
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    for each in commands(typer.main.get_command(root.application())):
        assert f"`{' '.join(each)}" in page
    codes = {value for name, value in vars(exits).items() if name.isupper()}
    assert {
        int(line.split()[1]) for line in page.splitlines() if line.startswith("| ") and line.split()[1].isdigit()
    } == codes
