"""The program: `smssim`, and `python -m smssim`.

Most imports are inside `main`, so that Ctrl-C ends the program cleanly from the first moment on.
"""

import sys


def main() -> None:
    """Run the command that the program's arguments name, and exit with its exit code."""
    try:
        from smssim.process import ready, signals, streams

        signals.take()
    except KeyboardInterrupt:
        print("smssim: interrupted", file=sys.stderr)
        sys.exit(3)  # ExitCode.INCOMPLETE, which may not be imported yet
    streams.repair()
    ready.take()
    from smssim import cli  # after `take`: imports start threads, which inherit the blocked signals

    cli.main()


if __name__ == "__main__":
    main()
