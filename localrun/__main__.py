"""`python -m localrun` and the console script: from the first import on, Ctrl-C is no traceback."""

import atexit
import gc
import os
import sys


def run() -> None:
    # Imports leave no garbage; looking for it there would cost a tenth of `--help`.
    gc.set_threshold(100_000, 20, 20)
    try:
        from localrun.standins import imported_lightly

        with imported_lightly():
            from localrun.cli import main

        main()
    except KeyboardInterrupt:
        # Nothing of ours runs yet or any more; a second Ctrl-C must not print a traceback either.
        os._exit(130)
    except SystemExit as done:
        _leave(done)


def _leave(done: SystemExit) -> None:
    """Ends the process without taking the interpreter apart, which costs half as much as starting it.

    What was registered for the end is done, and the streams are flushed; other threads are waited for in
    Python's own way.
    """
    threading = sys.modules.get("threading")
    if not isinstance(done.code, int) or (threading is not None and threading.active_count() > 1):
        raise done
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            raise done from None
    os._exit(done.code & 0xFF)


if __name__ == "__main__":
    run()
