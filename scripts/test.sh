#!/usr/bin/env bash
# Runs the tests: scripts/test.sh [FLAGS of pytest]. All of them, without flags, three at a time: most wait now and then.
# Faults strike at moments that are drawn anew each time; `--seed N`, as a failure shows it, draws the same again.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
if (($# == 0)); then set -- --numprocesses=3; fi
exec .venv/bin/pytest "$@"
