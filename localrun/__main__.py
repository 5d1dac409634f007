"""`python -m localrun`, the same as the console script."""

from localrun.cli import main

main()
