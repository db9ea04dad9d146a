"""The Session: all state of a running program that can change, in one object.

Names, counters, the learning phase, the seed and the default target live here, and so do the settings of `config.py`,
which one session hands on to the next. `clear_session` starts a new one. Everything else in the backend asks
`current()`.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ir import builder

if TYPE_CHECKING:
    from kgraph.backend.config import Config
    from kgraph.backend.tensor import Tensor


class Session:
    """State since the program began, or since the last `clear_session`.

    `phase` is None (fed when a function runs), 0 or 1. `seed` is the key of random operations made from now on.
    `target` names the default target of functions ('cpu', 'reference'). `functions` holds the Python functions
    that stand in configs of Lambda layers, by what a config says about them; one session hands them on to the next.
    """

    def __init__(self, config: Config, functions: dict[str, Any] | None = None) -> None:
        self.config = config
        self.functions: dict[str, Any] = {} if functions is None else functions
        self.uids: defaultdict[str, int] = defaultdict(int)
        self.names: dict[str, int] = {}
        self.phase: int | None = None
        self.manual_initialization = False
        self.phase_placeholder: Tensor | None = None
        self.seed = 0
        self.last_compiled_model: Any = None
        self.target = os.environ.get("KGRAPH_TARGET", "cpu")

    def unique_name(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... where it is taken."""
        count = self.names.get(name, 0)
        self.names[name] = count + 1
        if not count:
            return name
        while f"{name}_{count}" in self.names:
            count += 1
        self.names[name] = count + 1
        self.names[f"{name}_{count}"] = 1
        return f"{name}_{count}"

    def run(self, fetches: Any, feed_dict: dict[Any, Any] | None = None) -> Any:
        """Evaluates a tensor or a list of them, with the placeholders in `feed_dict` fed. Updates among them happen."""
        from kgraph.backend.function import Function
        from kgraph.backend.variable import Update

        feeds = feed_dict or {}
        single = not isinstance(fetches, (list, tuple))
        outputs = [fetches] if single else list(fetches)
        updates = [x for x in outputs if isinstance(x, Update)]
        results = Function(list(feeds), outputs, updates)(list(feeds.values()))
        return results[0] if single else results


class _Current:
    """The one holder of the session in use."""

    session: Session | None = None


_scope: ContextVar[str] = ContextVar("scope", default="")


def current() -> Session:
    """The session in use; the first call makes it."""
    if _Current.session is None:
        from kgraph.backend.config import load_config

        _Current.session = Session(load_config())
    return _Current.session


def get_session() -> Session:
    """The session in use."""
    return current()


def set_session(session: Session) -> None:
    """Goes on with another session."""
    if not isinstance(session, Session):
        raise TypeError(f"K.set_session takes what K.get_session gave, got {type(session).__name__}")
    _Current.session = session


def clear_session() -> None:
    """Starts a new session: names count from one again, and the learning phase is open. Settings are kept."""
    _Current.session = Session(current().config, current().functions)


def manual_variable_initialization(value: bool) -> None:
    """Says whether the user starts variables himself, as with TensorFlow's initializers. Either way a variable holds
    its first value from the start."""
    current().manual_initialization = bool(value)


def get_uid(prefix: str = "") -> int:
    """A number for `prefix`, counting from 1 at each call."""
    uids = current().uids
    uids[prefix] += 1
    return uids[prefix]


def reset_uids() -> None:
    """Numbers of `get_uid` count from 1 again."""
    current().uids.clear()


@contextlib.contextmanager
def name_scope(name: str) -> Iterator[str]:
    """Tensors and variables made in this block carry `name` as a prefix, and their nodes have it as their origin."""
    path = current().unique_name(_scope.get() + name) + "/"
    token = _scope.set(path)
    try:
        with builder.origin((*builder.current_origin(), name)):
            yield path
    finally:
        _scope.reset(token)


def scope() -> str:
    """The prefix of names here: '' or 'outer/inner/'."""
    return _scope.get()
