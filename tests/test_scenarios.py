"""`smssim run FILE.yaml`: the faults of a scenario happen to real processes, and every message is counted once.

Each run has a temporary directory of its own (TMPDIR), which must be empty at its end. The paces are such that a run
can't end before what it waits for: a killed sender that returns is needed to finish, for example.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGTSTP

import pytest
from processes_support import Figures, Node, Nodes, assert_conserved, assert_exact, assert_quiet, eventually
from ruamel.yaml import YAML
from view_support import Terminal

from smssim.errors import ExitCode

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")

EXAMPLES = Path(__file__).parent.parent / "docs" / "scenarios"
TIMES = ("at", "for", "joins")  # the keys of a scenario that are seconds of the run

QUICK = "{mean: 20ms, fail: 0, concurrency: 4}"  # 200 messages a second
TARDY = "{mean: 100ms, fail: 0, concurrency: 2}"  # 20 messages a second
FOREVER = 1_000_000


class Play:
    """Runs of scenarios."""

    def __init__(self, nodes: Nodes, directory: Path) -> None:
        self.nodes = nodes
        self.file = directory / "scenario.yaml"
        self.temporary = directory / "temporary"
        self.temporary.mkdir()

    def start(self, text: str, *words: str) -> Node:
        """Start a run of a scenario."""
        self.file.write_text(text)
        flags = ("--json", "--interval=0.1", "--seed=7", *words)
        return self.nodes.start("run", self.file, *flags, TMPDIR=str(self.temporary))

    def run(self, text: str, *words: str, code: ExitCode = ExitCode.OK) -> Node:
        """Play a scenario to its end, which leaves nothing behind."""
        run = self.start(text, *words)
        assert run.code() == code, run.story()
        self.assert_clean(run)
        return run

    def complete(self, text: str, *words: str) -> tuple[Figures, list[str]]:
        """Play a scenario until all messages are counted; return the last figures and the events."""
        run = self.run(text, *words)
        return assert_exact(run, run.figures()[0]["total"]), events(run)

    def assert_clean(self, run: Node) -> None:
        """Check that a run that has ended left no process and no temporary file, and no complaint in its log."""
        assert self.nodes.left() == []
        assert list(self.temporary.iterdir()) == []
        assert_conserved(run.figures())
        assert_quiet(run)
        assert not any("Killing" in line or "SIGKILL" in line or "not recorded" in line for line in run.err), run.err


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with Nodes() as nodes:
        yield Play(nodes, tmp_path)


def scenario(count: int, senders: dict[str, str], *faults: str, **messages: str) -> str:
    """Return the text of a scenario."""
    lines = ["messages:", f"  count: {count}", *(f"  {key.replace('_', '-')}: {messages[key]}" for key in messages)]
    lines += ["senders:", *(f"  {name}: {its}" for name, its in senders.items())]
    return "\n".join([*lines, *(["faults:"] if faults else []), *(f"  - {{{fault}}}" for fault in faults)])


def events(run: Node) -> list[str]:
    """Return the events of a run that has ended, in order of time; check that they were logged too."""
    found = run.figures()[-1]["events"]
    assert [one["at_s"] for one in found] == sorted(one["at_s"] for one in found)
    logged = [line.partition(" run: ")[2] for line in run.err]
    assert all(one["text"] in logged for one in found)
    return [f"{one['target']} {one['kind']}" for one in found]


def process_of(nodes: Nodes, *words: str) -> int | None:
    """Return the id of the process of a node whose command line has these words, if there is one."""
    for pid in nodes.left():
        try:
            said = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if said[1:3] == ["-m", "smssim"] and set(words) <= set(said):
            return pid
    return None


def state_of(pid: int) -> str:
    """Return the state of a process as ps shows it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# -- the examples


def scaled(name: str, by: float, directory: Path) -> Path:
    """Return a copy of an example whose times and counts are smaller."""
    yaml = YAML(typ="safe")
    example = yaml.load((EXAMPLES / name).read_text())
    example["messages"]["count"] = int(by * example["messages"]["count"])
    for part in (*example["senders"].values(), *example.get("faults", ())):
        for key in TIMES & part.keys():
            part[key] = f"{by * float(part[key].removesuffix('s')):g}s"
    path = directory / name
    with path.open("w") as file:
        yaml.dump(example, file)
    return path


