"""Processes of their own for tests: scripts and the `kgraph` command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `python ARGUMENTS` printed, with `environment` added to this process's; fails the test where it fails."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("KGRAPH_") or k == "KGRAPH_HOME"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**inherited, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "random", **environment},
        cwd=cwd or ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def kgraph(*arguments: str, **environment: str) -> str:
    """What `kgraph ARGUMENTS` printed."""
    return python("-m", "kgraph", *arguments, **environment).stdout


def script(text: str, *arguments: str, **environment: str) -> str:
    """What a script printed."""
    return python("-c", text, *arguments, **environment).stdout
