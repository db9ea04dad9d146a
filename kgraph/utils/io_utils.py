"""Asking before a file is overwritten.

Used by `engine/saving.py` and by users' scripts.
"""

from __future__ import annotations

from typing import Any


def ask_to_proceed_with_overwrite(filepath: Any) -> bool:
    """Ask on the terminal whether to overwrite a file; returns the answer."""
    answer = input(f"[WARNING] {filepath} already exists - overwrite? [y/n]").strip().lower()
    while answer not in ("y", "n"):
        answer = input('Enter "y" (overwrite) or "n" (cancel).').strip().lower()
    if answer == "n":
        return False
    print("[TIP] Next time specify overwrite=True!")
    return True