@pytest.mark.parametrize(("name", "by"), [("calm", 0.25), ("overload", 0.25), ("bad-day", 0.3)])
def test_an_example_runs_as_its_file_says(name: str, by: float, play: Play, tmp_path: Path) -> None:
    path = scaled(f"{name}.yaml", by, tmp_path)
    example = YAML(typ="safe").load(path.read_text())
    summary = tmp_path / "summary.json"
    last, happened = play.complete(path.read_text(), f"--summary-json={summary}")
    kinds = {"kill": "killed", "pause": "paused", "slow": "slowed", "fail": "failing"}
    ends = {"kill": "restarted", "pause": "resumed", "slow": "recovered", "fail": "recovered"}
    expected = [f"{who} joined" for who, its in example["senders"].items() if "joins" in its]
    for fault in example.get("faults", ()):
        (kind,) = kinds.keys() & fault.keys()
        expected += [f"{fault[kind]} {kinds[kind]}"] + [f"{fault[kind]} {ends[kind]}"] * ("for" in fault)
    assert sorted(happened) == sorted(expected)
    written = json.loads(summary.read_text())
    assert [written[key] for key in ("sent", "failed", "events")] == [last[key] for key in ("sent", "failed", "events")]


# -- kills


def test_a_killed_sender_is_started_again_with_its_name_and_its_faults(play: Play) -> None:
    """Its attempts take exactly five times as long from the start, also those after its restart."""
    slowed = "{mean: 20ms, fail: 0, concurrency: 20, distribution: fixed}"
    last, happened = play.complete(
        scenario(500, {"city": slowed}, "at: 0s, slow: city, factor: 5", "at: 1s, kill: city, for: 1s")
    )
    assert happened == ["city slowed", "city killed", "city restarted"]
    assert last["senders_seen"] == 2, "one session before the kill, and one after it"
    assert last["avg_time_s"] == pytest.approx(0.1)


def test_a_fault_that_kills_one_of_two_senders_for_good_is_no_failure(play: Play) -> None:
    last, happened = play.complete(scenario(400, {"city": QUICK, "region": QUICK}, "at: 500ms, kill: city"))
    assert happened == ["city killed"]
    assert last["senders_seen"] == 2


def test_all_copies_of_a_sender_are_killed_and_started_again(play: Play) -> None:
    copies = "{mean: 20ms, fail: 0, concurrency: 2, copies: 3}"
    last, happened = play.complete(scenario(600, {"city": copies}, "at: 1s, kill: city, for: 500ms"))
    assert happened == ["city killed", "city restarted"]
    assert last["senders_seen"] == 6


def test_a_run_whose_senders_are_all_killed_for_good_ends_with_3(play: Play) -> None:
    """Both at the same second."""
    text = scenario(FOREVER, {"city": QUICK, "region": QUICK}, "at: 1s, kill: city", "at: 1s, kill: region")
    run = play.run(text, code=ExitCode.INCOMPLETE)
    run.says("No sender is left")
    assert events(run) == ["city killed", "region killed"]
    assert not run.figures()[-1]["complete"]


def test_a_run_whose_last_sender_is_paused_for_good_ends_with_3(play: Play) -> None:
    run = play.run(scenario(FOREVER, {"city": QUICK}, "at: 1s, pause: city"), code=ExitCode.INCOMPLETE)
    run.says("No sender is left")
    assert events(run) == ["city paused"]


def test_a_run_without_senders_waits_for_one_that_joins_later(play: Play) -> None:
    senders = {"city": QUICK, "spare": QUICK.replace("}", ", joins: 2s}")}
    last, happened = play.complete(scenario(600, senders, "at: 1s, kill: city"))
    assert happened == ["city killed", "spare joined"]
    assert last["senders_seen"] == 2


