"""The ``inputs:`` of a workflow: where bytes come from that are not in the project."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow import fields
from repro.workflow.addresses import ACCESS_KEYS, read_access, read_address
from repro.workflow.model import DataSource, Fingerprint
from repro.workflow.paths import LOCK, STATE, lock_name, mistake, normal, read_path
from repro.workflow.source import MapNode
from repro.workflow.tree import ancestors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location
    from repro.workflow.addresses import Address
    from repro.workflow.fields import Problems
    from repro.workflow.source import Node, Scalar

DATA_KEYS = ("uri", "site", "version", "checksum", "checksums", "mount", "fingerprint", "private", *ACCESS_KEYS)
FINGERPRINT_KEYS = ("manifest", "label")
FINGERPRINTS = ("sha256", "stat")
_MOUNTED = ("", "file", "nfs", "smb")  # schemes of what can be a folder of this machine; empty: a path
_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_CHECKSUM = re.compile(r"(\w+):([0-9a-fA-F]+)")
_GLOB = re.compile(r"[*?[]")
_SITE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:/.*)?", re.DOTALL)  # as sites.yaml names them


def read_data_inputs(node: Node, workflow_file: str, problems: Problems) -> dict[str, DataSource]:
    """Return the declared inputs by project path; mistakes go to ``problems``.

    One with a mistake in it is there as well, as far as it is right: so that nobody is told that its path is missing.
    """
    result: dict[str, DataSource] = {}
    for entry in fields.entries(node, "inputs", problems, "a mapping of project paths to addresses") or ():
        place = read_place(entry.key, "inputs", workflow_file, problems)
        source = _read_source(place or entry.key.text, entry.key.where, entry.value, problems)
        if place is None:
            continue
        if place in result:
            problems.add(entry.key.where, f"inputs.{place}", f"{place} is there twice", "remove one of the two")
        result.setdefault(place, source)
    _refuse_nested(result, problems)
    return result


def read_place(key: Scalar, group: str, workflow_file: str, problems: Problems) -> str | None:
    """Return the project path that an entry of ``group`` is for; None after a reported mistake."""
    at = f"{group}.{key.text}"
    place = read_path(key, at, problems)
    if place is None:
        return None
    bare = place.rstrip("/")
    if bare in ("", "."):
        wrong = "this is the whole project", "name a file or folder in it"
    elif bare == STATE or bare.startswith(f"{STATE}/"):
        wrong = f"{STATE}/ belongs to repro", "choose another folder"
    elif bare in (workflow_file, LOCK, lock_name(workflow_file)):
        wrong = f"{bare} is the workflow's own", "choose another name"
    elif _GLOB.search(place):
        wrong = "'*', '?' and '[' cannot stand in a project path", "name the file, or a folder with '/' at its end"
    else:
        return place
    problems.add(key.where, at, f"{place!r}: {wrong[0]}", wrong[1])
    return None


def _refuse_nested(sources: Mapping[str, DataSource], problems: Problems) -> None:
    """Report each input that lies inside another; paths that differ in a slash at their end alone are one."""
    bare = {path.rstrip("/"): path for path in sorted(sources, key=len, reverse=True)}
    for path, source in sources.items():
        other = next((bare[folder] for folder in ancestors(path) if folder in bare), bare[path.rstrip("/")])
        if other != path:
            message = f"{path} lies inside {other}, which is an input as well"
            problems.add(source.where, f"inputs.{path}", message, "choose a path outside")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the values of one input, each with a mistake noted where it cannot be."""

    at: str
    place: str
    found: Mapping[str, Node]
    problems: Problems

    @property
    def folder(self) -> bool:
        return self.place.endswith("/")

    def add(self, key: str, message: str, hint: str) -> None:
        self.problems.add(self.found[key].where, f"{self.at}.{key}", message, hint)

    def text(self, key: str, what: str) -> str | None:
        return fields.text(self.found[key], f"{self.at}.{key}", self.problems, what) if key in self.found else None

    def truth(self, key: str) -> bool:
        return key in self.found and bool(fields.truth(self.found[key], f"{self.at}.{key}", self.problems))


