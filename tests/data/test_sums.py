"""Lists of checksums in all the shapes that people and archives publish, their mistakes, and files held against them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.data.sums import ALGORITHMS, Expected, read_sums, verify
from repro.errors import DataError

DIGESTS = {kind: hashlib.new(kind, b"abc").hexdigest() for kind in ALGORITHMS}
SHA, MD5 = DIGESTS["sha256"], DIGESTS["md5"]


def listed(text, name="SHA256SUMS"):
    """Return what a list says, as text by name."""
    sums = read_sums(text if isinstance(text, bytes) else text.encode(), name)
    return {one: str(sums.expected(one)) for one in sums.names()}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"{SHA}  a.fq", "a.fq"),
        (f"{SHA} *a.fq", "a.fq"),
        (f"{SHA.upper()}  a.fq", "a.fq"),
        (f"{SHA}  ./data/a b.fq", "data/a b.fq"),
        (f"{SHA}   a", " a"),
        (f"{SHA}\ta.fq", "a.fq"),
        (f"\\{SHA}  back\\\\slash\\nline\\rend", "back\\slash\nline\rend"),
        (f"{SHA}  back\\nslash", "back\\nslash"),
        (f"SHA256 (a (1).fq) = {SHA}", "a (1).fq"),
        (f"\\SHA256 (a\\nb) = {SHA}", "a\nb"),
        (f"SHA2-256(a.fq)= {SHA}", "a.fq"),
        (f"{SHA}  a.fq\r", "a.fq"),
    ],
)
def test_lines_of_checksum_programs(line, name):
    """Lines of GNU, BSD and OpenSSL are read, with the names that these programs escape."""
    assert {name: f"sha256:{SHA}"} == listed(f"\ufeff# a comment\n\n{line}\n")


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_algorithm_is_known_by_its_digits(kind):
    """A line's digits say which algorithm it is, and its BSD tag says the same."""
    assert {"a": f"{kind}:{DIGESTS[kind]}"} == listed(f"{DIGESTS[kind]}  a\n", "CHECKSUMS")
    assert {"a": f"{kind}:{DIGESTS[kind]}"} == listed(f"{kind.upper()} (a) = {DIGESTS[kind]}\n", "CHECKSUMS")


def test_strongest_algorithm_wins():
    """Of several checksums of one file the strongest is expected, in whatever order they stand."""
    lines = [f"{DIGESTS[kind]}  a" for kind in ("sha1", "sha512", "md5")]
    assert {"a": f"sha512:{DIGESTS['sha512']}"} == listed("\n".join(lines), "CHECKSUMS")


def test_what_is_not_listed_is_not_expected():
    """A file that no line names has no checksum."""
    assert read_sums(f"{SHA}  a\n".encode(), "SHA256SUMS").expected("b") is None


@pytest.mark.parametrize(
    "name", ["x.fq.gz.sha256", "https://host/dir/x.fq.gz.sha256", "x.fq.gz.sha256sum", "x.fq.gz.SHA256.txt"]
)
@pytest.mark.parametrize("text", [SHA, f" {SHA}\n", f"{SHA}  x.fq.gz\n", f"{SHA}  /scratch/made/x.fq.gz\n"])
def test_sidecar_is_about_the_file_beside_it(name, text):
    """``x.sha256`` may hold a digest alone, or name ``x`` where it was made."""
    assert {"x.fq.gz": f"sha256:{SHA}"} == listed(text, name)


def test_sidecar_at_a_web_address():
    """In a web address the name is escaped, and a query is no part of it; elsewhere a name is what it is."""
    assert {"a b.fq": f"md5:{MD5}"} == listed(MD5, "https://host/files/a%20b.fq.md5?download=1")
    assert {"a%20b?.fq": f"md5:{MD5}"} == listed(MD5, "s3://bucket/a%20b?.fq.md5")


def test_names_that_are_no_utf8():
    """A name of any bytes comes out as Python's file names do."""
    assert ["\udcff.fq"] == list(listed(SHA.encode() + b"  \xff.fq\n"))


def test_bagit_manifests():
    """Manifests of bags take the algorithm from their name, and decode only CR, LF and the percent sign."""
    text = f"{MD5} data/a%0Ab%25c%20d\n{MD5}\t*data/e\n"
    assert {"data/a\nb%c%20d": f"md5:{MD5}", "data/e": f"md5:{MD5}"} == listed(text, "bag/manifest-md5.txt")
    assert {"bagit.txt": f"sha512:{DIGESTS['sha512']}"} == listed(
        f"{DIGESTS['sha512']}  bagit.txt\n", "tagmanifest-sha512.txt"
    )


