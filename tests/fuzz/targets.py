"""What is fuzzed, as data: each target with its corpus, its dictionary, and what must hold for any input.

A target passes when it returns or raises a ReproError that says where. To add one, write its function and a line in
`TARGETS`; inputs that once failed are files in ``crashes/NAME/`` and are run by every test session.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from repro.api.template_functions import Keyed
from repro.api.templates import Template
from repro.build.lint import enforce, lint
from repro.build.stages import plan_build
from repro.digest import Digest
from repro.dockerfile.grammar import read
from repro.dockerfile.ignore import parse_ignore
from repro.dockerfile.words import expand, expand_words
from repro.errors import DataError, DockerfileError, Location, StoreError, UsageError
from repro.oci import inode
from repro.oci.apply import apply_tar
from repro.oci.finding import find_images
from repro.oci.limits import Limits
from repro.oci.members import TarMembers
from repro.oci.model import REF_NAME, Descriptor, Index, Manifest, MediaTypes

TESTS = Path(__file__).parents[1]
CRASHES = Path(__file__).with_name("crashes")


class UnlocatedError(AssertionError):
    """An error that does not say where."""


@dataclass(frozen=True, slots=True)
class Target:
    """``run`` takes any bytes; ``corpus`` gives inputs to begin with; ``dictionary`` pieces that mean something."""

    name: str
    run: Callable[[bytes], None]
    corpus: Callable[[], list[bytes]]
    dictionary: tuple[bytes, ...]

    def seeds(self) -> list[bytes]:
        """Return the corpus and what once failed."""
        return [*self.corpus(), *(path.read_bytes() for path in sorted((CRASHES / self.name).glob("*")))]


def _located(error: DockerfileError, text: str) -> None:
    where = error.where
    if not isinstance(where, Location):
        raise UnlocatedError(f"no place: {error}") from error
    if not 1 <= where.line <= text.count("\n") + 2 or where.column < 1:
        raise UnlocatedError(f"a place outside of the file: {error}") from error


def parse_dockerfile(data: bytes) -> None:
    """Read, plan and lint a Dockerfile; every place in it lies in the file."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        dockerfile = read(text, "Dockerfile")
        plan = plan_build(dockerfile, target=None, arguments={"A": "a b", "B": ""}, arch="amd64")
        for finding in (findings := lint(plan, dockerfile)):
            _located(DockerfileError(finding.message, where=finding.where), text)
        enforce(findings, dockerfile)
    except DockerfileError as error:
        _located(error, text)


def expand_word(data: bytes) -> None:
    """Expand a word; after a NUL come the values of two variables."""
    text, _, values = data.decode("utf-8", "surrogateescape").partition("\0")
    one, _, two = values.partition("\0")
    where = Location("Dockerfile", 1)
    for escape in "\\`":
        try:
            expand(text, {"a": one, "b": two}, where=where, escape=escape)
            expand(text, {"a": one}, where=where, escape=escape, quotes=False)
            expand_words(text, {"b": two}, where=where, escape=escape)
        except DockerfileError as error:
            _located(error, text)


def match_ignored(data: bytes) -> None:
    """Ask rules about paths, which follow a NUL; what hides something kept must be entered."""
    text, _, rest = data.decode("utf-8", "surrogateescape").partition("\0")
    try:
        rules = parse_ignore(text)
    except DockerfileError as error:
        _located(error, text)
        return
    paths = [path for path in rest.split("\0") if path and all(path.split("/"))]
    for path in paths:
        kept = not rules.ignores(path)
        for folder in ("/".join(path.split("/")[:end]) for end in range(1, min(path.count("/") + 1, 50))):
            if kept and rules.ignores(folder) and not rules.may_keep_below(folder):
                raise AssertionError(f"{path!r} is kept, but {folder!r} is never entered")


