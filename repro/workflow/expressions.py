"""Expressions beyond a plain name: Jinja2's, sandboxed, without blocks, comments or globals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from repro.workflow.template import Placeholder, TemplateError
from repro.workflow.values import is_list, spell

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment


class Raw(str):
    """Text that goes into a command as it is: what ``| raw`` makes."""

    __slots__ = ()


def raw(value: object) -> Raw:
    """Return ``value`` spelled, a list separated by blanks, not to be quoted."""
    if is_list(value):
        return Raw(" ".join(spell(item, "an item before | raw") for item in value))
    return Raw(spell(value, "the value before | raw"))


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined  # noqa: PLC0415 - 110 ms
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415 - 110 ms

    class Expressions(SandboxedEnvironment):
        """``a.b`` on a mapping is its entry and nothing else, as on the fast path."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, Mapping):
                return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
            return super().getattr(obj, attribute)

    environment = Expressions(undefined=StrictUndefined)
    environment.globals.clear()
    del environment.filters["random"]
    environment.filters["raw"] = raw
    return environment


@lru_cache(maxsize=4096)
def _compiled(expression: str) -> Callable[..., object]:
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - 110 ms

    try:
        return _environment().compile_expression(expression, undefined_to_none=False)
    except TemplateSyntaxError as error:
        raise TemplateError(
            f"{{{{ {expression} }}}} cannot be read: {error.message}",
            hint="a Jinja2 expression is needed; \\{{ is two literal braces",
        ) from error


def evaluate(placeholder: Placeholder, scope: Mapping[str, object]) -> object:
    """Return the value of any expression in ``scope``; TemplateError where it fails or names what is not there."""
    from jinja2 import StrictUndefined  # noqa: PLC0415 - 110 ms
    from jinja2 import TemplateError as JinjaError  # noqa: PLC0415

    try:
        result = _compiled(placeholder.expression)(scope)
        if isinstance(result, StrictUndefined):
            str(result)  # raises the error that names it
    except JinjaError as error:
        raise TemplateError(f"{placeholder}: {error.message}", index=placeholder.index) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise TemplateError(f"{placeholder} fails: {error}", index=placeholder.index) from error
    return result


def readable(placeholder: Placeholder) -> bool:
    """Return whether the expression is one at all: awk's ``{{print $1}}`` is not."""
    try:
        mentions(placeholder)
    except TemplateError:
        return False
    return True


@lru_cache(maxsize=65536)
def mentions(placeholder: Placeholder) -> frozenset[tuple[str, ...]]:
    """Return the names an expression uses: ``("sample",)``, ``("inputs", "reads")``; TemplateError as `evaluate`."""
    if placeholder.name is not None:
        return frozenset((placeholder.name[:2],))
    from jinja2 import nodes  # noqa: PLC0415 - 110 ms  # noqa: PLC0415 - 110 ms

    _compiled(placeholder.expression)
    # The braces are added back: the expression was found valid above, so this reads the same one.
    tree = _environment().parse(f"{{{{ {placeholder.expression} }}}}")
    found: set[tuple[str, ...]] = set()
    qualified: set[int] = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        head = getattr(node, "node", None)
        tail = node.attr if isinstance(node, nodes.Getattr) else _constant(getattr(node, "arg", None))
        if isinstance(head, nodes.Name) and tail is not None:
            found.add((head.name, tail))
            qualified.add(id(head))
    found.update((node.name,) for node in tree.find_all(nodes.Name) if node.ctx == "load" and id(node) not in qualified)
    return frozenset(found)


def _constant(node: object) -> str | None:
    value = getattr(node, "value", None)
    return value if isinstance(value, str) else None
