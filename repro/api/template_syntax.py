"""Templates of ``--format`` as users of Docker type them: their text as a tree, each mistake with its place.

It is the part of Go's text/template that such templates are made of: fields, variables, literals, calls, pipes and
parentheses; ``if``, ``range`` and ``with``, each with ``else``; comments, and the trim marks ``{{-`` and ``-}}``.
`repro.api.templates` says what it means.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from repro.api.template_tokens import ESCAPES, Action, Token, escaped, pieces_of
from repro.dataclass import dataclass
from repro.errors import Location, UsageError

if TYPE_CHECKING:
    from repro.digest import Json

UNDERSTOOD: Final = (
    "understood are {{ .Field }}, {{ json .Field }}, {{ index .List 0 }}, {{ range .List }}...{{ else }}...{{ end }}, "
    "{{ if .Field }}...{{ end }}, {{ with .Field }}...{{ end }}, {{ $name := .Field }}, pipes, and the functions "
)
_DEEPEST: Final = 50  # parentheses and blocks in each other
_KEYWORDS: Final = frozenset(("if", "else", "end", "range", "with"))
_WORDS: Final[dict[str, Json]] = {"true": True, "false": False, "nil": None}


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number, ``true``, ``false`` or ``nil``."""

    value: Json


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``; ``$`` is what the template is filled in from, and the empty name is the dot."""

    name: str
    at: Location


@dataclass(frozen=True, slots=True)
class Field:
    """``.Name`` of what ``base`` gives."""

    base: Expression
    name: str
    at: Location


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments; what came through a pipe is the last."""

    function: str
    arguments: tuple[Expression, ...]
    at: Location


Expression: TypeAlias = Literal | Variable | Field | Call


@dataclass(frozen=True, slots=True)
class Output:
    """Print what ``value`` gives."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Assign:
    """``$name := value``, or with ``=`` in place of the variable's old value."""

    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Choice:
    """``if``, or with ``dot`` set ``with``: ``body`` if ``value`` is not empty, else ``otherwise``."""

    value: Expression
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    dot: bool


@dataclass(frozen=True, slots=True)
class Range:
    """``body`` for each item of ``value``, else ``otherwise``; ``names`` are the variables of key and item."""

    value: Expression
    names: tuple[str, ...]
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    at: Location


Node: TypeAlias = str | Output | Assign | Choice | Range


def parse_template(text: str, functions: frozenset[str], *, escapes: bool = False) -> tuple[Node, ...]:
    """Return the template's tree. UsageError, located, for what is not understood.

    ``functions`` are the names that may be called. ``escapes``: see `repro.api.templates.Template`.
    """
    pieces = pieces_of(text)
    if escapes:
        pieces = [re.sub(r"\\([tn])", escaped, one) if isinstance(one, str) else one for one in pieces]
    parser = _Parser(pieces, functions)
    nodes, ended_by = parser.block(top=True)
    assert ended_by == ""
    return nodes


