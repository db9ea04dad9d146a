"""Dims: arithmetic agrees with integers once bound, equal dims have one form, and the text form round-trips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ir import dims
from ir.dims import (
    Dim,
    SymDim,
    bind,
    ceildiv,
    dim_max,
    dim_min,
    exact_div,
    floordiv,
    format_dim,
    mod,
    parse_dim,
    product,
)

B, T, H = SymDim("B"), SymDim("T"), SymDim("H")
SYMBOLS = (B, T, H)

# An expression as a tree, so that it can be computed both with dims and with ints.
Tree = Any
OPS: dict[str, tuple[Callable[[Dim, Dim], Dim], Callable[[int, int], int]]] = {
    "+": (lambda a, b: a + b, lambda a, b: a + b),
    "-": (lambda a, b: a - b, lambda a, b: a - b),
    "*": (lambda a, b: a * b, lambda a, b: a * b),
    "//": (lambda a, b: a // b, lambda a, b: a // b),
    "%": (lambda a, b: a % b, lambda a, b: a % b),
    "ceil": (ceildiv, lambda a, b: -(-a // b)),
    "max": (dim_max, max),
    "min": (dim_min, min),
}
leaves = st.one_of(st.sampled_from(SYMBOLS), st.integers(-7, 7))
trees = st.recursive(leaves, lambda kids: st.tuples(st.sampled_from(sorted(OPS)), kids, kids), max_leaves=7)
sizes = st.fixed_dictionaries({s: st.integers(0, 9) for s in SYMBOLS})


def symbolic(tree: Tree) -> Dim:
    """The dim of a tree; the example is dropped where it divides by zero."""
    if not isinstance(tree, tuple):
        return tree  # type: ignore[no-any-return]
    op, a, b = tree
    left, right = symbolic(a), symbolic(b)
    assume(not (op in ("//", "%", "ceil") and right == 0))
    return OPS[op][0](left, right)


def number(tree: Tree, env: dict[SymDim, int]) -> int:
    if not isinstance(tree, tuple):
        return env[tree] if isinstance(tree, SymDim) else tree
    op, a, b = tree
    left, right = number(a, env), number(b, env)
    assume(op not in ("//", "%") or right != 0)
    assume(op != "ceil" or right > 0)
    return OPS[op][1](left, right)


@settings(deadline=None, max_examples=300)
@given(trees, sizes)
def test_arithmetic_agrees_with_integers(tree: Tree, env: dict[SymDim, int]) -> None:
    expected = number(tree, env)
    d = symbolic(tree)
    assert bind(d, env) == expected
    assert eval(dims.python_expr(d, lambda s: s.name), {s.name: n for s, n in env.items()}) == expected
    assert dims.symbols(d) <= set(SYMBOLS)


@settings(deadline=None, max_examples=300)
@given(trees)
def test_text_round_trip(tree: Tree) -> None:
    d = symbolic(tree)
    again = parse_dim(format_dim(d), SymDim)
    assert again == d and hash(again) == hash(d)
    assert format_dim(again) == format_dim(d)


@settings(deadline=None, max_examples=200)
@given(trees, trees, sizes)
def test_substitution_then_binding(tree: Tree, inner: Tree, env: dict[SymDim, int]) -> None:
    """Putting a dim in the place of a symbol, then binding, is binding that symbol to the dim's size."""
    size = number(inner, env)
    assume(size >= 0)
    expected = number(tree, {**env, B: size})
    assert bind(dims.substitute(symbolic(tree), {B: symbolic(inner)}), env) == expected


polynomials = st.recursive(leaves, lambda kids: st.tuples(st.sampled_from("+-*"), kids, kids), max_leaves=7)


