"""The text form read back: round trips, and errors that name the line."""

from __future__ import annotations

import random

import pytest

from ir import dims
from ir.dims import Dim, SymDim
from ir.graph import Check, Graph, Value
from ir.ops import OPS
from ir.parser import ParseError, parse
from ir.printer import print_graph
from ir.types import tensor
from ir.verify import verify
from tests.golden_text import GOLDEN
from tests.ir.random_graphs import random_graph
from tests.ir.sample_graphs import CALL, everything


@pytest.fixture(autouse=True)
def _call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "call", CALL)


def assert_round_trip(g: Graph) -> None:
    text = print_graph(g)
    again = parse(text)
    assert again == g
    assert hash(again) == hash(g)
    assert print_graph(again) == text
    verify(again)
    constraints = [n.constraints for n in g.nodes]
    assert [n.constraints for n in again.nodes] == constraints


def test_everything_makes_the_round_trip() -> None:
    assert_round_trip(everything())


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_make_the_round_trip(seed: int) -> None:
    assert_round_trip(random_graph(seed))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("**/*.txt")), ids=lambda p: p.stem)
def test_goldens_make_the_round_trip(path: object) -> None:
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    if text.startswith("graph "):
        assert print_graph(parse(text)) == text


@pytest.mark.parametrize("seed", range(60))
def test_random_dims_make_the_round_trip(seed: int) -> None:
    rng = random.Random(seed)
    symbols = [SymDim(n) for n in ("B", "T", "max_len", "e1")]

    def dim(depth: int) -> Dim:
        if depth == 0 or rng.random() < 0.2:
            return rng.choice([*symbols, rng.randrange(-5, 9)])
        x, y = dim(depth - 1), dim(depth - 1)
        operations = [lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, dims.dim_max, dims.dim_min]
        return rng.choice(operations + [dims.floordiv, dims.mod] * (y != 0))(x, y)

    inputs = tuple(Value(tensor("f32", s), None, 0, s.name) for s in symbols)
    g = Graph("g", inputs, (), (), (), (), (), (Check(dim(3), dim(2), "what"),))
    assert parse(print_graph(g)) == g


def test_dead_nodes_comments_and_free_layout_are_read() -> None:
    g = parse(
        """
        # a comment on a line of its own
        graph @g(B) {   # and one here
          input %x : f32[B,
                         3]
          # %ghost : f32[] = neg(%x)
          %dead : f32[B, 3] = neg(%x)   # layer_1, "layer 2"
          %y : f32[3] = reduce_sum(%x) {
            axes=(0,),
            keepdims=false,   # inside
          }   # layer_3
          output %y, %x, %y
        }
        """
    )
    assert [n.op.name for n in g.nodes] == ["neg", "reduce_sum"]
    assert g.nodes[0].origin == ("layer_1", "layer 2") and g.nodes[1].origin == ("layer_3",)
    assert g.outputs == (g.nodes[1].output, g.inputs[0], g.nodes[1].output)
    assert [v.name for v in g.outputs] == ["y", "x", "y"]


def body(*lines: str) -> str:
    return "\n".join(["graph @g(B) {", "input %x : f32[B, 3]", 'variable %w : f32[3] "w"', *lines, "}"])