class _Parser:
    """Reads pieces one by one; tokens of the action at hand likewise."""

    def __init__(self, pieces: list[str | Action], functions: frozenset[str]) -> None:
        self._pieces = pieces
        self._next = 0
        self._functions = functions
        self._tokens: tuple[Token, ...] = ()
        self._token = 0
        self._at = Location("--format", 1)
        self._depth = 0
        self._variables = {"$"}

    def block(self, *, top: bool = False) -> tuple[tuple[Node, ...], str]:
        """Return the nodes up to ``else`` or ``end``, and which of the two it was; at the top, up to the end."""
        nodes: list[Node] = []
        known = set(self._variables)
        while self._next < len(self._pieces):
            piece = self._pieces[self._next]
            self._next += 1
            if isinstance(piece, str):
                if piece:
                    nodes.append(piece)
                continue
            self._tokens, self._token, self._at = piece.tokens, 0, piece.at
            word = self._peek()
            keyword = word.text if word is not None and word.text in _KEYWORDS else ""
            if keyword in {"else", "end"}:
                if top:
                    self._fail(f"{{{{ {keyword} }}}} without what it belongs to")
                self._take()
                self._variables = known
                return tuple(nodes), keyword
            nodes.append(self._control(keyword) if keyword else self._statement())
        if not top:
            raise UsageError("an if, range or with without its {{ end }}", where=self._at, hint="add {{ end }}")
        return tuple(nodes), ""

    def _control(self, keyword: str) -> Node:
        """Return a block that begins with ``keyword``, the next token."""
        at = self._at
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(f"more than {_DEEPEST} blocks in each other")
        self._take()
        names = self._range_names() if keyword == "range" else ()
        value = self._pipeline()
        self._end_action()
        outside = set(self._variables)
        self._variables |= set(names)
        body, ended = self.block()
        self._variables = outside
        otherwise: tuple[Node, ...] = ()
        if ended == "else":
            follows = self._peek(skip_blank=True)
            if follows is not None and follows.text in {"if", "with"} and keyword != "range":
                self._skip_blank()
                otherwise = (self._control(follows.text),)
                self._depth -= 1
                return Choice(value, body, otherwise, keyword == "with")
            self._end_action()
            otherwise, ended = self.block()
            if ended == "else":
                self._fail("a second {{ else }}")
        self._end_action()
        self._depth -= 1
        if keyword == "range":
            return Range(value, names, body, otherwise, at)
        return Choice(value, body, otherwise, keyword == "with")

    def _range_names(self) -> tuple[str, ...]:
        """Return the variables before ``:=``, none to two."""
        mark = next((place for place, token in enumerate(self._tokens) if token.text == ":="), None)
        if mark is None:
            return ()
        names = [token for token in self._tokens[self._token : mark] if token.kind != "blank" and token.text != ","]
        if not 1 <= len(names) <= 2 or any(token.kind != "variable" for token in names):
            self._fail("before := stand one or two variables, as in {{ range $key, $value := .Config.Labels }}")
        self._token = mark + 1
        return tuple(token.text for token in names)

    def _statement(self) -> Node:
        """Return an action that is no block."""
        token = self._peek()
        if token is None:
            self._fail("{{ }} with nothing in it")
        plain = [one for one in self._tokens if one.kind != "blank"]
        if token.kind == "variable" and len(plain) > 1 and plain[1].text in {":=", "="}:
            self._take()
            self._skip_blank()
            declares = self._take().text == ":="
            if not declares and token.text not in self._variables:
                self._fail(f"there is no variable {token.text}", token)
            value = self._pipeline()
            self._end_action()
            self._variables.add(token.text)
            return Assign(token.text, value)
        value = self._pipeline()
        self._end_action()
        return Output(value)

    def _pipeline(self) -> Expression:
        """Return commands joined by ``|``: each but the first is a function that takes what came before as its last."""
        value = self._command(None)
        while True:
            self._skip_blank()
            token = self._peek()
            if token is None or token.text != "|":
                return value
            self._take()
            value = self._command(value)

    def _command(self, piped: Expression | None) -> Expression:
        self._skip_blank()
        first = self._peek()
        if first is None:
            self._fail("something is missing here")
        if first.kind == "word" and first.text not in _WORDS:
            self._take()
            if first.text not in self._functions:
                self._unknown(first)
            arguments = self._arguments()
            if piped is not None:
                arguments.append(piped)
            return Call(first.text, tuple(arguments), first.at)
        value = self._operand()
        if not self._ends_command():
            self._fail("only a function takes arguments", self._peek(skip_blank=True) or first)
        if piped is not None:
            self._fail("a pipe leads into a function", first)
        return value

    def _arguments(self) -> list[Expression]:
        found = []
        while not self._ends_command():
            self._skip_blank()
            found.append(self._operand())
            if not self._ends_operand():
                self._fail("a blank is missing between two arguments", self._peek())
        return found

    def _ends_operand(self) -> bool:
        token = self._peek()
        return token is None or token.kind == "blank" or token.text in {"|", ")"}

    def _ends_command(self) -> bool:
        token = self._peek(skip_blank=True)
        return token is None or token.text in {"|", ")"}

    def _operand(self) -> Expression:
        """Return a value, and the fields that are asked of it."""
        token = self._take()
        value: Expression
        match token.kind:
            case "number":
                value = Literal(float(token.text) if "." in token.text else int(token.text))
            case "text":
                value = Literal(self._unquoted(token))
            case "variable":
                if token.text not in self._variables:
                    self._fail(f"there is no variable {token.text}", token)
                value = Variable(token.text, token.at)
            case "field":
                value = Field(Variable("", token.at), token.text[1:], token.at)
            case "word":
                if token.text not in _WORDS:
                    self._fail(f"not understood: {token.text!r}", token, "write a field with a dot, a text in quotes")
                value = Literal(_WORDS[token.text])
            case _ if token.text == ".":
                value = Variable("", token.at)
            case _ if token.text == "(":
                self._depth += 1
                if self._depth > _DEEPEST:
                    self._fail(f"more than {_DEEPEST} parentheses in each other", token)
                value = self._pipeline()
                self._skip_blank()
                if self._peek() is None or self._take().text != ")":
                    self._fail("( without )", token)
                self._depth -= 1
            case _:
                self._fail(f"not understood: {token.text!r}", token)
        while (follows := self._peek()) is not None and follows.kind == "field":
            self._take()
            value = Field(value, follows.text[1:], follows.at)
        return value

    def _unquoted(self, token: Token) -> str:
        if token.text.startswith("`"):
            return token.text[1:-1]
        inner = token.text[1:-1]
        if set(re.findall(r"\\(.)", inner)) - set(ESCAPES):
            self._fail(f"not a text: {token.text}", token, "after a backslash stands n, t, r, a quote or a backslash")
        return re.sub(r"\\(.)", escaped, inner)

    def _unknown(self, token: Token) -> NoReturn:
        import difflib  # noqa: PLC0415 - only on the way to an error

        near = difflib.get_close_matches(token.text, self._functions, 1)
        hint = f"did you mean {near[0]}?" if near else UNDERSTOOD + ", ".join(sorted(self._functions))
        self._fail(f"there is no function {token.text!r}", token, hint)

    def _end_action(self) -> None:
        token = self._peek(skip_blank=True)
        if token is not None:
            self._fail(f"not understood: {token.text!r}", token)

    def _peek(self, *, skip_blank: bool = False) -> Token | None:
        place = self._token
        while skip_blank and place < len(self._tokens) and self._tokens[place].kind == "blank":
            place += 1
        return self._tokens[place] if place < len(self._tokens) else None

    def _skip_blank(self) -> None:
        while (token := self._peek()) is not None and token.kind == "blank":
            self._token += 1

    def _take(self) -> Token:
        token = self._peek()
        if token is None:
            self._fail("something is missing here")
        self._token += 1
        return token

    def _fail(self, message: str, token: Token | None = None, hint: str | None = None) -> NoReturn:
        raise UsageError(message, where=token.at if token is not None else self._at, hint=hint)
