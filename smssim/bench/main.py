"""The command `smssim bench`: which cases run and how often, what is shown during the run, and the exit code.

Results go to stdout as they arrive, progress to stderr.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from smssim.bench import agreement, agreement_table, scaling, table
from smssim.bench.agreement_cases import AGREEMENT_CASES
from smssim.bench.cases import CASES, Case
from smssim.bench.comparison import Comparison
from smssim.bench.machine import in_words, machine
from smssim.bench.measure import Spread, TooShortError, spreads
from smssim.bench.process_group import BenchError, InterruptedBenchError, ProcessGroup
from smssim.bench.runs import Stage
from smssim.errors import ExitCode, UsageError
from smssim.process import signals, terminal
from smssim.settings import AGREEMENT, BenchSettings, RunSettings, flags_of

SAY_AGAIN_S: Final = 15.0  # between progress lines, if stderr is not a terminal
TICK_S: Final = 0.2  # between updates of the progress line on a terminal


class Bench:
    """One run of the command."""

    def __init__(self, settings: BenchSettings) -> None:
        self._settings = settings
        self._repetitions = settings.repeat or (1 if settings.quick else 3)
        self._began_at = time.monotonic()
        self._groups: list[ProcessGroup] = []
        self._stopping = False
        self._step = ""
        self._share = 0.0
        self._said_at = 0.0
        self._machine = machine()

    def serve(self) -> int:
        """Run everything and return the exit code.

        Raises UsageError or InterruptedBenchError, and BenchError if the study fails.
        """
        pictures = None if self._settings.figures is None else _pictures(self._settings.figures)
        signals.handle(self._interrupt)
        try:
            code = self._run_cases(self._cases())
            if AGREEMENT in self._settings.case:
                code = max(code, self._run_agreement())
            if pictures is not None:
                self._study(pictures)
        finally:
            self._clear()
        return code

    # -- the work

    def _cases(self) -> list[Case]:
        if self._settings.case:
            return [CASES[name] for name in dict.fromkeys(self._settings.case) if name != AGREEMENT]
        if self._settings.figures is not None:
            return []
        return [case for case in CASES.values() if case.quick or not self._settings.quick]

    def _run_cases(self, cases: Sequence[Case]) -> int:
        """Run the cases and show their figures. If one fails, the others still run."""
        if cases and not self._settings.json:
            self._print(*table.heading(in_words(self._machine), self._settings.quick, self._repetitions))
        seen: list[Spread] = []
        code = ExitCode.OK
        for number, case in enumerate(cases, 1):
            try:
                spreads_seen = self._run(case, f"{number}/{len(cases)} {case.name}")
            except (BenchError, TooShortError) as error:
                code = ExitCode.INTERNAL
                self._show(case, [], str(error))
            else:
                self._show(case, spreads_seen)
                seen += spreads_seen
        if not self._settings.json:
            self._print(*table.ending(seen))
        return code

    def _run_agreement(self) -> int:
        """Compare plans with runs and show each case. If one fails, the others still run. Raises SmssimError."""
        quick, folder = self._settings.quick, _folder(self._settings.forecasts)
        work = agreement.Agreement(
            folder=folder,
            quick=quick,
            repeat=self._settings.repeat or (1 if quick else agreement.REPEAT),
            seeds=agreement.QUICK_SEEDS if quick else agreement.SEEDS,
            joined=self._joined,
            live=lambda scenario, seed: agreement.live(self._stage(seed), scenario),
            begin=self._begin,
            poll=self._poll,
        )
        if not self._settings.json:
            heading = agreement_table.heading(in_words(self._machine), quick, work.repeat, work.seeds)
            self._print(f"forecasts: {folder / agreement.FORECASTS}", *heading)
        compared: dict[str, Sequence[Comparison]] = {}
        code = ExitCode.OK
        for result in work.results([case for case in AGREEMENT_CASES.values() if case.quick or not quick]):
            case = result.prepared.case
            compared[case.name] = result.compared
            code = code if result.error is None else ExitCode.INTERNAL
            facts = {"case": AGREEMENT, "title": case.what, "quick": quick, "machine": self._machine}
            if self._settings.json:
                self._print(json.dumps(facts | result.as_dict()))
            else:
                self._print(*agreement_table.case(case, result.compared, result.prepared.why, result.error))
        if not self._settings.json:
            self._print(*agreement_table.ending(compared))
        return code

    def _joined(self, settings: RunSettings) -> agreement.Joins:
        with self._group() as group:
            return agreement.joined(group, settings)

    def _run(self, case: Case, step: str) -> list[Spread]:
        repetitions = []
        for number in range(1, self._repetitions + 1):
            self._begin(step if self._repetitions == 1 else f"{step}, {number} of {self._repetitions}")
            repetitions.append(case.measure(self._stage(seed=number)))
        return spreads(repetitions)

    def _show(self, case: Case, seen: Sequence[Spread], error: str | None = None) -> None:
        quick = self._settings.quick
        if not self._settings.json:
            self._print(*table.case(case.name, case.title(quick), case.how, seen, error))
            return
        facts = {"case": case.name, "title": case.title(quick), "how": case.how, "quick": quick}
        figures = [spread.as_dict() for spread in seen]
        self._print(json.dumps(facts | {"machine": self._machine, "figures": figures, "error": error}))

    def _study(self, pictures: ModuleType) -> None:
        """Run the scaling study and draw its pictures."""
        measured = []
        plan = scaling.plan(self._settings.quick)
        for number, setting in enumerate(plan, 1):
            self._begin(f"scaling {number}/{len(plan)}, {setting.in_words()}")
            try:
                sample = scaling.measure(setting, self._stage(seed=1))
            except TooShortError as error:  # on a slow machine; the other points are still drawn
                self._clear()
                print(f"smssim bench: skipped {setting.in_words()}: {error}", file=sys.stderr)
                continue
            measured.append(sample)
            self._print(json.dumps(sample.as_dict()) if self._settings.json else sample.in_words())
        if not measured:
            raise BenchError("no point of the study could be measured")
        self._begin("drawing")
        for path in pictures.draw(measured, self._machine, Path(self._settings.figures or "")):
            if not self._settings.json:
                self._print(f"wrote {path}")

    # -- progress

    def _stage(self, seed: int) -> Stage:
        return Stage(self._settings.quick, seed, self._group, self._done)

    def _group(self) -> ProcessGroup:
        self._groups.append(ProcessGroup(self._poll))
        return self._groups[-1]

    def _begin(self, step: str) -> None:
        self._step, self._share, self._said_at = step, 0.0, 0.0
        self._poll()

    def _done(self, share: float) -> None:
        self._share = share

    def _poll(self) -> None:
        """Show progress from time to time. Raises InterruptedBenchError if the user stopped the bench."""
        if self._stopping:
            raise InterruptedBenchError("stopped; no process is left")
        now = time.monotonic()
        changes = sys.stderr.isatty()
        if now - self._said_at >= (TICK_S if changes else SAY_AGAIN_S):
            self._said_at = now
            share = f", {100 * self._share:.0f}%" if self._share else ""
            line = f"{table.clock(now - self._began_at)}  {self._step}{share}"
            sys.stderr.write(f"\r\x1b[K{line}" if changes else f"{line}\n")
            sys.stderr.flush()

    def _clear(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _print(self, *lines: str) -> None:
        self._clear()
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        if not terminal.has_reader():
            raise InterruptedBenchError("stopped: stdout was closed")

    def _interrupt(self, number: signal.Signals) -> None:
        """Handle SIGINT, SIGTERM or SIGHUP: the first starts an orderly stop, the second ends everything at once."""
        if not self._stopping:
            self._stopping = True
            return
        for group in self._groups:
            group.kill()
        os._exit(ExitCode.INTERRUPTED)


def _folder(given: str | None) -> Path:
    """Return the directory for forecasts, a new one if none is given. Raises UsageError if it can't be created."""
    if given is None:
        return Path(tempfile.mkdtemp(prefix="smssim-agreement-"))
    try:
        Path(given).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise flags_of(BenchSettings)["forecasts"].refuse(given) from error
    return Path(given)


def _pictures(folder: str) -> ModuleType:
    """Return the module that draws. Raises UsageError if matplotlib is missing or the folder can't be created."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise flags_of(BenchSettings)["figures"].refuse(folder) from error
    try:
        from smssim.bench import pictures
    except ModuleNotFoundError as error:
        raise UsageError(f"--figures: {error.name} is not installed: run pip install 'smssim[figures]'") from error
    return pictures


def serve(settings: BenchSettings) -> int:
    """Run the bench and return its exit code. Raises SmssimError."""
    return Bench(settings).serve()