def test_bag_declaration_is_no_manifest():
    """Who names bagit.txt is told what to name."""
    with pytest.raises(DataError, match="manifest-sha256"):
        listed("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n", "bagit.txt")


ZENODO = {"id": 1, "metadata": {"title": "x"}, "files": [{"key": "a.fq", "size": 3, "checksum": f"md5:{MD5}"}]}
RDM = {"files": {"enabled": True, "entries": {"a.fq": {"checksum": f"md5:{MD5}", "size": 3}}}}
RDM_LIST = {"enabled": True, "entries": [{"key": "a.fq", "checksum": f"md5:{MD5}"}]}
DEPOSIT = [{"filename": "a.fq", "checksum": MD5, "filesize": 3}]
DATAVERSE = {
    "status": "OK",
    "data": {
        "id": 1,
        "latestVersion": {
            "files": [
                {
                    "label": "a.fq",
                    "directoryLabel": "reads/one",
                    "dataFile": {"filename": "a.fq", "md5": MD5, "checksum": {"type": "SHA-256", "value": SHA}},
                },
                {"dataFile": {"filename": "b.fq", "md5": MD5}},
                {"dataFile": {"filename": "none"}},
            ]
        },
    },
}
PACKAGE = {
    "name": "x",
    "resources": [
        {"path": "a.csv", "hash": MD5},
        {"path": ["b.csv"], "hash": f"sha256:{SHA}"},
        {"path": ["c.csv", "d.csv"], "hash": MD5},
        {"path": "https://host/e.csv", "hash": MD5},
        {"path": "f.csv"},
    ],
}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (ZENODO, {"a.fq": f"md5:{MD5}"}),
        (RDM, {"a.fq": f"md5:{MD5}"}),
        (RDM_LIST, {"a.fq": f"md5:{MD5}"}),
        (DEPOSIT, {"a.fq": f"md5:{MD5}"}),
        (DATAVERSE, {"reads/one/a.fq": f"sha256:{SHA}", "b.fq": f"md5:{MD5}"}),
        (PACKAGE, {"a.csv": f"md5:{MD5}", "b.csv": f"sha256:{SHA}"}),
    ],
    ids=["zenodo", "invenio", "invenio list", "deposit", "dataverse", "data package"],
)
def test_json_of_archives(document, expected):
    """Records of Zenodo, InvenioRDM and Dataverse and data packages are lists of checksums."""
    assert expected == listed(json.dumps(document), "record.json")


