"""From YAML text to nodes: libyaml's events, composed by hand, so that nothing is typed or dropped in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from repro.dataclass import dataclass
from repro.errors import Location, Problem, WorkflowError
from repro.workflow.repair import repaired_line
from repro.workflow.source import Entry, ListNode, MapNode, Node, Scalar, Source, Style
from repro.workflow.syntax import indented_by_tab, syntax_problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import yaml

    class _Mark(Protocol):
        """Where an event starts or ends, from 0; libyaml's marks and Python's are two types."""

        line: int
        column: int


_Collection = TypeVar("_Collection", ListNode, MapNode)

_DEEPEST = 64  # levels of nesting
_LARGEST = 2_000_000  # nodes once every alias is followed
_MOST_MENDED = 50  # lines; each costs a pass over the file
_MERGE = "<<"
_MISREAD = "YAML reads this {{ as the start of a mapping"


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its root (None where empty), and the mistakes that did not keep it from being read."""

    source: Source
    root: Node | None
    problems: tuple[Problem, ...]


class _Stop(Exception):  # noqa: N818 - carries a problem to `parse` and never leaves this module
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def parse(text: str, file: str) -> Document:
    """Return the nodes of ``text``; a WorkflowError holds a syntax error alone.

    A line in which YAML misreads a plain ``{{`` is mended, reported, and reading goes on with the mended text,
    so that it hides no other mistake.
    """
    original = source = Source.read(text, file)
    misread: dict[int, Problem] = {}
    while isinstance(read := _attempt(source), _Failure):
        mended = _mended(source, read, misread) if len(misread) < _MOST_MENDED else None
        if mended is None:
            raise WorkflowError([*misread.values(), read.problem])
        number, better = mended
        column = original.line(number).find("{{") + 1
        place = Location(file, number, max(column, 1))
        misread[number] = original.problem(place, "", _MISREAD, f"quote it: {better.strip()}")
        source = source.with_line(number, better)
    return Document(source, read.root, (*misread.values(), *read.problems))


@dataclass(frozen=True, slots=True)
class _Failure:
    """What stops YAML from reading a text as meant; ``in_flow``: its line begins inside brackets."""

    problem: Problem
    line: int
    in_flow: bool


def _attempt(source: Source) -> Document | _Failure:
    import yaml  # noqa: PLC0415 - 39 ms

    composer = _Composer(source)
    try:
        root = composer.document()
    except yaml.YAMLError as error:
        problem = syntax_problem(source, error)
        mark = getattr(error, "problem_mark", None)
        context = getattr(error, "context_mark", None)
        in_flow = "flow" in (getattr(error, "context", "") or "") and mark and context and context.line < mark.line
        return _Failure(problem, mark.line + 1 if mark else 0, bool(in_flow))
    except _Stop as stop:
        return _Failure(stop.problem, stop.problem.where.line, in_flow=False)
    return Document(source, root, tuple(composer.problems))


def _mended(source: Source, failure: _Failure, done: Collection[int]) -> tuple[int, str] | None:
    """Return the line (its number and its text) whose plain ``{{`` explains the failure, quoted.

    It explains it when the text, so mended, can be read beyond that line.
    """
    for number in (failure.line, failure.line - 1):
        if number < 1 or number in done or indented_by_tab(source.line(number)):
            continue
        for in_flow in (failure.in_flow, True):
            better = repaired_line(source.line(number), in_flow=in_flow)
            if better is None:
                continue
            after = _attempt(source.with_line(number, better))
            if isinstance(after, Document) or after.line > max(number, failure.line):
                return number, better
    return None


