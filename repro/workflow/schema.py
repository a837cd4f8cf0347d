"""The JSON Schema of a workflow file, for editors; made of the tables that validate, so that neither lags behind.

It accepts whatever `repro.workflow.loader` does. It is no validator of its own: what it cannot say (names that are
declared elsewhere, templates, paths) is for `repro validate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from repro.workflow.data import DATA_KEYS, FINGERPRINT_KEYS, FINGERPRINTS
from repro.workflow.defaults import DEFAULTS_KEYS
from repro.workflow.environments import ARCHIVE_KEYS, ARCHIVES, ENVIRONMENT_KEYS
from repro.workflow.fields import LABEL, NAME
from repro.workflow.foreach import FORMS
from repro.workflow.loader import FORMAT, WORKFLOW_KEYS
from repro.workflow.policies import IMAGE, RETRIES_KEYS
from repro.workflow.ports import INPUT_KEYS, OUTPUT_KEYS
from repro.workflow.publish import PUBLISH_KEYS
from repro.workflow.resources import KINDS
from repro.workflow.software import CONDA_KEYS, SOURCE_KEYS
from repro.workflow.steps import STEP_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repro.digest import Json

Schema: TypeAlias = "dict[str, Json]"

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Schema = {"type": ["string", "number", "boolean"]}  # scalars keep their spelling: 1.10 may be a version
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TRUTH: Schema = {"type": "boolean"}
_WORDS: Schema = {"anyOf": [_TEXT, {**_TEXTS, "minItems": 1}]}
_VALUES: Schema = {"type": "object", "propertyNames": {"pattern": f"^{NAME.pattern}$"}}


def schema() -> Schema:
    """Return the schema of workflow files, in the 2020-12 dialect."""
    return {
        "$schema": DIALECT,
        "title": "workflow.yaml",
        **_object(
            WORKFLOW_KEYS,
            {
                "repro": _said("the format's version", {"type": "integer", "const": FORMAT}),
                "name": _said("the workflow's name", _TEXT),
                "params": _said("values that templates see as params.NAME", _VALUES),
                "defaults": _said("what steps may leave out", _defaults()),
                "environments": _said("software, by name", _map(LABEL.pattern, _environment())),
                "inputs": _said("project path: where its bytes come from", _map(None, _data())),
                "steps": _said("what is run, by name", {**_map(LABEL.pattern, _step()), "minProperties": 1}),
                "publish": _said("output: the address that it is published at", _map(None, _target())),
            },
            ("repro", "steps"),
        ),
    }


def _said(description: str, of: Schema) -> Schema:
    return {"description": description, **of}


def _object(keys: Iterable[str], fields: Mapping[str, Schema], required: Iterable[str] = ()) -> Schema:
    """Return the schema of a mapping that has no keys but these; all of them have to be described."""
    names = tuple(keys)
    assert set(names) == set(fields), sorted(set(names) ^ set(fields))
    made: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: fields[name] for name in names},
    }
    return {**made, "required": list(required)} if required else made


def _map(names: str | None, value: Schema) -> Schema:
    """Return the schema of a mapping of names, which fit the pattern ``names``, to values."""
    made: Schema = {"type": "object", "additionalProperties": value}
    return made if names is None else {**made, "propertyNames": {"pattern": f"^(?:{names})$"}}


def _environment() -> Schema:
    archive = _object(
        ARCHIVE_KEYS,
        {
            "archive": {"enum": list(ARCHIVES)},
            "suite": _TEXT,
            "components": _TEXTS,
            "snapshot": _said("the archive as it stood then: 2026-01-31", _TEXT),
            "mirror": _said("where the archive is, as a URL", _TEXT),
        },
        ("archive", "suite"),
    )
    source = _object(
        SOURCE_KEYS,
        {"url": _TEXT, "sha256": _TEXT, "apt": _TEXTS, "run": _TEXTS, "prefix": _TEXT},
        ("url", "sha256", "run"),
    )
    conda: Schema = {"anyOf": [_TEXT, _object(CONDA_KEYS, {"channels": _TEXTS, "packages": _TEXTS}, CONDA_KEYS)]}
    return {
        **_object(
            ENVIRONMENT_KEYS,
            {
                "base": _said("an image's name, or the archive that a base is made from", {"anyOf": [_TEXT, archive]}),
                "apt": _said("Debian packages: name, or name=version", _TEXTS),
                "conda": _said("channels and packages, or the path of an environment.yml", conda),
                "pip": _said("requirements, lists of them, or folders of packages", {"anyOf": [_TEXT, _TEXTS]}),
                "source": _said("a tarball that is compiled", source),
                "files": _said("path in the image: project path", _map(None, _TEXT)),
                "env": _said("environment variables of the image", _map(None, _TEXT)),
                "run": _said("shell commands after the packages", _TEXTS),
                "template": _said("a shipped template's name, or the path of your own", _TEXT),
                "dockerfile": _said("your own Dockerfile, instead of all these", _TEXT),
                "context": _said("with dockerfile: the folder that COPY reads from", _TEXT),
                "target": _said("with dockerfile: the stage to stop at", _TEXT),
                "args": _said("with dockerfile: values of ARG", _map(None, _TEXT)),
                "image": _said("an image as somebody made it, instead of all these", _TEXT),
            },
        ),
        "anyOf": [{"required": [key]} for key in ("base", "dockerfile", "image")],
    }


def _data() -> Schema:
    fingerprint: Schema = {
        "anyOf": [{"enum": list(FINGERPRINTS)}, _object(FINGERPRINT_KEYS, {"manifest": _TEXT, "label": _TEXT})]
    }
    whole = _object(
        DATA_KEYS,
        {
            "uri": _said("an address, or a path of this machine", _TEXT),
            "site": _said("a place that sites.yaml maps to a path of this host", _TEXT),
            "version": _said("an S3 version", _TEXT),
            "checksum": _said("sha256:<hex>, also md5, sha1, sha512", _TEXT),
            "checksums": _said("a list of checksums: a path in the source, or an address", _TEXT),
            "mount": _said("bound in place, never copied", _TRUTH),
            "fingerprint": _said("what stands for the bytes of what is bound in place", fingerprint),
            "private": _said("must not leave this site", _TRUTH),
            **_access(),
            "anonymous": _said("send no login", _TRUTH),
            "requester_pays": _said("agree to pay for the transfer", _TRUTH),
        },
    )
    return {"anyOf": [_TEXT, {**whole, "oneOf": [{"required": ["uri"]}, {"required": ["site"]}]}]}


def _access() -> dict[str, Schema]:
    return {
        "endpoint": _said("the URL of another S3 server", _TEXT),
        "profile": _said("a profile of ~/.aws/config", _TEXT),
    }


def _target() -> Schema:
    return {"anyOf": [_TEXT, _object(PUBLISH_KEYS, {"to": _TEXT, **_access()}, ("to",))]}


def _shared() -> dict[str, Schema]:
    """Return the fields that steps and ``defaults`` have alike."""
    pause: Schema = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
    count: Schema = {"type": "integer", "minimum": 0}
    factor: Schema = {"type": "number", "minimum": 1}
    retries = _object(RETRIES_KEYS, {"count": count, "pause": pause, "factor": factor}, ("count",))
    amount: Schema = {"anyOf": [count, {"type": "string"}]}
    resources: Schema = {
        "type": "object",
        "properties": {name: amount if kind.value == "a whole number" else _TEXT for name, (kind, _) in KINDS.items()},
        "additionalProperties": _said("how many of a named resource", amount),
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
    }
    return {
        "environment": _said("where it runs", _TEXT),
        "env": _said("environment variables", _map(None, _TEXT)),
        "resources": _said("what a job needs: numbers, sizes (2GB), times (1h30m), or templates of them", resources),
        "retries": _said("how often a failed job is tried again", {"anyOf": [count, retries]}),
        "network": _said("the host's network", _TRUTH),
    }


def _defaults() -> Schema:
    code = _said("files and folders that every script may import", _TEXTS)
    return _object(DEFAULTS_KEYS, {**_shared(), "code": code})


def _step() -> Schema:
    paths: Schema = {"anyOf": [_TEXT, {**_TEXTS, "minItems": 1}]}
    taken = _object(
        INPUT_KEYS,
        {
            "path": paths,
            "from": _said("step.output", _TEXT),
            "optional": _said("may be missing", _TRUTH),
            "with": _said("endings of files that come along: [.bai]", {"anyOf": [_TEXT, _TEXTS]}),
        },
    )
    made = _object(
        OUTPUT_KEYS,
        {"path": _TEXT, "temporary": _said("removed once all that read it are done", _TRUTH)},
        ("path",),
    )
    given: Schema = {"anyOf": [paths, {**taken, "oneOf": [{"required": ["path"]}, {"required": ["from"]}]}]}
    kept: Schema = {"anyOf": [_TEXT, made]}
    return {
        **_object(
            STEP_KEYS,
            {
                **_shared(),
                "inputs": _said("what is read, by name", _map(NAME.pattern, given)),
                "outputs": _said("what is made, by name; a folder ends in /", _map(NAME.pattern, kept)),
                "run": _said("shell text, or a list of words", _WORDS),
                "script": _said("a project file that ends in .py, .R or .sh", {"type": "string"}),
                "foreach": _said("what it ranges over, one job each", _foreach()),
                "params": _said("values of this step alone, or names of the workflow's", {"anyOf": [_VALUES, _TEXTS]}),
                "secrets": _said("names of files in /run/secrets", _TEXTS),
                "when": _said("an expression over params; no jobs where it is false", _TEXT),
                "logs": _said("files that are kept also when a job fails", _map(NAME.pattern, _TEXT)),
                "checkpoint": _said("a folder that a job finds again when it is tried again", _TEXT),
                "fetch": _said("downloads its outputs, which are locked at the first run", _TRUTH),
                "entrypoint": _said("use the image's ENTRYPOINT", {"const": IMAGE}),
                "user": _said("the image's user, or a number", {"anyOf": [{"const": IMAGE}, _TEXT]}),
            },
        ),
        "oneOf": [{"required": ["run"]}, {"required": ["script"]}],
    }


def _foreach() -> Schema:
    pattern = _said("the end of a path, with {{ names }} for its parts", _TEXT)
    of: dict[str, Schema] = {
        "table": _TEXT,
        "by": _said("columns that tell jobs apart; the others become lists", _TEXTS),
        "glob": _TEXT,
        "pattern": pattern,
        "items": _said("step.output", _TEXT),
        "chunk": _said("how many files a job takes", {"type": "integer", "minimum": 1}),
    }
    named = {"pattern": f"^{NAME.pattern}$"}
    lists: Schema = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": named,
        "additionalProperties": {**_TEXTS, "minItems": 1},
    }
    maps: Schema = {
        "type": "array",
        "minItems": 1,
        "items": {"type": "object", "minProperties": 1, "propertyNames": named, "additionalProperties": _TEXT},
    }
    forms = [_object(keys, {key: of[key] for key in keys}, (form,)) for form, keys in FORMS.items()]
    return {"anyOf": [lists, maps, *forms]}
