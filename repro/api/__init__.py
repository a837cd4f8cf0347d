"""The use cases; the one place where parts are wired together, and where clock, environment and host come in.

Names are imported when first used, so that a command pays for what it does and no more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.api.dockerfiles import ParsedInstruction as ParsedInstruction
    from repro.api.dockerfiles import check_dockerfile as check_dockerfile
    from repro.api.dockerfiles import parse_dockerfile as parse_dockerfile
    from repro.api.environment_build import Manner as Manner
    from repro.api.environments import BuiltImage as BuiltImage
    from repro.api.host import Host as Host
    from repro.api.image_build import BuildRequest as BuildRequest
    from repro.api.image_build import Evidence as Evidence
    from repro.api.image_build import ImageBuilt as ImageBuilt
    from repro.api.image_build import build_image as build_image
    from repro.api.images import format_fields as format_fields
    from repro.api.images import inspect_image as inspect_image
    from repro.api.images import list_images as list_images
    from repro.api.images import pairs as pairs
    from repro.api.questions import doctor as doctor
    from repro.api.questions import lineage_lines as lineage_lines
    from repro.api.questions import why as why
    from repro.api.runs import Run as Run
    from repro.api.runs import build as build
    from repro.api.runs import lock as lock
    from repro.api.runs import plan as plan
    from repro.api.runs import run_jobs as run_jobs
    from repro.api.runs import runs as runs
    from repro.api.runs import status as status
    from repro.api.runs import validate as validate

_HOMES = {
    "dockerfiles": ("ParsedInstruction", "check_dockerfile", "parse_dockerfile"),
    "environment_build": ("Manner",),
    "environments": ("BuiltImage",),
    "host": ("Host",),
    "image_build": ("BuildRequest", "Evidence", "ImageBuilt", "build_image"),
    "images": ("format_fields", "inspect_image", "list_images", "pairs"),
    "questions": ("doctor", "lineage_lines", "why"),
    "runs": ("Run", "build", "lock", "plan", "run_jobs", "runs", "status", "validate"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return the use case ``name`` from the module that holds it (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