def _read_source(place: str, where: Location, node: Node, problems: Problems) -> DataSource:
    at = f"inputs.{place}"
    if not isinstance(node, MapNode):
        reader = _Reader(at, place, {"uri": node}, problems)
        address = _address(reader, at)
        return DataSource(place, where, uri=address.text if address else None)
    reader = _Reader(at, place, fields.keys(node.entries, at, problems, DATA_KEYS), problems)
    if "uri" in reader.found and "site" in reader.found:
        reader.add("site", "an input has `uri` or `site`, not both", "remove one of them")
    elif "uri" not in reader.found and "site" not in reader.found:
        problems.add(node.where, at, "an input needs `uri` or `site`", "as in {uri: s3://bucket/name}")
    address = _address(reader, f"{at}.uri") if "uri" in reader.found else None
    scheme = address.scheme if address is not None else "site" if "site" in reader.found else None
    mount = _mount(reader, address, scheme)
    fingerprint = _fingerprint(reader, mount=mount)
    return DataSource(
        place,
        where,
        uri=address.text if address is not None else None,
        site=_site(reader),
        version=_version(reader, address, scheme),
        checksum=_checksum(reader, fingerprint),
        checksums=_checksums(reader, fingerprint),
        mount=mount,
        fingerprint=fingerprint,
        private=reader.truth("private"),
        access=read_access(reader.found, scheme, at, problems),
    )


def _address(reader: _Reader, at: str) -> Address | None:
    node, problems = reader.found["uri"], reader.problems
    text = fields.text(node, at, problems, "an address")
    if text is None:
        return None
    if "{{" in text:
        problems.add(node.where, at, "templates are not expanded in the address of an input", "write it out")
        return None
    address = read_address(text, node.where, at, problems)
    if address is None:
        return None
    if address.pattern and not reader.folder:
        message = f"{address.text!r} is a pattern, and {reader.place!r} is one file"
        problems.add(node.where, at, message, f"end the project path in '/': {reader.place}/")
    elif address.folder and not reader.folder:
        message = f"{address.text!r} is a folder, and {reader.place!r} is a file"
        problems.add(node.where, at, message, f"end the project path in '/': {reader.place}/")
    elif reader.folder and not address.folder and not address.pattern:
        message = f"{address.text!r} is a file, and {reader.place!r} is a folder"
        problems.add(node.where, at, message, "end the address in '/', or name the file in the project path")
    else:
        return address
    return None


def _site(reader: _Reader) -> str | None:
    text = reader.text("site", "a site's name")
    if text is None:
        return None
    clean = normal(text)
    if _SITE.fullmatch(clean) is None or _GLOB.search(clean) or mistake(clean):
        hint = "write the name that sites.yaml has for it, and what is below: NAME/path"
        reader.add("site", f"{text!r} cannot name a place of sites.yaml", hint)
        return None
    if clean.endswith("/") and not reader.folder:
        message = f"{clean!r} is a folder, and {reader.place!r} is a file"
        reader.add("site", message, f"end the project path in '/': {reader.place}/")
    return clean


def _version(reader: _Reader, address: Address | None, scheme: str | None) -> str | None:
    version = reader.text("version", "a version")
    if version is None or scheme is None:
        return version
    if scheme != "s3":
        reader.add("version", "only s3 addresses have versions", "remove it, and give a `checksum`")
    elif reader.folder or (address is not None and address.folder):
        reader.add("version", "a version is of one file", "remove it: the lock pins the version of every file")
    elif not version or not version.isprintable():
        reader.add("version", f"{version!r} is not a version", "write the version id that the bucket lists")
    return version


def _mount(reader: _Reader, address: Address | None, scheme: str | None) -> bool:
    mount = reader.truth("mount")
    if not mount or scheme is None:
        return mount
    if scheme != "site" and scheme not in _MOUNTED:
        hint = "remove it: what is fetched lies in the cache once, and is bound from there"
        reader.add("mount", f"{scheme}:// cannot be bound in place", hint)
    elif address is not None and address.pattern:
        reader.add("mount", "a pattern cannot be bound in place", "name the folder")
    return mount