@pytest.mark.parametrize(
    "lines, message",
    [
        (["%0 : f32[B, 3] = nag(%x)"], "line 4: there is no op called 'nag'\n  %0 : f32\\[B, 3\\] = nag"),
        (["%0 : f32[B, 4] = neg(%x)"], r"line 4: declared as f32\[B, 4\], but neg gives f32\[B, 3\]"),
        (["%0 : f32[B, 3] = neg(%y)"], "%y is not defined above"),
        (["%0 : f32[Q, 3] = neg(%x)"], "expected a size, got 'Q'; known symbols: B"),
        (["%0 : f33[B, 3] = neg(%x)"], "there is no dtype 'f33'"),
        (["%0 : f32[B, 3] = neg(%x, %x)"], "neg takes 1 operands, got 2"),
        (["%0 : f32[3] = reduce_sum(%x) {axes=(0,)}"], "takes attributes"),
        (["%0 : f32[3] = reduce_sum(%x) {axes=(0,), axes=(1,)}"], "got 'axes' \\(again\\)"),
        (["%0 : f32[3] = reduce_sum(%x) {axis=0}"], "reduce_sum has axes, keepdims; got 'axis'"),
        (["%0 : f32[3] = reduce_sum(%x) {axes=(0.5,), keepdims=false}"], "expected an integer, got '0.5'"),
        (["%0 : f32[3] = reduce_sum(%x) {axes=(0,), keepdims=0}"], "expected true or false, got '0'"),
        (["%0 : f32[3] = reduce_sum(%x) {axes=(7,), keepdims=false}"], "line 4"),
        (["%0 : i64[B] = argmax(%x) {axis=1} {"], "unexpected '{'; a definition starts on a line"),
        (["%0 : f32[B, 3] = neg(%x)", "%0 : f32[B, 3] = neg(%x)"], "line 5: %0 is defined twice"),
        (["%0, %1 : f32[B, 3] = neg(%x)"], "2 names for 1 types"),
        (["%0 : f32[B, 3] = neg(%x)   # two words"], "the comment behind a node is its origin"),
        (["%0 : f32[B, 3] = neg(%x)   # a,"], "the comment behind a node is its origin"),
        (["% 0 : f32[B, 3] = neg(%x)"], "expected the name of a value"),
        (["update %x = %x"], "only variables can be updated"),
        (["guard %w[0] in {1, 3}"], "a guard is about an input"),
        (["guard %x[2] in {1, 3}"], "there is no axis 2"),
        (["check B // 0 == 3 \"what\""], "division by zero"),
        (["input %z : f32[-3]"], "sizes cannot be negative"),
        (["input %z : f32[B] 'z'"], 'unexpected character "\'"'),
        (["input %z : f32[B] \"z"], "unexpected character"),
        (["input %z : f32[B] \"\\q\""], "not a string"),
        (["return %x"], "expected a definition, input, variable"),
        (["output %x", "} trailing", "{"], "the text goes on behind the graph"),
        (["check " + "(" * 100 + "B" + ")" * 100 + " == B \"what\""], "nested too deeply"),
        (["check " + "-" * 3000 + "B == B \"what\""], "nested too deeply"),
        (["check " + "*".join(["(B*B + B + 1)"] * 60) + " == B \"what\""], "too complicated"),
        (["input %z : f32[" + "9" * 5000 + "]"], "this integer is too long"),
    ],
)
def test_errors_name_the_line(lines: list[str], message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse(body(*lines))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected 'graph', got the end of the text"),
        ("graph @g(B) {\n}", r"the header lists symbols \['B'\], the inputs have \[\]"),
        ("graph @g() {", "got the end of the text"),
        ("graph g() {}", "expected '@'"),
        ("graph @g() {} graph @h() {}", "goes on behind"),
    ],
)
def test_errors_of_the_frame(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse(text)


def test_deep_bodies_are_refused() -> None:
    opening = "graph @g() {\n%0 : f32[] = call() {label=\"\", body="
    with pytest.raises(ParseError, match="graphs are nested too deeply"):
        parse(opening * 200)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_text_gives_a_parse_error_or_a_graph(seed: int) -> None:
    text = print_graph(random_graph(seed, size=8))
    rng = random.Random(seed)
    for _ in range(30):
        at, length = rng.randrange(len(text)), rng.randrange(1, 6)
        damaged = text[:at] + rng.choice(("", "(", "}", "%x", "9", '"', "#", ",", "\x00", "é")) + text[at + length :]
        try:
            assert isinstance(parse(damaged), Graph)
        except ParseError as e:
            assert str(e).startswith("line ")