def unpack_layer(data: bytes) -> None:
    """Unpack a layer; nothing appears beside its folder."""
    with tempfile.TemporaryDirectory(prefix="repro-fuzz-") as scratch:
        folder = Path(scratch, "layer")
        folder.mkdir()
        form = inode.REAL if os.geteuid() == 0 else inode.ONE
        try:
            apply_tar(io.BytesIO(data), folder, form=form, limits=Limits(entries=1000, size=1 << 20))
        except (DataError, StoreError):
            pass  # the entry is named in it: there is no file to point into
        finally:
            assert ["layer"] == os.listdir(scratch)
            for parent, _, _ in os.walk(folder):
                os.chmod(parent, 0o700)


def fill_template(data: bytes) -> None:
    """Fill in a template of --format; a mistake is told with its place."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        Template(text, escapes=True).fill({"A": [1, "b", None], "B": {"c": "d"}, "C": Keyed({"e.f": "g"}), "D": ""})
    except UsageError as error:
        if not isinstance(error.where, Location):
            raise UnlocatedError(f"no place: {error}") from error


def read_archive(data: bytes) -> None:
    """Look for images in a tar of any kind."""
    with contextlib.suppress(DataError):  # the archive is named by the caller
        find_images(TarMembers(io.BytesIO(data), "x"), "amd64")


def _dockerfiles() -> list[bytes]:
    places = [TESTS / "dockerfile" / "cases", TESTS / "conformance" / "cases", TESTS.parent / "examples"]
    return [path.read_bytes() for place in places for path in sorted(place.glob("**/Dockerfile*"))]


def _words() -> list[bytes]:
    forms = "$a ${b} ${a:-x$b} ${a-'y'} ${a:+\"$b\"} ${a?m} ${a#*x} ${a##?} ${b%\\*} ${a%%y*} ${a/x/$b} ${a//*/z} \\$a"
    return [f"{form}\0xyxy/x\0*a".encode() for form in [*forms.split(), forms]]


def _ignores() -> list[bytes]:
    files = [
        "*\n!keep\n",
        "**/*.pyc\n!**/a.pyc\n",
        "# c\n/a/b/\n./c\n",
        "a/**/b\n[a-c]?\n\\*x\n",
        "d\n!d/x\nd/x/y\n",
        "**a\nb**\n",
    ]
    return [f"{text}\0a/b/c\0keep/a.pyc\0d/x/y/z".encode() for text in files]


def _layers() -> list[bytes]:
    out: list[bytes] = []
    for layout in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=layout) as tar:
            for name, kind in (
                ("d", tarfile.DIRTYPE),
                ("d/f", tarfile.REGTYPE),
                ("l", tarfile.SYMTYPE),
                ("h", tarfile.LNKTYPE),
            ):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, "d/f" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
                entry.size = 5 if kind == tarfile.REGTYPE else 0
                tar.addfile(entry, io.BytesIO(b"bytes"))
            for name in ("d/.wh.f", "d/.wh..wh..opq", "n" * 90 + "/" + "m" * 90):
                tar.addfile(tarfile.TarInfo(name))
            if layout == tarfile.PAX_FORMAT:
                entry = tarfile.TarInfo("x")
                entry.pax_headers = {"SCHILY.xattr.user.a": "b", "mtime": "1.5", "path": "é" * 80}
                tar.addfile(entry)
        out.append(stream.getvalue())
    return [*out, gzip.compress(out[0], mtime=0)]


def _templates() -> list[bytes]:
    return [
        b"{{ .A }} {{ json .B }} {{ index .C `e.f` }} {{- upper .D -}}",
        b"{{ range $k, $v := .B }}{{ $k }}={{ $v }}{{ else }}none{{ end }}",
        b'{{ if eq (len .A) 3 }}{{ join .A ", " | printf "%-5s" }}{{ else if .D }}x{{ end }}',
        b"{{ with $x := .B }}{{ end }}{{ $y := .A }}{{ slice $y 0 1 }}{{/* words */}}",
    ]


def _archives() -> list[bytes]:
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    digest = Digest.of(config)
    manifest = Manifest(Descriptor(MediaTypes.CONFIG, digest, len(config)), ()).to_json()
    entry = Descriptor(MediaTypes.MANIFEST, Digest.of(manifest), len(manifest), {REF_NAME: "docker.io/lab/a:1"})
    index = Index((entry,)).to_json()
    docker = b'[{"Config":"%s.json","RepoTags":["a:1"],"Layers":[]}]' % digest.hex.encode()
    layout = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, f"blobs/sha256/{digest.hex}": config,
        f"blobs/sha256/{entry.digest.hex}": manifest,
    }  # fmt: skip
    out = []
    for files in (layout, {f"{digest.hex}.json": config, "manifest.json": docker}):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name, data in files.items():
                entry_of_tar = tarfile.TarInfo(name)
                entry_of_tar.size = len(data)
                tar.addfile(entry_of_tar, io.BytesIO(data))
        out.append(stream.getvalue())
    return out


def _pieces(text: str) -> tuple[bytes, ...]:
    return tuple(piece.encode() for piece in text.split())


_SIGNS = (b"\n", b"\r\n", b"\t", b" ", b"\\\n", b"`\n", b"\0", b"\xff", b"'", b'"', "é".encode(), b"\xc2\xa0")
_DOCKERFILE = _pieces(
    "FROM RUN COPY ADD ENV ARG LABEL ONBUILD CMD ENTRYPOINT SHELL EXPOSE VOLUME USER HEALTHCHECK WORKDIR STOPSIGNAL "
    "MAINTAINER AS scratch a=b $A ${A:-x} ${A#*} ${A//a/b} ${ <<E <<-'E' <<\"E F\" 3<<E E # #escape=` #check=skip=all "
    "#check=error=true --mount=type=bind,target=/a --mount=type=secret,id=x --mount= --from=0 --chown=a:b --network=none "
    '--link --exclude=* --platform= --checksum=sha256:0 -- ["a","b"] [1] [] [ NaN {} apt-get install pip conda && | ; '
    "$( `a` NONE --interval=1s --retries=3 80/tcp http://a/b"
)

TARGETS = (
    Target("parser", parse_dockerfile, _dockerfiles, (*_SIGNS, *_DOCKERFILE)),
    Target("words", expand_word, _words, (*_SIGNS, *_pieces("$a ${a ${a: ${b# % / // ## %% } * ? \\* \\} :? :- + ' \" ${a}"))),
    Target("ignore", match_ignored, _ignores, (*_SIGNS, *_pieces("* ** **/ /** ? ! !* [ [a-c] [^a] ] \\ / . .. # a b ./"))),
    Target(
        "layer", unpack_layer, _layers,
        (*_SIGNS, b"../", b"/", b".wh.", b".wh..wh..opq", b"ustar\0", b"\0" * 512, b"0000000\0", b"\x80" + b"\xff" * 7,
         b"7777777\0", b"x", b"L", b"K", b"g", b"1", b"2", b"5", b"S", b"30 mtime=1.5\n", b"SCHILY.xattr.", b"path="),
    ),
    Target(
        "template", fill_template, _templates,
        (*_SIGNS, *_pieces('{{ }} {{- -}} . .A .B .C .D $ $x := = | ( ) , "a" ` 0 -1 if else end range with json index len '
                           "join split eq lt printf %s %d %q nil true /* */ and or not slice truncate pad")),
    ),
    Target(
        "archive", read_archive, _archives,
        (*_SIGNS, *_pieces('[] {} null "digest" "size" "manifests" "mediaType" "platform" "annotations" sha256: ../ 0 -1 1e9 '
                           '"Layers" "RepoTags" "Config" "diff_ids" "rootfs"'), b"\0" * 512, b"ustar\0", b"1", b"2", b"5"),
    ),
)  # fmt: skip
BY_NAME = {target.name: target for target in TARGETS}
