"""Tokens of the text form, with line numbers, and a cursor over them. `parser.py` comes after it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>[^\S\n]+)
      | (?P<newline>\n)
      | (?P<comment>\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<float>\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
      | (?P<int>\d+)
      | (?P<word>[^\W\d]\w*)
      | (?P<mark>==|//|[()\[\]{}<>,:=*+\-%@])""",
    re.VERBOSE | re.ASCII,
)
_ORIGIN = re.compile(r'\s*(?:(?P<plain>[\w./:\-]+)|(?P<quoted>"(?:[^"\\]|\\.)*"))\s*(?P<comma>,?)')


class ParseError(ValueError):
    """Text that is not a graph; the message has the line's number and text."""


@dataclass(frozen=True)
class Token:
    """`kind` is word, int, float, string, mark, comment or end; `position` counts characters of the whole text."""

    kind: str
    text: str
    line: int
    position: int
    first_on_line: bool

    def __str__(self) -> str:
        return "the end of the text" if self.kind == "end" else f"'{self.text}'"


class Cursor:
    """Walks over the tokens of a text. Comments on lines of their own are skipped."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.tokens = self._tokens(text)
        self.at = 0

    def _tokens(self, text: str) -> list[Token]:
        out: list[Token] = []
        line, position, first = 1, 0, True
        while position < len(text):
            m = _TOKEN.match(text, position)
            if m is None:
                token = Token("mark", text[position], line, position, first)
                raise self.error(f"unexpected character {text[position]!r}", token)
            kind = str(m.lastgroup)
            if kind == "newline":
                line, first = line + 1, True
            elif kind != "space":
                if kind != "comment" or not first:
                    out.append(Token(kind, m.group(), line, position, first))
                first = False
            position = m.end()
        out.append(Token("end", "", line, position, True))
        return out

    def error(self, message: str, token: Token | None = None) -> ParseError:
        """An error at `token` (default: the next one)."""
        line = (token or self.peek()).line
        text = self.lines[line - 1].strip()
        return ParseError(f"line {line}: {message}\n  {text if len(text) <= 200 else text[:200] + '...'}")

    def peek(self) -> Token:
        """The next token that is not a comment."""
        at = self.at
        while self.tokens[at].kind == "comment":
            at += 1
        return self.tokens[at]

    def next(self) -> Token:
        while self.tokens[self.at].kind == "comment":
            self.at += 1
        token = self.tokens[self.at]
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def accept(self, text: str) -> Token | None:
        """The next token if it is the mark or word `text`."""
        token = self.peek()
        return self.next() if token.text == text and token.kind != "string" else None

    def accept_kind(self, kind: str) -> Token | None:
        return self.next() if self.peek().kind == kind else None

    def expect(self, text: str) -> Token:
        token = self.accept(text)
        if token is None:
            raise self.error(f"expected '{text}', got {self.peek()}")
        return token

    def take(self, kind: str, what: str) -> Token:
        token = self.accept_kind(kind)
        if token is None:
            raise self.error(f"expected {what}, got {self.peek()}")
        return token

    def value_name(self) -> str:
        """The name behind a `%`, which must stand right before it."""
        mark = self.expect("%")
        token = self.next()
        if token.kind not in ("word", "int") or token.position != mark.position + 1:
            raise self.error("expected the name of a value, such as %x or %0", mark)
        return token.text

    def take_origin(self) -> tuple[str, ...]:
        """The origin in a comment at the end of the line just read, or ()."""
        token = self.tokens[self.at]
        if token.kind != "comment":
            return ()
        self.at += 1
        text, position = token.text[1:].rstrip(), 0
        names: list[str] = []
        comma = "," if text else ""
        while comma:
            m = _ORIGIN.match(text, position)
            if m is None:
                break
            names.append(m["plain"] if m["plain"] is not None else self._unquote(m["quoted"], token))
            position, comma = m.end(), m["comma"]
        if comma or position != len(text):
            raise self.error("the comment behind a node is its origin: names with commas between them", token)
        return tuple(names)

    def int_of(self, token: Token) -> int:
        if len(token.text) > 40:
            raise self.error("this integer is too long", token)
        return int(token.text)

    def string_of(self, token: Token) -> str:
        return self._unquote(token.text, token)

    def _unquote(self, text: str, token: Token) -> str:
        try:
            return str(json.loads(text))
        except ValueError:
            raise self.error(f"not a string: {text}", token) from None
