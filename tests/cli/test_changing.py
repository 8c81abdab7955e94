"""What is changed from a shell lands in every live process, or the exit code says what happened instead."""

from __future__ import annotations

import sqlite3

import pytest

from resilient.control.directory import Directory
from resilient.control.operations import Operations
from resilient.control.receipts import Who
from tests.cli._pty import Terminal
from tests.cli._shell import here, member, resilient

WHY = ("--reason", "INC-7: wrong amounts")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two processes that apply every change."""
    place = tmp_path_factory.mktemp("resilient") / "checkout"
    with member(place, "payments", "search", "stock"), member(place, "payments", "stock"):
        yield place


@pytest.fixture
def run(two):
    """Run the command on them, and release everything afterwards."""
    yield lambda *words, **more: here(*words, "--dir", str(two), **more)
    operations = Operations(Directory(two))
    for hold in operations.holds():
        operations.release(hold.target, hold_id=hold.id, who=Who("tests", "admin", "cli"))
    for window in operations.windows():
        operations.end_window(window.id, reason="the test is over", who=Who("tests", "admin", "cli"))
    operations.set_rules([], who=Who("tests", "admin", "cli"))
    operations.directory.close()


def holds(place, target=None):
    directory = Directory(place)
    try:
        return Operations(directory).holds(target)
    finally:
        directory.close()


def test_a_trip_lands_everywhere_and_a_release_ends_it(two):
    done = resilient("trip", "payments", *WHY, "--for", "45m", "--ticket", "INC-7", "--dir", str(two))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("payments: forced open until 20")
    assert "237 calls/s, 18 in flight" in done.out
    assert "In force in 2 of 2 processes" in done.out.splitlines()[-1]
    (hold,) = holds(two)
    assert (hold.mode, hold.reason, hold.ticket, hold.via) == ("forced_open", "INC-7: wrong amounts", "INC-7", "cli")
    assert hold.ttl == 2700
    done = resilient("release", "payments", "--dir", str(two))
    assert done.code == 0
    assert "payments: released" in done.out
    assert done.err.startswith("Calls come back in steps")
    assert "did you mean payments?" in resilient("release", "paymnts", "--dir", str(two)).err
    assert holds(two) == []


def test_a_receipt_is_one_object_for_a_name_and_a_list_for_a_pattern(run):
    keys = {
        "target", "revision", "id", "status", "effective", "masked_by", "expires_at", "impact", "audit_seq",
        "audit_hash", "dry_run", "overridden", "convergence",
    }  # fmt: skip
    one = run("trip", "payments", *WHY, "--for", "45m", "-o", "json").json
    assert one.keys() == keys
    assert (one["status"], one["effective"], one["dry_run"]) == ("active", "forced_open", False)
    assert one["expires_at"].endswith("Z")
    assert one["convergence"].keys() == {"required", "applied", "pending", "complete", "waited_s"}
    several = run("trip", "pay*", *WHY, "--for", "45m", "--yes", "-o", "json").json
    assert [each["target"] for each in several] == ["payments"]


def test_a_dry_run_changes_nothing(run, two):
    done = run("trip", "payments", *WHY, "--for", "45m", "--dry-run")
    assert done.code == 0
    assert "payments: would be forced open until" in done.out
    assert "dry run" in done.err
    assert holds(two) == []
    assert run("trip", "payments", *WHY, "--for", "45m", "--dry-run", "-o", "json").json["convergence"] is None


def test_what_a_hold_does_can_be_said(run, two):
    assert run("trip", "payments", *WHY, "--for", "90s", "--percent", "25", "--disposition", "reject").code == 0
    assert [(each.percent, each.disposition) for each in holds(two)] == [(25, "reject")]
    assert run("status").out.splitlines()[3].split()[:3] == ["payments", "held", "open"]
    assert run("show", "payments").out.startswith("payments is held open 25%")
    assert run("trip", "payments", *WHY, "--for", "90s", "--mode", "observe").code == 0
    assert [each.mode for each in holds(two)] == ["observe"]


def test_status_tells_who_holds_what_and_why(run):
    run("trip", "payments", *WHY, "--for", "45m", "--ticket", "CHG-1")
    done = run("status")
    assert "payments held open by" in done.out.splitlines()[0]
    assert ": INC-7: wrong amounts [CHG-1]" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trip", "payments", "--for", "45m"), "--reason"),
        (("trip", "payments", *WHY), "--for"),
        (("trip", "payments", *WHY, "--for", "45 m"), '--for must be a duration above 0 such as "45m"'),
        (("trip", "payments", *WHY, "--for", "25h"), "--for must be 1s to 24h, got 25h"),
        (("trip", "payments", "--reason", " x ", "--for", "45m"), "--reason must be a printable text of 3 to 200"),
        (("trip", "payments", *WHY, "--for", "1m", "--percent", "0"), "--percent"),
        (("trip", "payments", *WHY, "--for", "1m", "--percent", "5", "--mode", "observe"), "--percent must be 100"),
        (("trip", "payments", *WHY, "--for", "1m", "--mode", "closed"), "--mode"),
        (("trip", "payments", *WHY, "--for", "1m", "--wait", "x"), "--wait must be a duration of 0 or more"),
        (("retries", "off", "payments", *WHY), "`retries off` needs --for"),
        (("retries", "off", "payments", "--for", "1m"), "`retries off` needs --reason"),
        (
            ("retries", "off", "payments"),
            "`retries off` needs --for, such as --for 45m, and --reason, such as --reason",
        ),
        (
            ("maint", "schedule", "payments", *WHY, "--from", "2020-01-01T00:00Z", "--until", "2020-01-02T00:00Z"),
            "got 2020-01-01T00:00:00.000Z",
        ),
        (
            ("maint", "schedule", "payments", *WHY, "--until", "40d"),
            "--until must be at most 31 days after --from, got 2",
        ),
        (("reset", "payments"), "--reason"),
        (("nonsense",), "nonsense"),
        (
            ("trip", "s*", *WHY, "--for", "1m"),
            "A pattern needs --yes where nobody can be asked; it matches search, stock",
        ),
        (("maint", "schedule", "payments", *WHY), "--until"),
        (("maint", "schedule", "payments", *WHY, "--until", "soon"), "--until must be"),
        (("maint", "schedule", "payments", *WHY, "--from", "2h", "--until", "now"), "--until must be after --from"),
    ],
)
def test_a_wrong_command_line_does_nothing_and_says_what_is_allowed(run, two, words, said):
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert said in " ".join(done.err.split())
    assert holds(two) == []


def test_an_unknown_name_is_refused_with_what_comes_close_unless_it_is_allowed(run, two):
    done = run("trip", "paymnets", *WHY, "--for", "45m")
    assert (done.code, done.out) == (3, "")
    assert "did you mean payments?" in done.err
    assert "--allow-unknown" in done.err
    found = run("trip", "paymnets", *WHY, "--for", "45m", "-o", "json")
    assert found.code == 3
    assert found.json["refused"] == "unknown"
    assert found.json["details"]["close_matches"] == ["payments"]
    assert run("trip", "later", *WHY, "--for", "45m", "--allow-unknown").code == 0
    assert [each.target for each in holds(two)] == ["later"]


def test_every_violated_rule_is_printed_and_glass_can_be_broken(run, two, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "[[rules]]\nid='stays'\nkind='never'\ngroup=['pay*']\n[[rules]]\nid='short'\nkind='max_ttl'\nseconds='10m'\n"
    )
    assert run("rules", "set", str(rules)).code == 0
    done = run("trip", "payments", *WHY, "--for", "45m")
    assert (done.code, done.out) == (3, "")
    assert "rule stays: payments may never be forced open" in done.err
    assert "rule short: a hold in * may last 10m at most, not 45m" in done.err
    broken = ("--break-glass", "stays", "--break-glass", "short")
    done = run("trip", "payments", "--reason", "the bank itself has asked for it", "--for", "45m", *broken)
    assert done.code == 0
    assert "against the rules" in done.out


def test_what_a_pattern_matches_is_tried_before_anything_is_changed(run, two, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text("[[rules]]\nid='stays'\nkind='never'\ngroup=['stock']\n")
    run("rules", "set", str(rules))
    done = run("trip", "s*", *WHY, "--for", "5m", "--yes")
    assert done.code == 3
    assert "rule stays" in done.err
    assert holds(two) == []


def test_a_pattern_that_matches_nothing_is_refused(run):
    done = run("trip", "z*", *WHY, "--for", "5m", "--yes")
    assert (done.code, done.out) == (3, "")
    assert "No downstream matches z*" in done.err


def test_a_pattern_releases_only_what_is_held(run, two):
    run("trip", "stock", *WHY, "--for", "5m")
    done = run("release", "s*", "--yes", "-o", "ndjson")
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert holds(two) == []
    assert run("release", "s*", "--yes").code == 3


def test_retries_are_switched_off_and_on_beside_a_hold(run, two):
    run("trip", "payments", *WHY, "--for", "5m")
    assert "payments: kept from retrying" in run("retries", "off", "payments", *WHY, "--for", "30m").out
    assert sorted(each.mode for each in holds(two)) == ["forced_open", "no_retries"]
    assert run("retries", "on", "payments").code == 0
    assert [each.mode for each in holds(two)] == ["forced_open"]
    assert run("retries", "on", "payments").code == 3


def test_the_hold_of_another_stays_and_is_named_with_the_command_that_ends_it(run, two):
    operations = Operations(Directory(two))
    other = operations.place("payments", "forced_open", reason="theirs", ttl=60, who=Who("bob", "operator", "api"))
    operations.directory.close()
    done = run("trip", "payments", *WHY, "--for", "5m", "--percent", "50")
    assert f"masked by {other.id}" in done.out
    done = run("release", "payments")
    assert done.code == 0
    assert (
        f"Still held by bob (forced_open): theirs; to end that: resilient release payments --id {other.id}" in done.err
    )
    done = run("release", "payments")
    assert done.code == 3
    assert "bob" in done.err
    assert run("release", "payments", "--id", other.id).code == 0
    assert holds(two) == []


def test_reset_and_probe_are_given_once_with_a_reason(run, two):
    for what in ("reset", "probe"):
        done = run(what, "payments", "--reason", "INC-7: it was us")
        assert done.code == 0
        assert "In force in 2 of 2 processes" in done.out
    directory = Directory(two)
    assert [each.command for each in directory.load().commands] == ["reset", "probe"]
    directory.close()


def test_who_did_not_acknowledge_is_listed(place):
    with member(place, "payments"), member(place, "payments", "--stuck") as stuck:
        done = resilient("trip", "payments", *WHY, "--for", "5m", "--wait", "100ms", "--dir", str(place))
        assert done.code == 4
        assert "In force in 1 of 2 processes" in done.out
        assert f"Not yet acknowledged by 1 process:\n  {stuck}  (last heartbeat" in done.err
        assert "checks before its next call" in done.err
        done = here("release", "payments", "--wait", "0", "-o", "json", "--dir", str(place))
        assert done.code == 4
        assert [each["instance"] for each in done.json["convergence"]["pending"]][-1] == stuck


def test_with_no_process_alive_a_hold_waits_for_them(place):
    Directory(place, create=True).close()
    done = here("trip", "payments", *WHY, "--for", "5m", "--allow-unknown", "--dir", str(place))
    assert done.code == 0
    assert "those that start later begin with it" in done.out


def test_on_a_terminal_more_than_one_match_has_to_be_counted(two, run):
    words = ("trip", "s*", *WHY, "--for", "5m", "--dir", str(two))
    with Terminal(*words) as terminal:
        terminal.until("Type 2 to go on: ")
        terminal.send("yes\n")
        assert "Nothing was done." in terminal.until_end()
    assert terminal.code == 2
    assert holds(two) == []
    with Terminal(*words) as terminal:
        assert "search, stock" in terminal.until("Type 2 to go on: ")
        terminal.send("2\n")
        terminal.until_end()
    assert terminal.code == 0
    assert len(holds(two)) == 2


def test_maintenance_is_scheduled_listed_and_ended(run):
    done = run("maint", "schedule", "pay*", *WHY, "--in", "1h", "--for", "30m", "-o", "json")
    assert done.code == 0
    window = done.json["id"]
    (listed,) = run("maint", "list", "-o", "json").json
    assert (listed["id"], listed["selector"], listed["status"]) == (window, "pay*", "scheduled")
    assert window in run("maint", "list").out
    assert f"{window}: ended" in run("maint", "end", window, *WHY).out
    assert window not in run("maint", "list").out
    later = ("maint", "schedule", "later*", *WHY, "--in", "1h", "--for", "30m", "--dry-run")
    assert run(*later).code == 3
    assert "(in 1h) until" in run(*later, "--allow-unknown").out
    assert window in run("maint", "list", "--all").out


def test_rules_are_shown_as_they_are_set(run, tmp_path):
    file = tmp_path / "resilient.toml"
    file.write_text("[[rules]]\nid='stays'\nkind='min_available'\ngroup=['s*']\nn=1\n")
    assert "replaced, 1 now" in run("rules", "set", str(file), "--reason", "agreed on Monday").out
    assert "stays" in run("rules", "show").out
    shown = tmp_path / "rules.json"
    shown.write_text(run("rules", "show", "-o", "json").out)
    assert '"n": 1' in shown.read_text()
    assert run("rules", "set", str(shown)).code == 0
    file.write_text("[control]\napp = 'x'\n")
    assert run("rules", "set", str(file)).code == 2


def test_the_audit_shows_what_was_done_and_refused_and_finds_an_edited_row(run, two, place):
    run("trip", "paymnets", *WHY, "--for", "5m")
    run("trip", "payments", *WHY, "--for", "5m", SUDO_USER="ann")
    refused, done = [line.split() for line in run("audit", "--limit", "2").out.splitlines()[1:]]
    assert (refused[5], refused[6]) == ("paymnets", "refused")
    assert "place" in done
    entry = run("audit", "--limit", "1", "-o", "json", "--target", "payments").json[0]
    assert entry["after"]["reason"] == "INC-7: wrong amounts"
    found = run("audit", "--verify", "-o", "json").json
    assert found["ok"]
    head = f"{found['head_seq']}:{found['head_hash']}"
    assert run("audit", "--verify", "--head", head).code == 0
    assert run("audit", "--verify", "--head", "9999:" + 64 * "0").code == 1
    assert run("audit", "--verify", "--head", "x").code == 2


def test_an_edited_row_is_found_by_audit_and_doctor(place):
    Directory(place, create=True).close()
    for name in ("a", "b"):
        here("trip", name, *WHY, "--for", "5m", "--allow-unknown", "--dir", str(place))
    with sqlite3.connect(place / "control.sqlite3") as database:
        database.execute("UPDATE audit SET actor = 'nobody' WHERE seq = 1")
    database.close()
    done = resilient("audit", "--verify", "--dir", str(place))
    assert done.code == 1
    assert "1: it was edited" in done.err
    found = here("doctor", "--dir", str(place), "-o", "json")
    assert found.code == 1
    assert [each["check"] for each in found.json if each["status"] == "fail"] == ["audit"]
