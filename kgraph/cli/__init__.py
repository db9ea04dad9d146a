"""The `kgraph` command. Each subcommand is a module of its own, imported only when it is used."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kgraph.version import __version__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kgraph", description="Runs classic Keras code on a compiler of its own.")
    parser.add_argument("--version", action="version", version=f"kgraph {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="run a script that says `import keras`")
    run.add_argument("script", metavar="SCRIPT", help="the Python file")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="what the script finds in sys.argv")

    ir = commands.add_parser("ir", help="print what the model that a file compiles last turns into")
    ir.add_argument("file", metavar="FILE.py", help="the Python file, which is run; what it prints goes to stderr")
    ir.add_argument("--phase", choices=["train", "test"], default="train", help="training or inference")
    ir.add_argument("--stage", help="how far to compile: the name of a pass (default: all of them)")

    demo = commands.add_parser("demo", help="train a small network on handwritten digits and tell what was compiled")
    demo.add_argument("--epochs", type=int, default=20, help="number of epochs (default: 20)")

    commands.add_parser("warmup", help="compile the kernels of common networks ahead")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; `argv` defaults to the process's arguments."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "run":
        from kgraph.cli.run import run_script

        run_script(arguments.script, arguments.arguments)
    elif arguments.command == "ir":
        from kgraph.cli.ir import print_ir

        print_ir(arguments.file, arguments.phase, arguments.stage)
    elif arguments.command == "warmup":
        from kgraph.cli.warmup import warmup

        warmup()
    else:
        from kgraph.cli.demo import demo

        demo(arguments.epochs)
    return 0
