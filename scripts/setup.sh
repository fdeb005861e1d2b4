#!/usr/bin/env bash
# Makes .venv, with the versions of constraints.txt, if there is none or if what it was made from has changed.
# The other scripts call it first. Says nothing on stdout, and nothing at all when there is nothing to do.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Written last: a .venv without it is half-made. The path counts, because a virtual environment can't be moved;
# the settings of the tools, from the first [tool...] on, do not.
stamp=.venv/.stamp
made_from=$({ pwd && sed '/^\[tool\./,$d' pyproject.toml && cat constraints.txt scripts/setup.sh; } | cksum)
is_ready() { [[ -x .venv/bin/python && -f $stamp && $(<$stamp) == "$made_from" ]]; }
if is_ready; then exit; fi

# One set-up at a time: the lock is on this file and ends with this process (and with the pip that it started).
if command -v flock >/dev/null; then
    exec 9<scripts/setup.sh
    flock 9
    if is_ready; then exit; fi # made by another script meanwhile
fi

for python in python3.11 python3 ""; do
    if "$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi
done
if [[ -z $python ]]; then
    echo "smssim needs Python 3.11 or later with its venv module, as python3.11 or python3: please install it" >&2
    exit 1
fi

exec 3>&2 # for people: what is made writes to a log
say() { echo "$1" >&3; }

make() {
    local pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check --no-input install --constraint constraints.txt)
    say "setting up .venv with $("$python" --version), once: about a minute ..."
    rm -rf .venv &&
        "$python" -m venv .venv &&
        say "installing the build backend ..." &&
        "${pip[@]}" hatchling && # here, so that the build backend is pinned too
        say "installing smssim and $(grep -c == constraints.txt) packages, the longest step ..." &&
        "${pip[@]}" --no-build-isolation --editable '.[dev]' &&
        echo "$made_from" >$stamp &&
        say "ready"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! make </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    echo "set-up failed, as shown above; once that is solved, run the script again" >&2
    exit 1
fi
