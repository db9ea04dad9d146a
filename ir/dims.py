"""Symbolic dimensions: integers, symbols and exact arithmetic over them.

A dim is an `int`, a `SymDim` or a `DimExpr`. A `DimExpr` is a polynomial with integer coefficients over atoms; an atom
is a symbol or an opaque `floor(a / b)`, `a mod b`, `min` or `max` of dims. Polynomials are kept in one canonical form,
so equal dims compare equal, `(B*T)//T` is `B`, and `(2*B + 4)//2` is `B + 2`. Dims are sizes: every symbol stands for
an integer >= 0. `types.py` builds shapes from dims.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Union

Dim = Union[int, "SymDim", "DimExpr"]
Env = Mapping["SymDim", Dim]
_Term = tuple["Atom", ...]  # a product of atoms, sorted; () is the constant term

_fresh = itertools.count(1)


class _Arith:
    """The operators that symbols and expressions share; each returns a canonical dim (an int where it is known)."""

    __slots__ = ()

    def __add__(self, other: Dim) -> Dim:
        return _from_poly(_add(_poly(self), _poly(other))) if is_dim(other) else NotImplemented

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return _from_poly(_scale(_poly(self), -1))

    def __sub__(self, other: Dim) -> Dim:
        return _from_poly(_add(_poly(self), _scale(_poly(other), -1))) if is_dim(other) else NotImplemented

    def __rsub__(self, other: Dim) -> Dim:
        return _from_poly(_add(_poly(other), _scale(_poly(self), -1))) if is_dim(other) else NotImplemented

    def __mul__(self, other: Dim) -> Dim:
        return _from_poly(_mul(_poly(self), _poly(other))) if is_dim(other) else NotImplemented

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other) if is_dim(other) else NotImplemented  # type: ignore[arg-type]

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self) if is_dim(other) else NotImplemented  # type: ignore[arg-type]

    def __mod__(self, other: Dim) -> Dim:
        return mod(self, other) if is_dim(other) else NotImplemented  # type: ignore[arg-type]

    def __rmod__(self, other: Dim) -> Dim:
        return mod(other, self) if is_dim(other) else NotImplemented  # type: ignore[arg-type]


class SymDim(_Arith):
    """A named unknown size. Two symbols are equal when name and token agree.

    Graphs use token 0, so a symbol of a graph is known by its name alone. Symbols minted while a model is being built
    carry a token of their own (`SymDim.fresh`), so that two inputs called `B` stay apart until extraction unifies them.
    """

    __slots__ = ("name", "token", "key", "text")

    def __init__(self, name: str, token: int = 0) -> None:
        self.name = name
        self.token = token
        self.key: tuple[object, ...] = ("sym", name, token)
        self.text = repr(self.key)  # what atoms are sorted by

    @classmethod
    def fresh(cls, name: str) -> SymDim:
        return cls(name, next(_fresh))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, SymDim) and self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return self.name


class _Opaque:
    """An atom that polynomials cannot expand: floor division, modulo, min or max of two dims."""

    __slots__ = ("op", "a", "b", "key", "text")

    def __init__(self, op: str, a: Dim, b: Dim) -> None:
        self.op = op
        self.a = a
        self.b = b
        self.key = (op, _key(a), _key(b))
        self.text = repr(self.key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Opaque) and self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)


Atom = SymDim | _Opaque
_Poly = dict[_Term, int]


class DimExpr(_Arith):
    """A canonical polynomial over atoms; made by arithmetic, never by hand."""

    __slots__ = ("terms", "key")

    def __init__(self, terms: tuple[tuple[_Term, int], ...]) -> None:
        self.terms = terms
        self.key = ("expr", tuple((tuple(a.key for a in term), c) for term, c in terms))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DimExpr) and self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return format_dim(self)


def is_dim(x: object) -> bool:
    return isinstance(x, (SymDim, DimExpr)) or (isinstance(x, int) and not isinstance(x, bool))


def _key(d: Dim) -> tuple[object, ...]:
    return ("int", d) if isinstance(d, int) else d.key


def _order(term: _Term) -> tuple[int, str]:
    return (-len(term), f"[{', '.join([a.text for a in term])}]")


def _poly(d: object) -> _Poly:
    if isinstance(d, int):
        return {(): d} if d else {}
    if isinstance(d, SymDim):
        return {(d,): 1}
    assert isinstance(d, DimExpr), d
    return dict(d.terms)


def _from_poly(p: _Poly) -> Dim:
    p = {t: c for t, c in p.items() if c}
    if not p:
        return 0
    if len(p) == 1:
        (term, c), = p.items()
        if not term:
            return c
        if c == 1 and len(term) == 1 and isinstance(term[0], SymDim):
            return term[0]
    return DimExpr(tuple(sorted(p.items(), key=lambda tc: _order(tc[0]))))


def _add(a: _Poly, b: _Poly) -> _Poly:
    out = dict(a)
    for t, c in b.items():
        out[t] = out.get(t, 0) + c
    return out


def _scale(a: _Poly, k: int) -> _Poly:
    return {t: c * k for t, c in a.items()}


def _mul(a: _Poly, b: _Poly) -> _Poly:
    out: _Poly = {}
    for (ta, ca), (tb, cb) in itertools.product(a.items(), b.items()):
        t = tuple(sorted(ta + tb, key=_text)) if ta and tb else ta or tb
        out[t] = out.get(t, 0) + ca * cb
    return out


def _text(atom: Atom) -> str:
    return atom.text


def _divide_term(term: _Term, by: _Term) -> _Term | None:
    rest = list(term)
    for a in by:
        if a not in rest:
            return None
        rest.remove(a)
    return tuple(rest)


def exact_div(a: Dim, b: Dim) -> Dim | None:
    """`a / b` where it is exact for all sizes (`B*T / T` is `B`), else None. Polynomial long division."""
    p, q = _poly(a), _poly(b)
    if not q:
        return None
    lead, lead_c = min(q.items(), key=lambda tc: _order(tc[0]))
    quotient: _Poly = {}
    while p:
        for t, c in sorted(p.items(), key=lambda tc: _order(tc[0])):
            rest = _divide_term(t, lead)
            if rest is not None and c % lead_c == 0:
                break
        else:
            return None
        step = {rest: c // lead_c}
        quotient = _add(quotient, step)
        p = {t: c for t, c in _add(p, _scale(_mul(step, q), -1)).items() if c}
        if len(quotient) > 64:
            return None
    return _from_poly(quotient)


def floordiv(a: Dim, b: Dim) -> Dim:
    """`floor(a / b)`, exact where possible; multiples of `b` come out of the fraction."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if b == 1:
        return a
    exact = exact_div(a, b)
    if exact is not None:
        return exact
    if isinstance(b, int):
        if b < 0:
            a, b = _from_poly(_scale(_poly(a), -1)), -b
        p = _poly(a)
        whole = _from_poly({t: c // b for t, c in p.items()})
        rest = _from_poly({t: c % b for t, c in p.items()})
        if isinstance(rest, int):  # 0 <= rest < b adds nothing
            return whole
        nested = _nested_division(rest)
        if nested is not None:  # (x // m + p) // n is (x + p * m) // (m * n)
            opaque, others = nested
            return _add_dims(whole, floordiv(_add_dims(opaque.a, others * opaque.b), opaque.b * b))
        rest, b = _reduce_fraction(rest, b)
        return _add_dims(whole, DimExpr((((_Opaque("//", rest, b),), 1),)))
    return DimExpr((((_Opaque("//", a, b),), 1),))


def _add_dims(a: Dim, b: Dim) -> Dim:
    return _from_poly(_add(_poly(a), _poly(b)))


def _nested_division(d: Dim) -> tuple[_Opaque, Dim] | None:
    """`d` as `x // m + p`: the division by a known number, and `p`; None unless there is exactly one such term."""
    divisions = []
    for term, c in _poly(d).items():
        if c == 1 and len(term) == 1 and isinstance(term[0], _Opaque):
            if term[0].op == "//" and isinstance(term[0].b, int):
                divisions.append(term)
    if len(divisions) != 1:
        return None
    (term,) = divisions
    opaque = term[0]
    assert isinstance(opaque, _Opaque)
    return opaque, _from_poly(_add(_poly(d), {term: -1}))


def _reduce_fraction(a: Dim, b: int) -> tuple[Dim, int]:
    """`floor(a / b)` in lowest terms: `(2*B + 3) // 4` is `(B + 1) // 2`."""
    p = _poly(a)
    shared = math.gcd(b, *(c for t, c in p.items() if t))
    return _from_poly({t: c // shared for t, c in p.items()}), b // shared


def mod(a: Dim, b: Dim) -> Dim:
    """`a - b * floor(a / b)`."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    if b == 1 or exact_div(a, b) is not None:
        return 0
    if isinstance(b, int):
        a = _from_poly({t: c % b for t, c in _poly(a).items()})
        if isinstance(a, int):
            return a
    return DimExpr((((_Opaque("%", a, b),), 1),))


def ceildiv(a: Dim, b: Dim) -> Dim:
    """`ceil(a / b)` for b > 0."""
    return floordiv(_from_poly(_add(_add(_poly(a), _poly(b)), {(): -1})), b)


def _extremum(op: str, pick: Callable[[int, int], int], a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return pick(a, b)
    if a == b:
        return a
    diff = _from_poly(_add(_poly(a), _scale(_poly(b), -1)))
    if isinstance(diff, int):
        return a if pick(diff, 0) == diff else b
    a, b = sorted((a, b), key=lambda d: repr(_key(d)))
    return DimExpr((((_Opaque(op, a, b),), 1),))


def dim_max(a: Dim, b: Dim) -> Dim:
    return _extremum("max", max, a, b)


def dim_min(a: Dim, b: Dim) -> Dim:
    return _extremum("min", min, a, b)


def product(dims: Iterable[Dim]) -> Dim:
    known = 1
    p: _Poly | None = None
    for d in dims:
        if isinstance(d, int):
            known *= d
        else:
            p = _poly(d) if p is None else _mul(p, _poly(d))
    return known if p is None else _from_poly(_scale(p, known))


_APPLY: dict[str, Callable[[Dim, Dim], Dim]] = {"//": floordiv, "%": mod, "max": dim_max, "min": dim_min}


def substitute(d: Dim, env: Env) -> Dim:
    """`d` with symbols replaced by dims; an int where every symbol is replaced by one."""
    if isinstance(d, int):
        return d
    if isinstance(d, SymDim):
        return env.get(d, d)
    total: _Poly = {}
    for term, c in d.terms:
        p: _Poly = {(): c}
        for atom in term:
            if isinstance(atom, SymDim):
                value = env.get(atom, atom)
            else:
                value = _APPLY[atom.op](substitute(atom.a, env), substitute(atom.b, env))
            p = _mul(p, _poly(value))
        total = _add(total, p)
    return _from_poly(total)


def bind(d: Dim, env: Env) -> int:
    """The size of `d` when every symbol is bound to an int. Raises KeyError naming a symbol that is not bound."""
    out = substitute(d, env)
    if not isinstance(out, int):
        missing = sorted(s.name for s in symbols(out))
        raise KeyError(f"size of {d} is not known: {', '.join(missing)} not bound")
    return out


def is_nonnegative(d: Dim) -> bool:
    """Whether `d` is at least 0 for all sizes, as far as its coefficients show."""
    if isinstance(d, int):
        return d >= 0
    if isinstance(d, SymDim):
        return True
    return all(c > 0 for _, c in d.terms) and all(
        isinstance(a, SymDim) or (is_nonnegative(a.a) and is_nonnegative(a.b)) for term, _ in d.terms for a in term
    )


def symbols(d: Dim) -> set[SymDim]:
    """The symbols that occur in `d`."""
    if isinstance(d, int):
        return set()
    if isinstance(d, SymDim):
        return {d}
    out: set[SymDim] = set()
    for term, _ in d.terms:
        for atom in term:
            out |= {atom} if isinstance(atom, SymDim) else symbols(atom.a) | symbols(atom.b)
    return out


def _format_atom(a: Atom) -> str:
    if isinstance(a, SymDim):
        return a.name
    if a.op in ("max", "min"):
        return f"{a.op}({format_dim(a.a)}, {format_dim(a.b)})"
    left, right = (f"({s})" if isinstance(d, DimExpr) else s for d in (a.a, a.b) for s in (format_dim(d),))
    return f"({left}{a.op}{right})"


def format_dim(d: Dim) -> str:
    """Text of a dim, valid Python over the symbols' names: `((H + 1)//2) - 1`."""
    if not isinstance(d, DimExpr):
        return str(d)
    text = ""
    for term, c in d.terms:
        body = "*".join(_format_atom(a) for a in term)
        factor = str(abs(c)) if not body else body if abs(c) == 1 else f"{abs(c)}*{body}"
        text += (" - " if c < 0 else " + ") + factor if text else ("-" if c < 0 else "") + factor
    return text


def parse_dim(text: str, lookup: Callable[[str], SymDim]) -> Dim:
    """The dim of a text in `format_dim`'s form. Raises ValueError with the offending text."""
    import ast

    def go(n: ast.expr) -> Dim:
        if isinstance(n, ast.Constant) and type(n.value) is int:
            return n.value
        if isinstance(n, ast.Name):
            return lookup(n.id)
        if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.USub):
            return -go(n.operand)
        if isinstance(n, ast.BinOp) and type(n.op) in _AST_OPS:
            return _AST_OPS[type(n.op)](go(n.left), go(n.right))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in ("max", "min"):
            if len(n.args) == 2:
                return _APPLY[n.func.id](go(n.args[0]), go(n.args[1]))
        raise ValueError(f"not a dim: {text!r}")

    _AST_OPS: dict[type, Callable[[Dim, Dim], Dim]] = {
        ast.Add: lambda a, b: a + b,
        ast.Sub: lambda a, b: a - b,
        ast.Mult: lambda a, b: a * b,
        ast.FloorDiv: floordiv,
        ast.Mod: mod,
    }
    try:
        return go(ast.parse(text, mode="eval").body)
    except SyntaxError:
        raise ValueError(f"not a dim: {text!r}") from None


def python_expr(d: Dim, name: Callable[[SymDim], str]) -> str:
    """Python source that computes `d` from variables named by `name`; used to evaluate many dims at once."""
    if isinstance(d, int):
        return repr(d)
    if isinstance(d, SymDim):
        return name(d)
    parts = []
    for term, c in d.terms:
        factors = [] if c == 1 and term else [repr(c)]
        for a in term:
            if isinstance(a, SymDim):
                factors.append(name(a))
            elif a.op in ("max", "min"):
                factors.append(f"{a.op}({python_expr(a.a, name)}, {python_expr(a.b, name)})")
            else:
                factors.append(f"(({python_expr(a.a, name)}) {a.op} ({python_expr(a.b, name)}))")
        parts.append("*".join(factors))
    return "(" + " + ".join(parts) + ")"


def size_of(shape: Iterable[int]) -> int:
    return math.prod(shape)
