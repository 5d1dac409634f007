"""`python -m localrun` and the console script: from the first import on, Ctrl-C is no traceback."""

import gc
import os


def run() -> None:
    # Imports leave no garbage; looking for it there would cost a tenth of `--help`.
    gc.set_threshold(100_000, 20, 20)
    try:
        from localrun.cli import main

        main()
    except KeyboardInterrupt:
        # Nothing of ours runs yet or any more; a second Ctrl-C must not print a traceback either.
        os._exit(130)


if __name__ == "__main__":
    run()
