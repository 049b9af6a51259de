"""The command line, for `python -m steindiff`."""

from . import main

main()
