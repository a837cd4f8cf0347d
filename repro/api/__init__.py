"""The use cases; the one place where parts are wired together, and where clock, environment and host come in.

Names are imported when first used, so that a command pays for what it does and no more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.api.data import check_data as check_data
    from repro.api.data import data_tree as data_tree
    from repro.api.data import get_data as get_data
    from repro.api.data import list_data as list_data
    from repro.api.data_limit import collect_data as collect_data
    from repro.api.data_put import put_data as put_data
    from repro.api.debugging import debug as debug
    from repro.api.dockerfiles import ParsedInstruction as ParsedInstruction
    from repro.api.dockerfiles import check_dockerfile as check_dockerfile
    from repro.api.dockerfiles import parse_dockerfile as parse_dockerfile
    from repro.api.env import export_environment as export_environment
    from repro.api.env import list_environments as list_environments
    from repro.api.env import render_environment as render_environment
    from repro.api.env_diff import diff_environments as diff_environments
    from repro.api.environment_build import Manner as Manner
    from repro.api.environments import BuiltImage as BuiltImage
    from repro.api.following import follow_log as follow_log
    from repro.api.following import follow_run as follow_run
    from repro.api.host import Host as Host
    from repro.api.image_build import BuildRequest as BuildRequest
    from repro.api.image_build import Evidence as Evidence
    from repro.api.image_build import ImageBuilt as ImageBuilt
    from repro.api.image_build import build_image as build_image
    from repro.api.image_build import pairs as pairs
    from repro.api.image_diff import diff_images as diff_images
    from repro.api.image_files import load_images as load_images
    from repro.api.image_files import save_images as save_images
    from repro.api.image_inspect import image_history as image_history
    from repro.api.image_inspect import inspect_image as inspect_image
    from repro.api.image_list import ImageRow as ImageRow
    from repro.api.image_list import list_images as list_images
    from repro.api.image_names import Removal as Removal
    from repro.api.image_names import prune_images as prune_images
    from repro.api.image_names import remove_images as remove_images
    from repro.api.image_names import tag_image as tag_image
    from repro.api.loaded import LoadedWorkflow as LoadedWorkflow
    from repro.api.loaded import load as load
    from repro.api.lock_check import check_lock as check_lock
    from repro.api.locking import lock as lock
    from repro.api.overrides import read_overrides as read_overrides
    from repro.api.plans import Planned as Planned
    from repro.api.plans import plan as plan
    from repro.api.plans import validate as validate
    from repro.api.publishing import publish as publish
    from repro.api.publishing import published as published
    from repro.api.publishing import require_publish as require_publish
    from repro.api.questions import doctor as doctor
    from repro.api.questions import lineage_lines as lineage_lines
    from repro.api.questions import why as why
    from repro.api.registries import registry_listing as registry_listing
    from repro.api.registries import registry_login as registry_login
    from repro.api.registries import registry_logout as registry_logout
    from repro.api.run_history import job_log as job_log
    from repro.api.run_history import run_jobs as run_jobs
    from repro.api.run_history import runs as runs
    from repro.api.run_history import status as status
    from repro.api.runs import Run as Run
    from repro.api.runs import build as build
    from repro.api.selection import Selection as Selection
    from repro.api.selection import named_amounts as named_amounts
    from repro.api.store import check_store as check_store
    from repro.api.store import collect_store as collect_store
    from repro.api.store import store_usage as store_usage
    from repro.api.templates import Template as Template
    from repro.api.transfer import Transferred as Transferred
    from repro.api.transfer import pull_image as pull_image
    from repro.api.transfer import push_image as push_image
    from repro.api.transfer import repairer as repairer
    from repro.api.vendoring import vendor_lock as vendor_lock

_HOMES = {
    "data": ("check_data", "data_tree", "get_data", "list_data"),
    "data_limit": ("collect_data",),
    "data_put": ("put_data",),
    "debugging": ("debug",),
    "dockerfiles": ("ParsedInstruction", "check_dockerfile", "parse_dockerfile"),
    "env": ("export_environment", "list_environments", "render_environment"),
    "env_diff": ("diff_environments",),
    "environment_build": ("Manner",),
    "environments": ("BuiltImage",),
    "following": ("follow_log", "follow_run"),
    "host": ("Host",),
    "image_build": ("BuildRequest", "Evidence", "ImageBuilt", "build_image", "pairs"),
    "image_diff": ("diff_images",),
    "image_files": ("load_images", "save_images"),
    "image_inspect": ("image_history", "inspect_image"),
    "image_list": ("ImageRow", "list_images"),
    "image_names": ("Removal", "prune_images", "remove_images", "tag_image"),
    "loaded": ("LoadedWorkflow", "load"),
    "lock_check": ("check_lock",),
    "locking": ("lock",),
    "overrides": ("read_overrides",),
    "plans": ("Planned", "plan", "validate"),
    "publishing": ("publish", "published", "require_publish"),
    "questions": ("doctor", "lineage_lines", "why"),
    "registries": ("registry_listing", "registry_login", "registry_logout"),
    "run_history": ("job_log", "run_jobs", "runs", "status"),
    "runs": ("Run", "build"),
    "selection": ("Selection", "named_amounts"),
    "transfer": ("Transferred", "pull_image", "push_image", "repairer"),
    "store": ("check_store", "collect_store", "store_usage"),
    "templates": ("Template",),
    "vendoring": ("vendor_lock",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return the use case ``name`` from the module that holds it (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
