"""Shared by all tests: one thread for numpy, one kernel cache per session (so that a kernel compiles once) away from
the user's own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

from codegen.cache import KernelCache  # noqa: E402
from tests.golden_text import Golden  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def kgraph_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """KGRAPH_HOME for the session: `$KGRAPH_TEST_HOME` (kept between sessions) or a temporary folder. KERAS_HOME is in
    it."""
    home = Path(os.environ.get("KGRAPH_TEST_HOME") or tmp_path_factory.mktemp("kgraph_home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGRAPH_HOME", str(home))
        patch.setenv("KERAS_HOME", str(home / "keras"))
        yield home


@pytest.fixture(scope="session")
def cache(kgraph_home: Path) -> KernelCache:
    """The session's kernel cache."""
    return KernelCache()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing with them")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a text with a file under `tests/golden`."""
    return Golden(bool(request.config.getoption("--update-golden")))
