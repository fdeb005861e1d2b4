#!/usr/bin/env bash
# Runs the tests: scripts/test.sh [FLAGS of pytest]. Without flags, it runs all of them in five processes, because many
# tests spend most of their time waiting. Faults occur at random moments; to repeat a failure, pass its `--seed N`.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
scripts/browser.sh || true # without a browser, the summary says which tests were left out
if (($# == 0)); then set -- --numprocesses=5; fi
exec .venv/bin/pytest "$@"