@settings(deadline=None, max_examples=200)
@given(polynomials, st.integers(1, 6), st.integers(1, 6))
def test_divisions_by_numbers_have_one_form(tree: Tree, k: int, m: int) -> None:
    a = symbolic(tree)
    assert (a // k) // m == a // (k * m)
    assert (a * k) // (m * k) == a // m
    assert (a // k + B) // m == (a + B * k) // (k * m)
    assert ceildiv(ceildiv(a, k), m) == ceildiv(a, k * m)


@settings(deadline=None, max_examples=200)
@given(trees, trees, trees)
def test_equal_dims_have_one_form(x: Tree, y: Tree, z: Tree) -> None:
    a, b, c = symbolic(x), symbolic(y), symbolic(z)
    for left, right in (
        (a + b, b + a), (a * b, b * a), ((a + b) + c, a + (b + c)), ((a * b) * c, a * (b * c)),
        (a * (b + c), a * b + a * c), (a - b, -(b - a)), (a - a, 0), (a + 0, a), (a * 1, a), (a * 0, 0),
        (dim_max(a, b), dim_max(b, a)), (dim_min(a, b), dim_min(b, a)), (dim_max(a, a + 1), a + 1),
    ):  # fmt: skip
        assert left == right and hash(left) == hash(right)
    if b != 0:
        assert exact_div(a * b, b) == a
        assert floordiv(a * b, b) == a and mod(a * b, b) == 0
    for k in (2, 3):
        assert (a * k + b) // k == a + b // k
        assert (a * k + b) % k == b % k


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (B, "B"),
        (B + 0, "B"),
        (B * T // T, "B"),
        ((2 * B + 4) // 2, "B + 2"),
        ((H - 3) // 2 + 1, "((H + 1)//2) - 1"),
        (B * 2 - B * 2, "0"),
        (B * B + 2 * B * T + T * T, "B*B + 2*B*T + T*T"),
        ((B + T) * (B - T), "B*B - T*T"),
        ((B * B - T * T) // (B + T), "B - T"),
        (1 - B, "-B + 1"),
        (B % 3, "(B%3)"),
        ((4 * B + 5) % 3, "((B + 2)%3)"),
        (ceildiv(H, 2), "((H + 1)//2)"),
        (B // T, "(B//T)"),
        (dim_max(B, T), "max(B, T)"),
        (dim_min(T, B), "min(B, T)"),
        (dim_max(B + 3, B - 1), "B + 3"),
        (product([2, B, 3, T]), "6*B*T"),
        (product([]), "1"),
        (product([B, 0]), "0"),
        (-(B // 2), "-(B//2)"),
        (T - B // 2, "-(B//2) + T"),
        (T * (B // 2), "(B//2)*T"),
        (3 * (B // 2) % 2, "(((B//2))%2)"),
        (B // 2 // T, "(((B//2))//T)"),
        ((2 * B + 1) // -4, "((B + 1)//2) - B - 1"),
        ((2 * B + 3) // 4, "((B + 1)//2)"),
        (ceildiv(ceildiv(H, 2), 2), "((H + 3)//4)"),
        ((B // 2 + T) // 3, "((B + 2*T)//6)"),
    ],
)
def test_canonical_text(dim: Dim, text: str) -> None:
    assert format_dim(dim) == text
    assert parse_dim(text, SymDim) == dim


def test_known_results_are_ints() -> None:
    for d in (B - B + 3, B * T // (T * B), (B + 6 - B) // 2, dim_max(B + 1, B) - B, bind(B, {B: 7})):
        assert type(d) is int
    assert B * 0 == 0 and (B - B) == 0


def test_symbols_with_tokens_of_their_own_stay_apart() -> None:
    one, other = SymDim.fresh("B"), SymDim.fresh("B")
    assert one != other and one != B and one + other != 2 * one
    assert dims.substitute(one + other, {one: B, other: B}) == 2 * B
    assert dims.symbols(one + other) == {one, other}


def test_symbols_of_every_kind_of_dim() -> None:
    assert dims.symbols(3) == set()
    assert dims.symbols(B) == {B}
    assert dims.symbols((B + 1) // 2 * dim_max(T, H % 3)) == {B, T, H}


def test_inexact_division() -> None:
    assert exact_div(B + 1, 2) is None
    assert exact_div(B, T) is None
    assert exact_div(B, 0) is None
    assert exact_div(6 * B, 4) is None
    assert exact_div(6 * B, 3) == 2 * B


def test_binding_needs_every_symbol() -> None:
    with pytest.raises(KeyError, match="size of B \\+ T is not known: T not bound"):
        bind(B + T, {B: 3})


@pytest.mark.parametrize("text", ["", "B +", "1.5", "B / 2", "f(B)", "max(B)", "B ** 2", "True", "'B'"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not a dim"):
        parse_dim(text, SymDim)


def test_is_dim() -> None:
    assert all(map(dims.is_dim, (0, 3, B, B + 1, B // T)))
    assert not any(map(dims.is_dim, (True, 1.0, "B", None)))
