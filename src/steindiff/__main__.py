"""`python -m steindiff`: the command line, as launchers of several processes call it."""

from .cli import main

if __name__ == "__main__":
    main()
