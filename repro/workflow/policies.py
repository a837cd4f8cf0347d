"""Whether and how a step is run: ``when``, ``retries``, ``network``, ``fetch``, ``entrypoint``, ``user``."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from repro.workflow import fields
from repro.workflow.amounts import Kind, parse_amount
from repro.workflow.expand import look_up
from repro.workflow.expressions import mentions
from repro.workflow.model import Retries
from repro.workflow.source import MapNode, Node, Scalar, Style
from repro.workflow.template import TemplateError, expression
from repro.workflow.values import core_value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from repro.workflow.fields import Problems
    from repro.workflow.model import Value

IMAGE = "image"
RETRIES_KEYS = ("count", "pause", "factor")
_NUMBER = re.compile(r"[0-9]+")
_LARGEST_ID = 2**32 - 2  # 2**32 - 1 is the kernel's "no user"


def read_retries(node: Node, path: str, problems: Problems) -> Retries:
    """Return how often and when a failed job is tried again, from a number or ``{count, pause, factor}``."""
    if not isinstance(node, MapNode):
        return Retries(fields.whole(node, path, problems, 0) or 0)
    found = fields.keys(node.entries, path, problems, RETRIES_KEYS)
    if "count" not in found:
        problems.add(node.where, path, "retries need a `count`", "as in {count: 3, pause: 10s}")
    count = fields.whole(found["count"], f"{path}.count", problems, 0) if "count" in found else None
    pause = _pause(found["pause"], f"{path}.pause", problems) if "pause" in found else None
    factor = _at_least(found["factor"], f"{path}.factor", problems, 1) if "factor" in found else None
    usual = Retries()
    return Retries(count or 0, usual.pause if pause is None else pause, usual.factor if factor is None else factor)


def _pause(node: Node, path: str, problems: Problems) -> float | None:
    """Return seconds, written as a number of them or as a time."""
    if isinstance(node, Scalar) and isinstance(core_value(node.text), str):
        try:
            return float(parse_amount(node.text, Kind.TIME))
        except TemplateError as error:
            problems.add(node.where, path, error.message, error.hint or "")
            return None
    return _at_least(node, path, problems, 0)


def _at_least(node: Node, path: str, problems: Problems, least: int) -> float | None:
    value = core_value(node.text) if isinstance(node, Scalar) and node.style is Style.PLAIN else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        problems.add(node.where, path, f"a number is needed here, found {fields.described(node)}")
        return None
    if value < least:
        problems.add(node.where, path, f"a number of at least {least} is needed here, found {value}")
        return None
    return float(value)


def read_when(
    node: Node, path: str, params: Mapping[str, Value], own: Collection[str], problems: Problems
) -> str | None:
    """Return the expression that switches a step on, tried with the workflow's ``params``.

    ``own`` are the step's own params, which it cannot see.
    """
    text = fields.text(node, path, problems, "an expression over params")
    if text is None:
        return None
    if "{{" in text:
        bare = text.strip().removeprefix("{{").removesuffix("}}").strip()
        hint = f"leave the braces out: {bare}" if "{{" not in bare else "leave the braces out"
        problems.add(node.where, path, "`when` is an expression already", hint)
        return None
    try:
        wrong = _unknown(text, params, own)
        if wrong is not None:
            problems.add(node.where, path, *wrong)
            return None
        applies(text, params)
    except TemplateError as error:
        hint = (
            error.hint if error.hint and "braces" not in error.hint else "write a Jinja2 expression, as in params.n > 1"
        )
        problems.add(node.where, path, error.message, hint)
        return None
    return text


def _unknown(text: str, params: Mapping[str, Value], own: Collection[str]) -> tuple[str, str] | None:
    """Return what an expression mentions that is none of the params, and the fix."""
    for name in sorted(mentions(expression(text))):
        shown = ".".join(name)
        if name[0] != "params":
            hint = f"did you mean 'params.{name[0]}'?" if name[0] in params else "name a param, as in params.paired"
            return f"{shown!r} cannot be used here: `when` sees params alone", hint
        if len(name) == 1:
            return "'params' is a group of values", "name one, as in params.paired"
        if name[1] not in params and name[1] in own:
            return (
                f"{shown!r} is the step's own, and `when` sees the workflow's",
                "declare it under `params:` at the top",
            )
        if name[1] not in params:
            return f"the workflow has no param {name[1]!r}", fields.near(
                name[1], params
            ) or "declare it under `params:`"
    return None


def applies(when: str, params: Mapping[str, Value]) -> bool:
    """Return whether the expression ``when`` is true of the workflow's params.

    Raises:
        TemplateError: it fails, or is neither true nor false.
    """
    scope: dict[str, object] = {"params": params}
    value = look_up(expression(when), scope)
    if not isinstance(value, bool):
        kind = (
            "a text" if isinstance(value, str) else "a number" if isinstance(value, int | float) else "no truth value"
        )
        hint = "compare it: params.mode == 'fast'" if isinstance(value, str) else "compare it, as in params.depth > 0"
        raise TemplateError(f"`when` must be true or false, and {when.strip()!r} is {kind}", hint=hint)
    return value


def read_network(found: Mapping[str, Node], step: str, problems: Problems, *, usual: bool = False) -> tuple[bool, bool]:
    """Return whether a step has the network, and whether it fetches, for which it has it in any case."""
    said = fields.truth(found["network"], f"{step}.network", problems) if "network" in found else None
    fetch = "fetch" in found and bool(fields.truth(found["fetch"], f"{step}.fetch", problems))
    if fetch and said is False:
        problems.add(found["network"].where, f"{step}.network", "a step that fetches has the network", "remove it")
    return fetch or (usual if said is None else said), fetch


def read_entrypoint(node: Node, path: str, problems: Problems) -> bool:
    """Return whether the image's ENTRYPOINT is used."""
    text = fields.text(node, path, problems, "`image`")
    if text is not None and text != IMAGE:
        message = f"{text!r}: the only entrypoint there is to choose is the image's"
        problems.add(node.where, path, message, "write `entrypoint: image`, or the whole command in `run`")
    return text == IMAGE


def read_user(node: Node, path: str, problems: Problems) -> str | None:
    """Return ``image``, or the number of a user."""
    text = fields.text(node, path, problems, "`image` or the number of a user")
    if text is None or text == IMAGE or (_NUMBER.fullmatch(text) and int(text) <= _LARGEST_ID):
        return text
    hint = "write `user: image` for the one that the image says, or a number; without it a step is root there"
    problems.add(node.where, path, f"{text!r} is neither `image` nor the number of a user", hint)
    return None
