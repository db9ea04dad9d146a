"""Reads the text form of graphs that `printer.py` writes: `parse(print_graph(g)) == g`.

Types on definition lines are checked against the type rules. Text is never evaluated, and nesting is limited, so that
hostile text gives a ParseError and nothing else. `tokens.py` comes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ir import dims, dtypes
from ir.dims import Dim, DimExpr, SymDim
from ir.dtypes import DType
from ir.graph import Attrs, Check, Graph, Guard, Node, Update, Value, Variable
from ir.opdef import Op, infer
from ir.ops import OPS
from ir.tokens import Cursor, ParseError, Token
from ir.types import TensorType

__all__ = ["ParseError", "parse"]

_MAX_DEPTH = 32  # of nested dims, tuples and graphs
_MAX_TERMS = 64  # of one dim
_T = TypeVar("_T")


def parse(text: str) -> Graph:
    """The graph of `text`. Raises ParseError, which names the line."""
    cursor = Cursor(text)
    graph = _GraphParser(cursor, {}, 0).graph()
    if cursor.peek().kind != "end":
        raise cursor.error("the text goes on behind the graph")
    return graph


class _GraphParser:
    """Reads one graph; the bodies inside it get parsers of their own that see the outer symbols."""

    def __init__(self, cursor: Cursor, scope: dict[str, SymDim], depth: int) -> None:
        self.cursor = cursor
        self.depth = depth
        self.symbols = dict(scope)
        self.values: dict[str, Value] = {}
        self.inputs: list[Value] = []
        self.variables: list[Variable] = []
        self.nodes: list[Node] = []
        self.outputs: list[Value] = []
        self.updates: list[Update] = []
        self.guards: list[Guard] = []
        self.checks: list[Check] = []

    def graph(self) -> Graph:
        c = self.cursor
        if self.depth > _MAX_DEPTH:
            raise c.error("graphs are nested too deeply")
        start = c.expect("graph")
        name = self._graph_name()
        c.expect("(")
        header = self._list(")", lambda: c.take("word", "the name of a symbol").text)
        self.symbols.update((s, SymDim(s)) for s in header)
        c.expect("{")
        while not c.accept("}"):
            self._statement()
        graph = Graph(
            name,
            tuple(self.inputs),
            tuple(self.variables),
            tuple(self.nodes),
            tuple(self.outputs),
            tuple(self.updates),
            tuple(self.guards),
            tuple(self.checks),
        )
        found = sorted(s.name for s in graph.symbols)
        if sorted(header) != found:
            raise c.error(f"the header lists symbols {sorted(header)}, the inputs have {found}", start)
        return graph

    def _graph_name(self) -> str:
        c = self.cursor
        c.expect("@")
        token = c.next()
        if token.kind not in ("word", "string"):
            raise c.error("expected the name of the graph", token)
        return c.string_of(token) if token.kind == "string" else token.text

    # Statements

    def _statement(self) -> None:
        c = self.cursor
        token = c.peek()
        if not token.first_on_line:
            raise c.error(f"unexpected {token}; a definition starts on a line of its own", token)
        if token.text == "%":
            self._definition()
            return
        statements: dict[str, Callable[[], None]] = {
            "input": self._input,
            "variable": self._variable,
            "guard": self._guard,
            "check": self._check,
            "output": self._output,
            "update": self._update,
        }
        if token.kind != "word" or token.text not in statements:
            raise c.error(f"expected a definition, {', '.join(statements)} or '}}', got {token}", token)
        c.next()
        statements[token.text]()

    def _input(self) -> None:
        name, token = self._new_name()
        self.cursor.expect(":")
        value = Value(self._type(), None, 0, _hint(name))
        written = self.cursor.accept_kind("string")
        if written is not None:
            value.name = self.cursor.string_of(written)
        self._define(name, value, token)
        self.inputs.append(value)

    def _variable(self) -> None:
        c = self.cursor
        name, token = self._new_name()
        c.expect(":")
        type = self._type()
        path = c.string_of(c.take("string", "the path of the variable"))
        variable = Variable(type, path, bool(c.accept("trainable")))
        self._define(name, variable.value, token)
        self.variables.append(variable)

    def _guard(self) -> None:
        c = self.cursor
        token = c.peek()
        value = self._value()
        if value not in self.inputs:
            raise c.error("a guard is about an input", token)
        c.expect("[")
        axis = self._int()
        if not 0 <= axis < value.rank:
            raise c.error(f"there is no axis {axis}", token)
        for text in ("]", "in", "{", "1", ","):
            c.expect(text)
        self.guards.append(Guard(self.inputs.index(value), axis, self._dim()))
        c.expect("}")

    def _check(self) -> None:
        c = self.cursor
        left = self._dim()
        c.expect("==")
        right = self._dim()
        self.checks.append(Check(left, right, c.string_of(c.take("string", "what the check is about"))))

    def _output(self) -> None:
        self.outputs.append(self._value())
        while self.cursor.accept(","):
            self.outputs.append(self._value())

    def _update(self) -> None:
        c = self.cursor
        token = c.peek()
        target = self._value()
        if not isinstance(target.producer, Variable):
            raise c.error("only variables can be updated", token)
        c.expect("=")
        self.updates.append(Update(target.producer, self._value()))

    def _definition(self) -> None:
        c = self.cursor
        start = c.peek()
        names = [self._new_name()]
        while c.accept(","):
            names.append(self._new_name())
        c.expect(":")
        types = [self._type()]
        while c.accept(","):
            types.append(self._type())
        c.expect("=")
        op = self._op()
        c.expect("(")
        inputs = tuple(self._list(")", self._value))
        attrs = self._attrs(op) if c.peek().text == "{" else Attrs()
        node = self._node(op, inputs, attrs, types, c.take_origin(), start)
        if len(names) != len(types):
            raise c.error(f"{len(names)} names for {len(types)} types", start)
        for (name, token), out in zip(names, node.outputs, strict=True):
            out.name = _hint(name)
            self._define(name, out, token)
        self.nodes.append(node)

    def _op(self) -> Op:
        token = self.cursor.take("word", "the name of an op")
        if token.text not in OPS:
            raise self.cursor.error(f"there is no op called '{token.text}'", token)
        return OPS[token.text]

    def _node(
        self,
        op: Op,
        inputs: tuple[Value, ...],
        attrs: Attrs,
        types: Sequence[TensorType],
        origin: tuple[str, ...],
        start: Token,
    ) -> Node:
        try:
            inferred, constraints = infer(op, inputs, attrs)
        except Exception as e:  # whatever a type rule stumbles over, the text is at fault
            raise self.cursor.error(str(e) or type(e).__name__, start) from e
        if tuple(types) != inferred:
            declared, rule = (", ".join(map(str, ts)) for ts in (types, inferred))
            raise self.cursor.error(f"declared as {declared}, but {op.name} gives {rule}", start)
        return Node(op, inputs, attrs, inferred, origin, constraints)

    # Values and types

    def _new_name(self) -> tuple[str, Token]:
        token = self.cursor.peek()
        return self.cursor.value_name(), token

    def _define(self, name: str, value: Value, token: Token) -> None:
        if name in self.values:
            raise self.cursor.error(f"%{name} is defined twice", token)
        self.values[name] = value

    def _value(self) -> Value:
        token = self.cursor.peek()
        name = self.cursor.value_name()
        if name not in self.values:
            raise self.cursor.error(f"%{name} is not defined above", token)
        return self.values[name]

    def _type(self) -> TensorType:
        c = self.cursor
        dtype = self._dtype()
        start = c.expect("[")
        shape = tuple(self._list("]", self._dim))
        if any(isinstance(d, int) and d < 0 for d in shape):
            raise c.error("sizes cannot be negative", start)
        return TensorType(dtype, shape)

    def _dtype(self) -> DType:
        token = self.cursor.take("word", "a dtype")
        for d in dtypes.ALL:
            if d.short == token.text:
                return d
        raise self.cursor.error(f"there is no dtype '{token.text}'", token)

    def _list(self, end: str, item: Callable[[], _T]) -> list[_T]:
        """Items with commas between them (and perhaps one behind the last) up to `end`."""
        items: list[_T] = []
        while not self.cursor.accept(end):
            items.append(item())
            if not self.cursor.accept(","):
                self.cursor.expect(end)
                break
        return items

    # Attributes

    def _attrs(self, op: Op) -> Attrs:
        self.cursor.expect("{")
        items: dict[str, Any] = {}

        def item() -> None:
            token = self.cursor.take("word", "the name of an attribute")
            if token.text not in op.schema or token.text in items:
                known = ", ".join(op.schema) or "no attributes"
                raise self.cursor.error(f"{op.name} has {known}; got '{token.text}' (again)", token)
            self.cursor.expect("=")
            items[token.text] = self._attr(op.schema[token.text])

        self._list("}", item)
        return Attrs(items)

    def _attr(self, kind: str) -> Any:
        c = self.cursor
        if kind in _ELEMENTS:
            c.expect("(")
            return tuple(self._list(")", lambda: self._attr(_ELEMENTS[kind])))
        simple: dict[str, Callable[[], Any]] = {
            "bool": self._bool,
            "int": self._int,
            "float": self._float,
            "number": self._number,
            "str": lambda: c.string_of(c.take("string", "a string in quotes")),
            "dtype": self._dtype,
            "dim": self._dim,
            "graph": lambda: _GraphParser(c, self.symbols, self.depth + 1).graph(),
        }
        return simple[kind]()

    def _bool(self) -> bool:
        token = self.cursor.next()
        if token.text not in ("true", "false"):
            raise self.cursor.error(f"expected true or false, got {token}", token)
        return token.text == "true"

    def _int(self) -> int:
        sign = -1 if self.cursor.accept("-") else 1
        return sign * self.cursor.int_of(self.cursor.take("int", "an integer"))

    def _float(self) -> float:
        start = self.cursor.peek()
        value = self._number()
        if not isinstance(value, float):
            raise self.cursor.error("expected a float, such as 1.0, inf or nan", start)
        return value

    def _number(self) -> bool | int | float:
        c = self.cursor
        if c.peek().text in ("true", "false"):
            return self._bool()
        sign = -1 if c.accept("-") else 1
        token = c.next()
        if token.kind == "int":
            return sign * c.int_of(token)
        if token.kind == "float" or token.text in ("inf", "nan"):
            return sign * float(token.text)
        raise c.error(f"expected a number, got {token}", token)

    # Dims: sums of products of atoms, as `dims.format_dim` writes them

    def _dim(self, depth: int = 0) -> Dim:
        c = self.cursor
        total = self._dim_product(depth)
        while c.peek().text in ("+", "-"):
            start = c.next()
            term = self._dim_product(depth)
            total = self._bounded(total + term if start.text == "+" else total - term, start)
        return total

    def _dim_product(self, depth: int) -> Dim:
        c = self.cursor
        total = self._dim_atom(depth)
        while c.peek().text in ("*", "//", "%"):
            start = c.next()
            factor = self._dim_atom(depth)
            if start.text != "*" and factor == 0:
                raise c.error("division by zero", start)
            operation = {"*": lambda a, b: a * b, "//": dims.floordiv, "%": dims.mod}[start.text]
            total = self._bounded(operation(total, factor), start)
        return total

    def _dim_atom(self, depth: int) -> Dim:
        c = self.cursor
        if depth > _MAX_DEPTH:
            raise c.error("sizes are nested too deeply")
        token = c.next()
        if token.text == "-":
            return -self._dim_atom(depth + 1)
        if token.kind == "int":
            return c.int_of(token)
        if token.text == "(":
            inner = self._dim(depth + 1)
            c.expect(")")
            return inner
        if token.text in ("min", "max") and c.accept("("):
            left = self._dim(depth + 1)
            c.expect(",")
            right = self._dim(depth + 1)
            c.expect(")")
            return (dims.dim_min if token.text == "min" else dims.dim_max)(left, right)
        if token.kind != "word" or token.text not in self.symbols:
            known = ", ".join(self.symbols) or "none"
            raise c.error(f"expected a size, got {token}; known symbols: {known}", token)
        return self.symbols[token.text]

    def _bounded(self, d: Dim, at: Token) -> Dim:
        """Refuses dims that grow beyond any use: hostile text must not take forever."""
        if isinstance(d, DimExpr) and len(d.terms) > _MAX_TERMS:
            raise self.cursor.error("this size is too complicated", at)
        return d


_ELEMENTS = {"ints": "int", "bools": "bool", "strs": "str", "dims": "dim", "numbers": "number", "pairs": "dims"}


def _hint(name: str) -> str | None:
    """The name of a value in the text as a name hint: numbers are given by the printer."""
    return None if name.isdigit() else name
