"""`python -m steindiff`: the command line, as launchers of several processes call it."""

import runpy

if __name__ == "__main__":
    runpy.run_module("steindiff.lab.cli", run_name="__main__")