class _Composer:
    """Builds nodes from events; `_Stop` at a ``{{`` that is not read as meant."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[int, int] = {}
        self._path: list[str] = []
        self._events = self._parse()
        self._ahead: yaml.Event | None = None

    def _parse(self) -> Iterator[yaml.Event]:
        import yaml  # noqa: PLC0415 - 39 ms

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        events: Iterator[yaml.Event] = yaml.parse(self.source.text, Loader=loader)
        return events

    def document(self) -> Node | None:
        """Return the root node of the one document."""
        import yaml  # noqa: PLC0415 - 39 ms

        self._next()  # the stream's start
        if isinstance(self._peek(), yaml.StreamEndEvent):
            return None
        self._next()  # the document's start
        root = self._node()
        self._next()  # the document's end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            self._add(self._where(after), "a second document starts here", "keep one workflow in one file")
        return root

    def _peek(self) -> yaml.Event:
        if self._ahead is None:
            self._ahead = next(self._events)
        return self._ahead

    def _next(self) -> yaml.Event:
        event = self._peek()
        self._ahead = None
        return event

    def _where(self, event: yaml.Event) -> Location:
        return self._place(event.start_mark)

    def _place(self, mark: _Mark | None) -> Location:
        assert mark is not None  # events read from text have both marks
        return Location(self.source.file, mark.line + 1, mark.column + 1)

    def _add(self, where: Location, message: str, hint: str = "") -> None:
        self.problems.append(self.source.problem(where, ".".join(self._path), message, hint))

    def _node(self) -> Node:
        import yaml  # noqa: PLC0415 - 39 ms

        event = self._next()
        where = self._where(event)
        if len(self._path) > _DEEPEST:
            raise _Stop(self.source.problem(where, "", f"nested more than {_DEEPEST} levels deep"))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, where)
        assert isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent)
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
            self._add(where, f"the tag {event.tag} is not used in workflows", "remove it")
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, where)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(where)
        else:
            node = self._map(event, where)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, where: Location) -> Node:
        if event.anchor in self._anchors:
            return self._anchors[event.anchor]
        self._add(where, f"no anchor &{event.anchor} stands before this", f"write &{event.anchor} at the value meant")
        return Scalar("", Style.PLAIN, where, self.source.offset(where))

    def _scalar(self, event: yaml.ScalarEvent, where: Location) -> Scalar:
        style = {"|": Style.BLOCK, ">": Style.BLOCK, "'": Style.QUOTED, '"': Style.QUOTED}.get(event.style or "")
        if style is None:
            style = Style.PLAIN if event.tag is None else Style.QUOTED  # !!str makes it text
        end = self.source.offset(self._place(event.end_mark))
        return Scalar(event.value, style, where, end)

    def _list(self, where: Location) -> ListNode:
        import yaml  # noqa: PLC0415 - 39 ms

        items: list[Node] = []
        while not isinstance(self._peek(), yaml.SequenceEndEvent):
            self._path.append(str(len(items)))
            items.append(self._node())
            self._path.pop()
        self._next()
        return self._sized(ListNode(tuple(items), where), items)

    def _map(self, start: yaml.MappingStartEvent, where: Location) -> MapNode:
        import yaml  # noqa: PLC0415 - 39 ms

        entries: dict[str, Entry] = {}
        merged: list[Node] = []
        first = True
        while not isinstance(key_event := self._peek(), yaml.MappingEndEvent):
            if first and start.flow_style and isinstance(key_event, yaml.MappingStartEvent):
                self._refuse_misread(where, self._where(key_event))
            first = False
            key = self._key()
            self._path.append(key.text)
            value = self._node()
            if key.text == _MERGE and key.style is Style.PLAIN:
                merged.append(value)
            elif key.text in entries:
                line = entries[key.text].key.where.line
                self._add(
                    key.where,
                    f"{key.text!r} stands here a second time",
                    f"keep one of the two; the first is in line {line}",
                )
            else:
                entries[key.text] = Entry(key, value)
            self._path.pop()
        self._next()
        for node in merged:
            self._merge(entries, node)
        return self._sized(MapNode(tuple(entries.values()), where), [entry.value for entry in entries.values()])

    def _refuse_misread(self, outer: Location, inner: Location) -> None:
        if (outer.line, outer.column + 1) == (inner.line, inner.column):
            raise _Stop(self.source.problem(outer, ".".join(self._path), _MISREAD, "quote the whole value"))

    def _key(self) -> Scalar:
        node = self._node()
        if isinstance(node, Scalar):
            return node
        self._add(node.where, "a key must be plain text", "quote it, if these brackets are part of a name")
        return Scalar("", Style.QUOTED, node.where, self.source.offset(node.where))

    def _merge(self, entries: dict[str, Entry], node: Node) -> None:
        """Add what ``<<`` brings in; keys that stand here win, then the earlier mappings (YAML merge key draft)."""
        for part in node.items if isinstance(node, ListNode) else (node,):
            if not isinstance(part, MapNode):
                self._add(
                    part.where, "<< takes a mapping or a list of mappings", "name an anchor of a mapping: <<: *name"
                )
                continue
            for entry in part:
                entries.setdefault(entry.key.text, entry)

    def _sized(self, node: _Collection, children: list[Node]) -> _Collection:
        size = 1 + sum(self._sizes.get(id(child), 1) for child in children)
        if size > _LARGEST:
            raise _Stop(self.source.problem(node.where, "", "the aliases multiply to too many values", "write fewer"))
        self._sizes[id(node)] = size
        return node