@pytest.mark.parametrize("node", ["producer", "monitor"])
def test_a_killed_server_continues_from_a_temporary_journal_at_the_same_address(play: Play, node: str) -> None:
    sender = "{mean: 50ms, fail: 20%, concurrency: 4}"
    last, happened = play.complete(scenario(400, {"city": sender}, f"at: 1s, kill: {node}, for: 1s"))
    assert happened == [f"{node} killed", f"{node} restarted"]
    assert last["senders_seen"] == 1


def test_a_watcher_finds_a_killed_monitor_again_and_shows_the_events(play: Play) -> None:
    run = play.start(scenario(FOREVER, {"city": QUICK}, "at: 1s, kill: monitor, for: 1s"))
    watcher = play.nodes.start("watch", run.says(r"run: smssim watch (\S+)$")[1], "--json")
    watcher.says("Reconnected to monitor")
    run.signal(SIGINT)
    assert (run.code(), watcher.code()) == (ExitCode.INCOMPLETE, ExitCode.INCOMPLETE)
    play.assert_clean(run)
    assert events(run) == ["monitor killed", "monitor restarted"]
    assert watcher.figures()[-1] == run.figures()[-1]


def test_the_producer_and_the_monitor_are_killed_at_the_same_second(play: Play, tmp_path: Path) -> None:
    """The journals are where the user wants them, and stay there."""
    faults = ("at: 1s, kill: producer, for: 1s", "at: 1s, kill: monitor, for: 1s")
    journal = tmp_path / "journal"
    _, happened = play.complete(scenario(400, {"city": QUICK}, *faults), f"--journal={journal}")
    assert happened == ["producer killed", "monitor killed", "producer restarted", "monitor restarted"]
    assert {path.name for path in journal.iterdir()} == {"producer.journal", "monitor.journal"}


def test_a_run_that_resumes_from_its_journal_skips_the_faults_that_struck_before(play: Play, tmp_path: Path) -> None:
    senders = {"city": TARDY, "spare": QUICK.replace("}", ", joins: 1s}")}
    text = scenario(1600, senders, "at: 1500ms, kill: city", "at: 8s, pause: spare, for: 500ms")
    first = play.start(text, f"--journal={tmp_path / 'journal'}")
    first.says("Killed sender city")
    first.shows(lambda f: f["elapsed_s"] > 2.0, "a commit after the kill")
    first.signal(SIGKILL)
    first.code()
    eventually(lambda: not play.nodes.left(), "the end of all processes")
    run = play.run(text, f"--journal={tmp_path / 'journal'}")
    assert_exact(run, 1600)
    kinds = [f"{one['target']} {one['kind']}" for one in run.figures()[-1]["events"]]
    assert kinds == ["spare joined", "city killed", "spare paused", "spare resumed"]
    assert not any("Killed" in line or "Started sender" in line for line in run.err)


# -- pauses


def test_a_pause_shorter_than_the_lease_timeout_redelivers_nothing(play: Play) -> None:
    faults = "at: 500ms, pause: city, for: 1s"
    last, happened = play.complete(scenario(500, {"city": QUICK, "region": TARDY}, faults, lease_timeout="60s"))
    assert happened == ["city paused", "city resumed"]
    assert last["duplicates"] == 0


def test_a_pause_longer_than_the_lease_timeout_gives_its_messages_to_others(play: Play, tmp_path: Path) -> None:
    """What a paused sender had in its lanes is sent twice; that it is paused at the end leaves no process."""
    summary = tmp_path / "summary.json"
    senders = {"city": "{mean: 500ms, fail: 0, concurrency: 40, distribution: fixed}", "region": QUICK}
    text = scenario(600, senders, "at: 1200ms, pause: city", lease_timeout="1500ms")
    last, happened = play.complete(text, f"--summary-json={summary}")
    assert happened == ["city paused"]
    assert last["senders_seen"] == 2
    assert json.loads(summary.read_text())["redelivered"] >= 40


