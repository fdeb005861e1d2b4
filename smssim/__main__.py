"""The program: `smssim`, and `python -m smssim`. Imports late: Ctrl-C is to be an answer from the first moment on."""

import sys


def main() -> None:
    """Runs the command of the program's arguments and exits with its exit code."""
    try:
        from smssim.process import ready, signals, streams

        signals.take()
    except KeyboardInterrupt:
        print("smssim: interrupted", file=sys.stderr)
        sys.exit(3)  # ExitCode.INCOMPLETE, which may not be loaded
    streams.mend()
    ready.take()
    from smssim import cli  # after `take`: what it loads starts threads, which inherit what signals are blocked

    cli.main()


if __name__ == "__main__":
    main()
