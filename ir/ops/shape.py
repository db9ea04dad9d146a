"""Being written."""

from __future__ import annotations

from ir.opdef import Op

OPS: tuple[Op, ...] = ()
