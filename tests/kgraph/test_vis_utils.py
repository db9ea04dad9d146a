"""Pictures of models, with a stand-in for the library `pydot` that remembers what was drawn."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from kgraph.backend.session import Session
from kgraph.layers import Dense, Flatten, Input, Layer, add
from kgraph.models import Model, Sequential
from kgraph.utils import plot_model
from kgraph.utils.vis_utils import model_to_dot

pytestmark = pytest.mark.usefixtures("reference_session")


class Dot:
    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.nodes: dict[str, str] = {}
        self.edges: list[tuple[str, str]] = []
        self.written: list[tuple[str, str]] = []

    def set(self, name: str, value: Any) -> None:
        self.settings[name] = value

    def set_node_defaults(self, **settings: Any) -> None:
        self.settings.update(settings)

    def add_node(self, node: tuple[str, str]) -> None:
        self.nodes[node[0]] = node[1]

    def add_edge(self, edge: tuple[str, str]) -> None:
        self.edges.append((self.nodes[edge[0]], self.nodes[edge[1]]))

    def write(self, path: str, format: str) -> None:
        self.written.append((path, format))


@pytest.fixture(autouse=True)
def pydot(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake: Any = types.ModuleType("pydot")
    fake.Dot, fake.Node, fake.Edge = Dot, lambda name, label: (name, label), lambda a, b: (a, b)
    monkeypatch.setitem(sys.modules, "pydot", fake)
    return fake


def chain() -> Sequential:
    return Sequential([Flatten(input_shape=(2, 3), name="flat"), Dense(4, name="dense")])


def test_a_chain() -> None:
    dot = model_to_dot(chain())
    assert list(dot.nodes.values()) == ["flat_input: InputLayer", "flat: Flatten", "dense: Dense"]
    assert dot.edges == [("flat_input: InputLayer", "flat: Flatten"), ("flat: Flatten", "dense: Dense")]
    assert dot.settings == {"rankdir": "TB", "concentrate": True, "shape": "record"}


def test_shapes() -> None:
    dot = model_to_dot(chain(), show_shapes=True, rankdir="LR")
    assert list(dot.nodes.values())[1] == "flat: Flatten\n|{input:|output:}|{{(None, 2, 3)}|{(None, 6)}}"
    assert dot.settings["rankdir"] == "LR"


def test_without_names() -> None:
    assert list(model_to_dot(chain(), show_layer_names=False).nodes.values()) == ["InputLayer", "Flatten", "Dense"]


def test_sharing_and_nesting() -> None:
    a, b = Input((2, 3), name="a"), Input((2, 3), name="b")
    inner = chain()
    inner.name = "inner"
    shared = Dense(4, name="shared")
    model = Model([a, b], add([shared(inner(a)), shared(inner(b))], name="sum"))
    shared(Input((4,)))  # no part of the model
    dot = model_to_dot(model, show_shapes=True)
    labels = {label.split(":")[0]: label for label in dot.nodes.values()}
    assert labels["sum"] == "sum: Add\n|{input:|output:}|{{[(None, 4), (None, 4)]}|{(None, 4)}}"
    assert labels["inner"] == "inner: Sequential\n|{input:|output:}|{{(None, 2, 3)}|{(None, 4)}}"
    edges = [tuple(label.split(":")[0] for label in edge) for edge in dot.edges]
    assert sorted(edges) == [
        ("a", "inner"), ("b", "inner"), ("inner", "shared"), ("inner", "shared"), ("shared", "sum"), ("shared", "sum"),
    ]  # fmt: skip


def test_a_wrapper() -> None:
    class Wrapper(Layer):
        def __init__(self, layer: Layer, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.layer = layer

        def call(self, inputs: Any) -> Any:
            return inputs

    class Every(Wrapper):
        pass

    x = Input((3,), name="x")
    dot = model_to_dot(Model(x, Every(Dense(2, name="inside"), name="outside")(x)))
    assert "outside(inside): Every(Dense)" in dot.nodes.values()


@pytest.mark.parametrize(("name", "format"), [("m.png", "png"), ("m", "png"), ("a.b/m.svg", "svg")])
def test_plot_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pydot: Any, name: str, format: str) -> None:
    (tmp_path / "a.b").mkdir()
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(Dot, "write", lambda self, path, format: written.append((path, format)))
    plot_model(chain(), str(tmp_path / name), show_shapes=True)
    assert written == [(str(tmp_path / name), format)]


def test_no_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, path: str, format: str) -> None:
        raise FileNotFoundError('"dot" not found in path.')

    monkeypatch.setattr(Dot, "write", fail)
    with pytest.raises(OSError, match="install GraphViz"):
        plot_model(chain(), tmp_path / "m.png")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        plot_model(chain(), tmp_path / "nowhere" / "m.png")


def test_no_pydot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(ImportError, match="^Failed to import `pydot`. Please install `pydot`."):
        plot_model(chain())


def test_models_that_are_not_connected(reference_session: Session) -> None:
    with pytest.raises(ValueError, match="not connected"):
        model_to_dot(Sequential([Dense(3)]))