@pytest.mark.parametrize(
    ("text", "name", "where", "message"),
    [
        ("", "SHA256SUMS", None, "lists no checksums"),
        (f"{SHA}  a\nnonsense\n", "SHA256SUMS", "SHA256SUMS:2", "no checksum and name"),
        (f"{SHA[:-1]}  a\n", "SHA256SUMS", "SHA256SUMS:1", "is no checksum"),
        (f"{SHA}  ../a\n", "SHA256SUMS", "SHA256SUMS:1", "names no file in the folder"),
        (f"{SHA}  /etc/passwd\n", "SHA256SUMS", "SHA256SUMS:1", "names no file in the folder"),
        (f"{SHA}  a\0b\n", "SHA256SUMS", "SHA256SUMS:1", "names no file in the folder"),
        (f"{SHA}  a\n\n{SHA[::-1]}  a\n", "SHA256SUMS", "SHA256SUMS:3", "listed twice"),
        (f"\\{SHA}  a\\tb\n", "SHA256SUMS", "SHA256SUMS:1", "means nothing"),
        (f"\\{SHA}  a\\\n", "SHA256SUMS", "SHA256SUMS:1", "means nothing"),
        (f"RMD160 (a) = {DIGESTS['sha1']}\n", "CHECKSUM", "CHECKSUM:1", "cannot be checked"),
        (f"SHA256 (a) = {MD5}\n", "CHECKSUM", "CHECKSUM:1", "is no sha256 checksum"),
        (f"{MD5}\n", "a.sha256", "a.sha256:1", "is no sha256 checksum"),
        (f"{SHA}\n", "sums", "sums:1", "no checksum and name"),
        (f"{SHA} data/a\n", "manifest-md5.txt", "manifest-md5.txt:1", "is no md5 checksum"),
        (f"{SHA} data/a\n", "manifest-tiger.txt", "manifest-tiger.txt:1", "'tiger' cannot be checked"),
        ("nonsense", "manifest-md5.txt", "manifest-md5.txt:1", "no checksum and name"),
        (f"{DIGESTS['sha512']}  a\n", "B2SUMS", None, "cannot be checked"),
        ('{"files": [', "r.json", "r.json:1:12", "not JSON"),
        ('{"title": "x"}', "r.json", None, "no list of files"),
        ('{"files": []}', "r.json", None, "lists no checksums"),
        ('{"files": [1]}', "r.json", "r.json: files[0]", "not a file"),
        ('{"files": [{"key": "a", "checksum": "crc32:0"}]}', "r.json", "r.json: files[0]", "'crc32' cannot be checked"),
        ('{"files": [{"checksum": "md5:0"}]}', "r.json", "r.json: files[0]", "is no md5|no file"),
        (json.dumps({"files": [{"key": "../a", "checksum": MD5}]}), "r.json", "r.json: files[0]", "names no file"),
        ('{"files": [{"dataFile": {"md5": 1, "filename": "a"}}]}', "r.json", "r.json: files[0]", "md5 is missing"),
        ('{"resources": [{"path": 1, "hash": "x"}]}', "r.json", "r.json: resources[0]", "path is missing"),
        ("[" * 100_000, "r.json", None, "nested too deeply|not JSON"),
    ],
)
def test_mistakes_are_located(text, name, where, message):
    """A mistake in a list is an error that says where it is."""
    with pytest.raises(DataError, match=message) as caught:
        listed(text, name)
    assert where is None or where == str(caught.value.where)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(f"sha256:{SHA}", f"sha256:{SHA}"), (f"SHA-256:{SHA.upper()}", f"sha256:{SHA}"), (MD5, f"md5:{MD5}")],
)
def test_checksum_as_people_write_it(text, expected):
    """An algorithm may be spelt as standards do; digits alone say it by their number."""
    assert expected == str(Expected.parse(text))


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_file_is_held_against_its_checksum(tmp_path, kind):
    """The right bytes pass, and wrong ones of the same length are named with both checksums."""
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    verify(file, Expected(kind, DIGESTS[kind]))
    file.write_bytes(b"abd")
    with pytest.raises(DataError) as caught:
        verify(file, Expected(kind, DIGESTS[kind]))
    for word in (str(file), DIGESTS[kind], hashlib.new(kind, b"abd").hexdigest()):
        assert word in str(caught.value)


def test_missing_file_is_an_error(tmp_path):
    """A file that is not there is no success."""
    with pytest.raises(DataError, match="cannot be read"):
        verify(tmp_path / "a", Expected("md5", MD5))


PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
    lambda part: part not in (".", "..")
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, st.sampled_from(ALGORITHMS), min_size=1, max_size=4), st.booleans())
def test_what_coreutils_would_write_is_read_back(files, tagged):
    """Any name survives being listed, as coreutils escapes it, in both forms."""
    lines = []
    for name, kind in files.items():
        plain = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "\\" if plain != name else ""
        form = f"{kind.upper()} ({plain}) = {DIGESTS[kind]}" if tagged else f"{DIGESTS[kind]}  {plain}"
        lines.append(mark + form)
    assert {name: f"{kind}:{DIGESTS[kind]}" for name, kind in files.items()} == listed("\n".join(lines), "SUMS")


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, st.just("sha256"), min_size=1, max_size=4))
def test_what_a_bag_lists_is_read_back(files):
    """Any name survives a BagIt manifest."""
    lines = []
    for name in files:
        encoded = name.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        lines.append(f"{SHA} data/{encoded}")
    assert {f"data/{name}" for name in files} == set(listed("\n".join(lines), "manifest-sha256.txt"))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["SUMS", "a.md5", "manifest-md5.txt", "r.json"]))
def test_no_bytes_are_a_crash(data, name):
    """Whatever a list holds, it is read or refused."""
    with contextlib.suppress(DataError):
        read_sums(data, name)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["files", "entries", "data", "resources", "path", "hash", "key", "dataFile", "checksum", "type"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_is_a_crash(document):
    """Whatever a document holds, it is read or refused."""
    with contextlib.suppress(DataError):
        read_sums(json.dumps({"files": document}).encode(), "r.json")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no coreutils")
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_coreutils_own_output(tmp_path_factory, name):
    """What sha256sum really prints for a file is read back, name and digest, plain and tagged."""
    if name in (".", ".."):
        return
    folder = tmp_path_factory.mktemp("sums")
    (folder / name).write_bytes(b"abc")
    for options in ((), ("--tag",)):
        made = subprocess.run(["sha256sum", *options, "--", name], cwd=folder, check=True, capture_output=True).stdout
        assert {name: f"sha256:{SHA}"} == listed(made)
