"""The verdict on two builds of one Dockerfile: the same image, or which instruction made which file differ, and why."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Final

from repro.build.causes import CONSEQUENCE, SOURCE, UNKNOWN, Finding
from repro.build.compare import compare_layers
from repro.build.explain import Known, find_causes
from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.build.compare import Unequal
    from repro.build.engine import BuildResult, MadeLayer
    from repro.digest import Digest, Json
    from repro.errors import Location
    from repro.oci.store import Store

_MOST: Final = 100  # paths of one instruction that are looked into


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs at one path of the layer that an instruction made.

    Attributes:
        stage, instruction, where: the instruction, and its place in the Dockerfile. Of a difference in the image's
            settings the instruction is empty, and ``path`` names the setting.
        path: from the root of the image.
        differs: in what: ``content``, ``mode 0644 and 0600``, ``only in the first``.
        findings: why, the surest first; never empty.
    """

    stage: str
    instruction: str
    where: Location | None
    path: str
    differs: tuple[str, ...]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Json]:
        """Return it for programs."""
        return {
            "stage": self.stage,
            "instruction": self.instruction,
            "where": None if self.where is None else str(self.where),
            "path": self.path,
            "differs": list(self.differs),
            "causes": [
                {
                    "code": finding.cause.code,
                    "title": finding.cause.title,
                    "evidence": finding.evidence,
                    "hint": finding.cause.hint,
                }
                for finding in self.findings
            ],
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a second build gave the same image ID.

    Attributes:
        first, second: the two image IDs.
        differences: empty where they are the same; in the order of the Dockerfile.
        unlisted: how many more paths differ than `differences` lists.
        conditions: what was different about the second build, for people.
    """

    first: Digest
    second: Digest
    differences: tuple[Difference, ...]
    unlisted: int
    conditions: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the two builds gave one image."""
        return self.first == self.second

    def as_json(self) -> dict[str, Json]:
        """Return it for programs."""
        return {
            "same": self.same,
            "first": str(self.first),
            "second": str(self.second),
            "conditions": list(self.conditions),
            "differences": [difference.as_json() for difference in self.differences],
            "unlisted": self.unlisted,
        }


def judge(
    first: BuildResult, second: BuildResult, stores: tuple[Store, Store], known: Known, conditions: tuple[str, ...]
) -> Verdict:
    """Return the verdict on two builds of one text; each one's layers lie in its store, both of one form."""
    if first.image_id == second.image_id:
        return Verdict(first.image_id, second.image_id, (), 0, conditions)
    found: list[Difference] = []
    unlisted = 0
    for one, two in zip(first.layers, second.layers, strict=True):  # one text: the same instructions make layers
        if one.diff_id == two.diff_id:
            continue
        before = bool(found)
        folders = stores[0].layer_path(one.diff_id), stores[1].layer_path(two.diff_id)
        unequal = compare_layers(*folders, stores[0].form)
        found += [_difference(one, each, known, before=before) for each in itertools.islice(unequal, _MOST)]
        unlisted += sum(1 for _ in unequal)
    if not found:
        found += _settings(stores[0].read_blob(first.image_id), stores[1].read_blob(second.image_id))
    return Verdict(first.image_id, second.image_id, tuple(found), unlisted, conditions)


def _difference(made: MadeLayer, unequal: Unequal, known: Known, *, before: bool) -> Difference:
    """Explain one path; ``before``: an earlier instruction's layer differs, which may be why this one does."""
    differs = [str(aspect) for aspect in unequal.aspects]
    if unequal.content is not None:
        differs.append("content")
    if unequal.only:
        differs.append(f"only in the {unequal.only}")
    findings = find_causes(unequal, known)
    copied = made.text.split(None, 1)[0].upper() in {"COPY", "ADD"}
    if before and (copied or findings[0].cause is UNKNOWN):
        findings = (Finding(CONSEQUENCE, findings[0].evidence),)
    elif copied:
        findings = (Finding(SOURCE, findings[0].evidence),)
    return Difference(made.stage, made.text, made.where, f"/{unequal.path}", tuple(differs), findings)


def _settings(first: bytes, second: bytes) -> Sequence[Difference]:
    """Return which settings of two image configs differ, when no layer does."""
    one, two = json.loads(first), json.loads(second)
    keys = [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]
    return [Difference("", "", None, key, (f"{one.get(key)} and {two.get(key)}",), (Finding(UNKNOWN),)) for key in keys]
