"""Signals that end a process at any moment, and standard streams that are closed or can't be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM

from smssim.errors import ExitCode

ENDING = (SIGINT, SIGTERM, SIGHUP)


def outcome_of(program: str, *words: object, stdout: int = subprocess.PIPE) -> tuple[int, str]:
    """Run a Python program; return its exit code and what it wrote to stderr."""
    words = (sys.executable, "-c", program, *words)
    done = subprocess.run(
        list(map(str, words)), stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    return done.returncode, done.stderr


def test_a_signal_while_a_node_ends_does_not_change_its_exit_code() -> None:
    """Not even during Python's shutdown, which restores default actions, and with a thread that blocks no signals."""
    program = (
        "import asyncio, atexit, os, sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "from smssim import settings\n"
        "from smssim.process import program\n"
        "def strike(kill=os.kill, pid=os.getpid(), number=int(sys.argv[1])): kill(pid, number)\n"
        "class Late:\n"
        "    def __del__(self, strike=strike): strike()\n"
        "exec(sys.argv[2])\n"
        "async def node(stop): return 5\n"
        "sys.exit(program.run(node, settings.LogSettings()))\n"
    )
    for number in ENDING:
        for moment in ("atexit.register(strike)", "sys.late = Late()"):
            assert outcome_of(program, int(number), moment) == (5, ""), (number, moment)


def test_a_signal_before_a_command_starts_ends_it_with_at_most_one_line() -> None:
    program = (
        "import os, sys, time\n"
        "from smssim import __main__, cli\n"
        "cli.main = lambda: (os.kill(os.getpid(), int(sys.argv[1])), time.sleep(60))\n"
        "__main__.main()\n"
    )
    assert outcome_of(program, int(SIGINT)) == (ExitCode.INCOMPLETE, "smssim: interrupted\n")
    for number in (SIGTERM, SIGHUP):
        assert outcome_of(program, int(number)) == (-number, "")


def test_ctrl_c_while_the_first_modules_load_causes_no_stack_trace() -> None:
    program = (
        "import sys\n"
        "from smssim import __main__\n"
        "class Interrupted:\n"
        "    def find_spec(self, *_): raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "__main__.main()\n"
    )
    assert outcome_of(program) == (ExitCode.INCOMPLETE, "smssim: interrupted\n")


def test_a_second_signal_ends_a_node_whose_loop_is_stuck() -> None:
    program = (
        "import os, signal, sys, time\n"
        "from smssim import settings\n"
        "from smssim.process import program\n"
        "async def node(stop):\n"
        "    while True: os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.1)\n"
        "sys.exit(program.run(node, settings.LogSettings()))\n"
    )
    assert outcome_of(program) == (ExitCode.INTERRUPTED, "")


# -- streams


def test_help_that_can_not_be_written_is_an_error_of_one_line() -> None:
    for words in (("--version",), ("--help",), ("run", "--help")):
        with Path("/dev/full").open("wb") as full:
            code, said = outcome_of("from smssim.__main__ import main; main()", *words, stdout=full.fileno())
        name = " ".join(["smssim", *words[:-1]])
        assert (code, said) == (ExitCode.INCOMPLETE, f"{name}: can't write to stdout: no space left on device\n")


def test_help_without_a_reader_is_no_error() -> None:
    for words in (("--version",), ("run", "--help")):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            ended = outcome_of("from smssim.__main__ import main; main()", *words, stdout=writing)
        finally:
            os.close(writing)
        assert ended == (ExitCode.OK, ""), words


def test_output_that_can_not_be_written_is_logged_once_and_exits_with_3(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from smssim import cli, settings\n"
        "from smssim.cli import entry\n"
        "from smssim.process import program, streams, terminal\n"
        "async def node(stop):\n"
        "    for _ in range(3): terminal.print_lines('a line')\n"
        "    return 0\n"
        "entry._answer = lambda words: program.run(node, settings.LogSettings(log_format='json'))\n"
        "cli.main(['monitor'])\n"
    )
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        code, said = outcome_of(program, stdout=full)
    finally:
        os.close(full)
    assert code == ExitCode.INCOMPLETE
    assert said.count("Can't write to stdout: no space left on device; discarding further output") == 1
    assert len(said.splitlines()) == 1


def test_the_descriptor_of_a_stream_that_was_closed_at_the_start_is_not_reused() -> None:
    """Otherwise the next file to be opened gets its number, and receives what is written to the stream."""
    program = (
        "import asyncio, os, sys\n"
        "from smssim import settings\n"
        "from smssim.process import program, streams, terminal\n"
        "async def node(stop):\n"
        "    terminal.print_lines('a line')\n"
        "    shown = {os.readlink(f'/proc/self/fd/{number}') for number in range(3)}\n"
        "    return streams.has_lost() or any('anon_inode' in name for name in shown)\n"
        "streams.repair()\n"
        "sys.exit(program.run(node, settings.LogSettings()))\n"
    )
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        command = f'"$0" -c "$1" {closed}'
        done = subprocess.run(["sh", "-c", command, sys.executable, program], check=False, timeout=60)
        assert done.returncode == 0, closed