def test_what_happens_while_the_monitor_is_paused_is_announced_although_the_run_is_over_by_then(play: Play) -> None:
    faults = ("at: 500ms, pause: monitor, for: 3s", "at: 500ms, slow: city, factor: 2, for: 500ms")
    last, happened = play.complete(scenario(100, {"city": QUICK}, *faults))
    assert set(happened) == {"monitor paused", "city slowed", "city recovered", "monitor resumed"}
    assert last["elapsed_s"] < 5


@pytest.mark.parametrize("node", ["producer", "monitor"])
def test_a_paused_server_continues_without_duplicates(play: Play, node: str) -> None:
    last, happened = play.complete(scenario(500, {"city": QUICK}, f"at: 1s, pause: {node}, for: 1s"))
    assert happened == [f"{node} paused", f"{node} resumed"]
    assert (last["duplicates"], last["senders_seen"]) == (0, 1)


def test_ctrl_z_does_not_continue_a_node_that_a_fault_has_paused(play: Play) -> None:
    """The run has its own process group but is in our session, like a job of a shell, so that it can be continued."""
    play.file.write_text(scenario(FOREVER, {"city": QUICK, "region": QUICK}, "at: 500ms, pause: city"))
    words = [sys.executable, "-m", "smssim", "run", str(play.file), "--json", "--interval=0.1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0) as run:
        assert run.stderr is not None
        while "Paused sender city" not in run.stderr.readline():
            pass
        nodes = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        (city,) = (int(pid) for pid in nodes if "--name=city" in Path(f"/proc/{pid}/cmdline").read_text())
        others = [run.pid, *(int(pid) for pid in nodes if int(pid) != city)]
        eventually(lambda: state_of(city) == "T", "a stop of the paused node")
        run.send_signal(SIGTSTP)
        eventually(lambda: {state_of(pid) for pid in others} == {"T"}, "a stop of all processes")
        run.send_signal(SIGCONT)
        eventually(lambda: "T" not in {state_of(pid) for pid in others}, "all other processes to continue")
        assert state_of(city) == "T"
        run.send_signal(SIGINT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == ExitCode.INCOMPLETE, err
    assert [one["kind"] for one in json.loads(out.splitlines()[-1])["events"]] == ["paused", "resumed"]


# -- slow and fail


def test_a_slowed_sender_takes_as_many_times_as_long(play: Play) -> None:
    fixed = "{mean: 20ms, fail: 0, concurrency: 4, distribution: fixed}"
    last, happened = play.complete(scenario(100, {"city": fixed}, "at: 0s, slow: city, factor: 5"))
    assert (last["avg_time_s"], happened) == (pytest.approx(0.1), ["city slowed"])
    last, happened = play.complete(scenario(200, {"city": fixed}, "at: 500ms, slow: city, factor: 5, for: 1s"))
    assert 0.021 < last["avg_time_s"] < 0.099
    assert happened == ["city slowed", "city recovered"]


def test_a_failing_sender_fails_and_others_do_not(play: Play) -> None:
    play.file.write_text(scenario(300, {"city": QUICK, "region": QUICK}, "at: 0s, fail: city, share: 100%"))
    run = play.nodes.start("run", play.file)
    assert run.code() == ExitCode.OK
    found = (re.search(r"^  (city|region) .* left +(\d+) +(\d+) ", line) for line in run.out)
    rows = {row[1]: (int(row[2]), int(row[3])) for row in found if row}
    (_, failed), (sent, _) = rows["city"], rows["region"]
    assert rows == {"city": (0, failed), "region": (sent, 0)}
    assert (failed > 0, sent + failed) == (True, 300)


def test_a_fault_strikes_a_sender_that_joins_later_when_it_does(play: Play) -> None:
    spare = "{mean: 20ms, fail: 0, concurrency: 4, joins: 1s}"
    faults = ("at: 500ms, fail: spare, share: 100%", "at: 1s, kill: spare, for: 500ms")
    last, happened = play.complete(scenario(400, {"city": TARDY, "spare": spare}, *faults))
    assert sorted(happened[:3]) == sorted(["spare joined", "spare failing", "spare killed"])
    assert happened[3:] == ["spare restarted"]
    assert last["failed"] > 0


# -- the end


@pytest.mark.parametrize(
    ("fault", "said", "happened"),
    [
        ("kill: city, for: 1h", "Killed sender city", ["city killed"]),
        ("kill: producer, for: 1h", "Killed the producer", ["producer killed", "producer restarted"]),
        ("kill: monitor, for: 1h", "Killed the monitor", ["monitor killed", "monitor restarted"]),
        ("pause: city", "Paused sender city", ["city paused", "city resumed"]),
        ("pause: monitor, for: 1h", "Paused the monitor", ["monitor paused", "monitor resumed"]),
        ("fail: city, share: 1, for: 1h", "Sender city fails", ["city failing"]),
    ],
)
def test_a_run_that_is_interrupted_during_a_fault_ends_in_order(
    play: Play, fault: str, said: str, happened: list[str]
) -> None:
    senders = {"city": QUICK, "region": QUICK, "late": QUICK.replace("}", ", joins: 1h}")}
    run = play.start(scenario(FOREVER, senders, f"at: 500ms, {fault}", "at: 1h, kill: region"))
    run.says(said)
    run.signal(SIGINT)
    assert run.code() == ExitCode.INCOMPLETE, run.story()
    play.assert_clean(run)
    assert events(run) == happened
    last = run.figures()[-1]
    assert (last["final"], last["complete"]) == (True, False)


@pytest.mark.parametrize("fault", ["kill: monitor, for: 1h", "pause: producer, for: 1h"])
def test_a_run_that_is_interrupted_twice_during_a_fault_leaves_nothing(play: Play, fault: str) -> None:
    senders = {"city": "{mean: 1h, fail: 0, concurrency: 4, distribution: fixed}"}
    run = play.start(scenario(FOREVER, senders, f"at: 500ms, {fault}", "at: 2h, kill: producer, for: 1s"))
    run.says(r"run: (Killed|Paused) the")
    run.signal(SIGINT)
    run.says("Stopping")
    run.signal(SIGINT)
    assert run.code() == ExitCode.INTERRUPTED, run.story()
    eventually(lambda: not play.nodes.left(), "the end of all processes")
    assert list(play.temporary.iterdir()) == []


def test_faults_that_are_due_after_the_end_of_a_run_never_strike(play: Play) -> None:
    later = ["kill: producer, for: 1s", "kill: monitor, for: 1s", "pause: city", "slow: city, factor: 2"]
    senders = {"city": QUICK, "late": QUICK.replace("}", ", joins: 1h}")}
    last, happened = play.complete(scenario(50, senders, *(f"at: 1h, {fault}" for fault in later)))
    assert (happened, last["senders_seen"]) == ([], 1)


@pytest.mark.parametrize("node", ["producer", "monitor"])
def test_a_server_that_dies_by_itself_ends_a_run_with_faults_too(play: Play, node: str) -> None:
    run = play.start(scenario(FOREVER, {"city": QUICK}, f"at: 1h, kill: {node}, for: 1s"))
    run.shows(lambda f: f["sent"] > 10, "messages sent")
    pid = process_of(play.nodes, node)
    assert pid is not None
    os.kill(pid, SIGKILL)
    assert run.code() == ExitCode.INTERNAL
    run.says(f"{node.title()} was terminated by SIGKILL")
    assert play.nodes.left() == []
    assert list(play.temporary.iterdir()) == []


def test_the_view_stays_while_the_monitor_is_killed_and_shows_the_events(play: Play) -> None:
    play.file.write_text(
        scenario(500, {"city": QUICK}, "at: 1s, kill: monitor, for: 1s", "at: 1s, kill: city, for: 1s")
    )
    with Terminal("run", str(play.file), "--interval=0.1", columns=100, lines=40) as terminal:
        terminal.until(lambda: terminal.shows("Started the monitor again"), "the events")
        assert terminal.code() == ExitCode.OK
        text = "\n".join(terminal.all_lines())
    shown = r"events +[\d.]+ s  Killed the monitor\n.* Killed sender city\n(.*\n)?.* Started the monitor again\n"
    assert re.search(shown, text)
    assert not re.search(r"run: (Killed|Started)", text), "the view shows the events, so the log does not repeat them"
