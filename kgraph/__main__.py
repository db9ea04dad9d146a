"""`python -m kgraph`: the same as the command `kgraph`."""

from kgraph.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
