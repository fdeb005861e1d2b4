#!/usr/bin/env bash
# Checks the format, lint and types, and that generated files are up to date. Prints one line per step and stops at the
# first failure.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

step() { # NAME REMEDY COMMAND...
    local name=$1 remedy=$2
    shift 2
    if "$@" >"$scratch/log" 2>&1; then
        echo "ok      $name"
    else
        cat "$scratch/log"
        echo "FAILED  $name: $remedy"
        exit 1
    fi
}

generated_is_fresh() {
    scripts/gen_protos.sh "$scratch/generated" &&
        diff --recursive --exclude=__pycache__ "$scratch/generated/smssim/v1" smssim/v1
}

flags_are_fresh() {
    .venv/bin/python scripts/gen_flags.py "$scratch/flags.md" &&
        diff "$scratch/flags.md" docs/flags.md
}

step "format" "run .venv/bin/ruff format" .venv/bin/ruff format --check --diff
step "lint" "run .venv/bin/ruff check --fix, then fix what remains" .venv/bin/ruff check
step "types" "fix the errors shown above" .venv/bin/mypy
step "generated code" "run scripts/gen_protos.sh" generated_is_fresh
step "docs/flags.md" "run .venv/bin/python scripts/gen_flags.py" flags_are_fresh
