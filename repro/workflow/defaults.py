"""The ``defaults:`` of a workflow: what a step may leave out."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow import fields
from repro.workflow.environments import variable_mistake
from repro.workflow.model import Retries
from repro.workflow.paths import read_path
from repro.workflow.policies import read_network, read_retries
from repro.workflow.resources import Asked, read_resources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location
    from repro.workflow.fields import Problems
    from repro.workflow.model import Value
    from repro.workflow.source import Node

DEFAULTS_KEYS = ("environment", "code", "env", "resources", "retries", "network")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for steps that do not say otherwise, and what all of them may name.

    Attributes:
        file: the workflow's own name in the project.
        environments: the names that are declared.
        params: the workflow's own.
        environment, env, resources, retries, network: as a step has them; a step's own ``env`` and ``resources``
            are laid over these, name by name.
        code: paths that every script may import, and where they stand.
    """

    file: str
    environments: tuple[str, ...]
    params: Mapping[str, Value]
    environment: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Asked = field(default_factory=Asked)
    retries: Retries = field(default_factory=Retries)
    network: bool = False
    code: tuple[tuple[str, Location], ...] = ()


def read_defaults(
    node: Node | None, file: str, environments: tuple[str, ...], params: Mapping[str, Value], problems: Problems
) -> Defaults:
    """Return the defaults that are right; mistakes go to ``problems``."""
    if node is None:
        return Defaults(file, environments, params)
    entries = fields.entries(node, "defaults", problems) or ()
    found = fields.keys(entries, "defaults", problems, DEFAULTS_KEYS)
    return Defaults(
        file=file,
        environments=environments,
        params=params,
        environment=_environment(found["environment"], environments, problems) if "environment" in found else None,
        env=fields.text_map(found["env"], "defaults.env", problems, variable_mistake) if "env" in found else {},
        resources=read_resources(found["resources"], "defaults.resources", problems)
        if "resources" in found
        else Asked(),
        retries=read_retries(found["retries"], "defaults.retries", problems) if "retries" in found else Retries(),
        network=read_network(found, "defaults", problems)[0],
        code=_code(found["code"], problems) if "code" in found else (),
    )


def _environment(node: Node, known: tuple[str, ...], problems: Problems) -> str | None:
    name = fields.text(node, "defaults.environment", problems, "an environment's name")
    if name is not None and name not in known:
        hint = fields.near(name, known) or "declare it under `environments:`"
        problems.add(node.where, "defaults.environment", f"no environment {name!r} is declared", hint)
    return name


def _code(node: Node, problems: Problems) -> tuple[tuple[str, Location], ...]:
    code = []
    for number, item in enumerate(fields.items(node, "defaults.code", problems, "paths") or ()):
        path = read_path(item, f"defaults.code.{number}", problems)
        if path is not None:
            code.append((path, item.where))
    return tuple(code)
