"""The cases: what `cases/NAME/` holds, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

CASES = Path(__file__).resolve().parent / "cases"
JUDGES = ("docker", "buildah", "written")
_KEYS = {
    "about", "judge", "options", "context", "beside", "serve", "images", "bases",
    "differences", "single", "subordinate", "refused", "podman",
}  # fmt: skip

Entries = dict[str, object]


class CaseError(Exception):
    """A case that is written wrongly; the message names its file."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a wrong Dockerfile is refused.

    Attributes:
        line: the line of the Dockerfile that our error names; 0: none.
        says: words that stand in our error.
        alone: why we refuse what the judge builds; empty: the judge refuses it, too.
    """

    line: int
    says: str
    alone: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One Dockerfile, the surroundings it is built in, and who says what must come out.

    Attributes:
        name: of its folder.
        folder: where ``Dockerfile`` and ``case.json`` are.
        about: one sentence: what Docker does that is tried here.
        judge: ``docker``, ``buildah``, or ``written`` for a result written by hand in ``expected.json``.
        options: flags that both `docker build` and `repro image build` take, after the ones of the runner; ``{server}``
            in them is the address of the files to ``serve``.
        context: files of the build context (`layout`), laid over those of the folder ``context``.
        beside: files outside the context, in the folder that the build is started in (secrets).
        serve: files that a web server on the loopback has.
        images: images to build first with the same context, by name: the Dockerfile's name in ``folder``.
        bases: the bases that the Dockerfile starts from: ``base`` and ``debian``.
        differences: what differs from the judge, as patterns of ``PATH FIELD`` or ``config FIELD``, each with its reason.
        single: what differs for a user with a single ID from what root gets, in the same way; ``build``: it fails.
        subordinate: the same for a user with subordinate ranges.
        refused: set when the judge and we must refuse the Dockerfile.
        podman: podman, too, has to unpack our image to the same tree.
    """

    name: str
    folder: Path
    about: str
    judge: str = "docker"
    options: tuple[str, ...] = ()
    context: Entries = field(default_factory=dict)
    beside: Entries = field(default_factory=dict)
    serve: Entries = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ("base",)
    differences: dict[str, str] = field(default_factory=dict)
    single: dict[str, str] = field(default_factory=dict)
    subordinate: dict[str, str] = field(default_factory=dict)
    refused: Refusal | None = None
    podman: bool = False

    def expected(self) -> dict[str, dict]:
        """Return what ``expected.json`` says: ``paths``, ``gone`` and ``config``."""
        return json.loads((self.folder / "expected.json").read_text(encoding="utf-8"))


def load(folder: Path) -> Case:
    """Return the case in ``folder``; CaseError when it is not written as README.md says."""
    where = folder / "case.json"
    try:
        given = json.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaseError(f"{where}: {error}") from error
    unknown = sorted(set(given) - _KEYS)
    if unknown:
        raise CaseError(f"{where}: unknown keys: {', '.join(unknown)}")
    if not given.get("about"):
        raise CaseError(f"{where}: about is missing")
    if not (folder / "Dockerfile").exists():
        raise CaseError(f"{folder}: there is no Dockerfile")
    if given.get("judge", "docker") not in JUDGES:
        raise CaseError(f"{where}: judge is one of {', '.join(JUDGES)}")
    if (given.get("judge") == "written" and "refused" not in given) != (folder / "expected.json").exists():
        raise CaseError(f'{folder}: expected.json goes with `"judge": "written"`, and only with it')
    refused = given.pop("refused", None)
    for listed in ("options", "bases"):
        if listed in given:
            given[listed] = tuple(given[listed])
    return Case(folder.name, folder, refused=Refusal(**refused) if refused else None, **given)


def load_all() -> list[Case]:
    """Return all cases, by name."""
    return [load(folder) for folder in sorted(CASES.iterdir()) if folder.is_dir()]