def _fingerprint(reader: _Reader, *, mount: bool) -> Fingerprint:
    node = reader.found.get("fingerprint")
    if node is None:
        return Fingerprint("sha256")
    if not mount and "mount" not in reader.found:
        message = "a fingerprint stands for what is bound in place"
        reader.add("fingerprint", message, "add `mount: true`, or remove it: the bytes are hashed")
    at = f"{reader.at}.fingerprint"
    if isinstance(node, MapNode):
        return _given_fingerprint(reader, node, at)
    kind = fields.text(node, at, reader.problems, "a fingerprint")
    if kind in FINGERPRINTS:
        return Fingerprint(kind)
    if kind is not None:
        hint = "write sha256, stat, {manifest: PATH} or {label: TEXT}"
        reader.add("fingerprint", f"fingerprints of {kind!r} are not known", hint)
    return Fingerprint("sha256")


def _given_fingerprint(reader: _Reader, node: MapNode, at: str) -> Fingerprint:
    """Return the fingerprint that has a value of its own: a manifest's path in the folder, or a label."""
    problems = reader.problems
    found = fields.keys(node.entries, at, problems, FINGERPRINT_KEYS)
    if len(found) != 1:
        if len(found) == len(node.entries):  # else the unknown key was told
            problems.add(node.where, at, "a fingerprint is one of `manifest` and `label`", "as in {label: 2026-03}")
        return Fingerprint("sha256")
    kind, given = next(iter(found.items()))
    if kind == "manifest":
        value = read_path(given, f"{at}.manifest", problems)
        if value is not None and not reader.folder:
            message = "a manifest lists the files of a folder, and this is a file"
            problems.add(given.where, f"{at}.manifest", message, "write sha256: one file is soon read")
    else:
        value = fields.text(given, f"{at}.label", problems, "a label")
        if value is not None and (not value.strip() or not value.isprintable()):
            problems.add(
                given.where, f"{at}.label", f"{value!r} is not a label", "write a name for the state of the data"
            )
    return Fingerprint(kind, value or "")


def _checksum(reader: _Reader, fingerprint: Fingerprint) -> str | None:
    text = reader.text("checksum", "a checksum")
    if text is None:
        return None
    match = _CHECKSUM.fullmatch(text)
    algorithm = match[1].lower() if match else ""
    if match is None or algorithm not in _DIGITS:
        known = ", ".join(f"{name}:" for name in _DIGITS)
        reader.add("checksum", f"{text!r} is not a checksum", f"write the algorithm and hex digits; known are {known}")
        return None
    if len(match[2]) != _DIGITS[algorithm]:
        message = f"a {algorithm} checksum has {_DIGITS[algorithm]} hex digits, this one has {len(match[2])}"
        reader.add("checksum", message, "copy it again, whole")
        return None
    if reader.folder:
        reader.add(
            "checksum", "a checksum is of one file", "name a list of the files' checksums: `checksums: SHA256SUMS`"
        )
    _refuse_unread(reader, "checksum", fingerprint)
    return f"{algorithm}:{match[2].lower()}"


def _checksums(reader: _Reader, fingerprint: Fingerprint) -> str | None:
    text = reader.text("checksums", "a list of checksums")
    if text is None:
        return None
    _refuse_unread(reader, "checksums", fingerprint)
    at, where = f"{reader.at}.checksums", reader.found["checksums"].where
    if "://" in text:
        address = read_address(text, where, at, reader.problems, globs=False)
        if address is None or not address.folder:
            return address.text if address else None
        reader.add("checksums", f"{address.text!r} is a folder", "name the list of checksums in it")
        return None
    clean = normal(text)
    if wrong := mistake(clean):
        hint = "write its path from the folder that the data is in, or its address"
        reader.add("checksums", f"{text!r}: {wrong[0]}", hint)
    elif clean.endswith("/"):
        reader.add("checksums", f"{clean!r} is a folder", "name the list of checksums in it")
    return clean


def _refuse_unread(reader: _Reader, key: str, fingerprint: Fingerprint) -> None:
    if fingerprint.kind != "sha256":
        message = f"{key!r} is of bytes, which are not read with another fingerprint than sha256"
        reader.add(key, message, "remove one of the two")
