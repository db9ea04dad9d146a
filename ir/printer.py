"""The text form of graphs: one line, one definition, the type printed once. `parser.py` reads it back exactly.

    graph @cnn(B) {
      input    %x      : f32[B, 28, 28, 1]
      variable %kernel : f32[3, 3, 1, 8]  "conv2d_1/kernel" trainable
      guard %x[0] in {1, B}
      check 2*B == T "what met"
      %0 : f32[B, 26, 26, 8] = conv2d(%x, %kernel) {padding="valid", strides=(1, 1), ...}   # conv2d_1
      output %0
      update %kernel = %3
    }

Values are called by their name hints, made unique, or by numbers. An input whose real name cannot stand as it is has it
behind its type, in quotes. The comment behind a node is its origin. Body graphs stand inside the attributes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ir import dims
from ir.dtypes import DType
from ir.graph import Attrs, Graph, Node, Value

PLAIN_ORIGIN = re.compile(r"[\w./:\-]+")  # origins of this form stand unquoted
_INDENT = "  "


def print_graph(graph: Graph) -> str:
    """The text of `graph`; ends in a newline."""
    return _graph_text(graph, "") + "\n"


def value_names(graph: Graph) -> dict[Value, str]:
    """What the text form calls each value of `graph`, without the `%`."""
    names: dict[Value, str] = {}
    used: set[str] = set()
    next_suffix: dict[str, int] = {}
    unnamed = 0
    defined = [*graph.inputs, *(x.value for x in graph.variables), *(o for n in graph.nodes for o in n.outputs)]
    for v in defined:
        if v in names:
            continue
        if v.name is None:
            names[v] = str(unnamed)
            unnamed += 1
            continue
        hint = name = _identifier(v.name)
        while name in used:
            next_suffix[hint] = next_suffix.get(hint, 0) + 1
            name = f"{hint}_{next_suffix[hint]}"
        used.add(name)
        names[v] = name
    return names


def format_node(node: Node, names: Mapping[Value, str], indent: str = "") -> str:
    """The definition line of `node` (several lines where it has a body)."""
    outs = ", ".join(f"%{names.get(o, '?')}" for o in node.outputs)
    types = ", ".join(str(o.type) for o in node.outputs)
    ins = ", ".join(f"%{names.get(v, '?')}" for v in node.inputs)
    line = f"{indent}{outs} : {types} = {node.op.name}({ins})"
    if node.attrs:
        line += " " + format_attrs(node.attrs, indent)
    if node.origin:
        line += "   # " + ", ".join(_format_origin(o) for o in node.origin)
    return line


def format_attrs(attrs: Attrs, indent: str = "") -> str:
    return "{" + ", ".join(f"{k}={format_attr(v, indent)}" for k, v in attrs.items()) + "}"


def format_attr(v: Any, indent: str = "") -> str:
    """The text of one attribute; floats are exact."""
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, float):
        return repr(float(v))
    if isinstance(v, str):
        return json.dumps(v)
    if isinstance(v, DType):
        return v.short
    if isinstance(v, tuple):
        return "(" + ", ".join(format_attr(x, indent) for x in v) + ("," if len(v) == 1 else "") + ")"
    if isinstance(v, Graph):
        return _graph_text(v, indent)
    if dims.is_dim(v):
        return dims.format_dim(v)
    raise TypeError(f"{v!r} cannot stand in an attribute")


def _graph_text(graph: Graph, indent: str) -> str:
    """`graph`, its first line not indented, so that it can stand behind `body=`."""
    names = value_names(graph)
    inner = indent + _INDENT
    symbols = ", ".join(str(s) for s in graph.symbols)
    lines = [f"graph {_format_graph_name(graph.name)}({symbols}) {{"]
    lines += [inner + line for line in _align(_heads(graph, names))]
    for g in graph.guards:
        lines.append(f"{inner}guard %{names[graph.inputs[g.input]]}[{g.axis}] in {{1, {dims.format_dim(g.dim)}}}")
    for c in graph.checks:
        lines.append(f"{inner}check {dims.format_dim(c.left)} == {dims.format_dim(c.right)} {json.dumps(c.what)}")
    lines += [format_node(n, names, inner) for n in graph.nodes]
    if graph.outputs:
        lines.append(f"{inner}output " + ", ".join(f"%{names[v]}" for v in graph.outputs))
    lines += [f"{inner}update %{names[u.variable.value]} = %{names[u.value]}" for u in graph.updates]
    return "\n".join([*lines, indent + "}"])


def _heads(graph: Graph, names: Mapping[Value, str]) -> Iterable[tuple[str, str]]:
    """What stands before and after the colon of the input and variable lines."""
    keyword = "input    " if graph.variables else "input "
    for v in graph.inputs:
        written = "" if v.name is None or v.name == names[v] else f"  {json.dumps(v.name)}"
        yield f"{keyword}%{names[v]}", f"{v.type}{written}"
    for x in graph.variables:
        trainable = " trainable" if x.trainable else ""
        yield f"variable %{names[x.value]}", f"{x.type}  {json.dumps(x.path)}{trainable}"


def _align(lines: Iterable[tuple[str, str]]) -> list[str]:
    pairs = list(lines)
    width = max((len(left) for left, _ in pairs), default=0)
    return [f"{left:<{width}} : {right}" for left, right in pairs]


def _identifier(hint: str) -> str:
    name = re.sub(r"\W", "_", hint, flags=re.ASCII)
    return name if name and not name[0].isdigit() else f"_{name}"


def _format_graph_name(name: str) -> str:
    return f"@{name}" if re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII) else f"@{json.dumps(name)}"


def _format_origin(name: str) -> str:
    return name if PLAIN_ORIGIN.fullmatch(name) else json.dumps(name)
