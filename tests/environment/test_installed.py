"""What the package databases of an image say: each package once, by whoever installed it, damage or not."""

from __future__ import annotations

import pytest

from repro.api.packages import read_packages
from repro.environment.installed import installed
from repro.files import remove_tree
from repro.oci.model import ImageConfig
from repro.oci.store import Store

FORM = "real"
DPKG = (
    "Package: samtools\nStatus: install ok installed\nVersion: 1.16.1-1\nDescription: x\n Version: 9\n\n"
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 2\n\n"
    "Package: python3-numpy\nStatus: install ok installed\nVersion: 1:1.24.2-1\n"
)
R = "Package: {0}\nVersion: {1}\nBuilt: R 4.2.2; ; ; unix\n"


@pytest.fixture
def image(tmp_path):
    """Give a function that writes files into a layer and returns what is installed in it and those below."""
    layers = []

    def found(**files: str) -> list[tuple[str, str, str]]:
        layer = tmp_path / str(len(layers))
        for name, text in files.items():
            path = layer / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        layers.append(layer)
        return [(one.kind, one.name, one.version) for one in installed(layers, FORM)]

    return found


def test_dpkg_tells_what_is_installed(image):
    """Not what was removed; a continued line is no field; the archive's Python packages are dpkg's alone."""
    site = "usr__lib__python3__dist-packages__numpy-1.24.2.dist-info__METADATA"
    library = "usr__lib__R__site-library__DESeq2__DESCRIPTION"
    expected = [("deb", "python3-numpy", "1:1.24.2-1"), ("deb", "samtools", "1.16.1-1")]
    assert expected == image(var__lib__dpkg__status=DPKG, **{site: "", library: R.format("DESeq2", "1.38")})


def test_images_without_a_shell(image):
    """dpkg's status in parts, one a package, without a Status field."""
    part = "Package: libc6\nVersion: 2.36-9\n"
    files = {
        "var__lib__dpkg__status.d__libc6": part,
        "var__lib__dpkg__status.d__libc6.md5sums": "Package: x\nVersion: 1\n",
    }
    assert [("deb", "libc6", "2.36-9")] == image(**files)


def test_alpines_packages(image):
    """apk's database, in its old place and its new one."""
    text = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\n\nP:zlib\nV:1.3-r2\n"
    expected = [("apk", "musl", "1.2.5-r0"), ("apk", "zlib", "1.3-r2")]
    assert expected == image(lib__apk__db__installed=text)
    assert expected == image(usr__lib__apk__db__installed=text)


def test_pythons_packages_wherever_they_are(image):
    """dist-info and egg-info, system-wide and in environments, names normalised, conda's own aside."""
    site = "usr__local__lib__python3.11__dist-packages__"
    venv = "srv__app__.venv__lib__python3.12__site-packages__"
    conda = "opt__conda__lib__python3.12__site-packages__"
    files = {
        f"{site}ruamel_yaml-0.18.6.dist-info__METADATA": "",
        f"{site}Foo.Bar-3-py3.11.egg-info__PKG-INFO": "",
        f"{site}old-1.egg-info": "",
        f"{site}mine.egg-info__PKG-INFO": "Metadata-Version: 2.1\nName: My_Own\nVersion: 0.3\n\nVersion: 7\n",
        f"{site}nothing.egg-info__PKG-INFO": "Name: nothing\n",
        f"{venv}numpy-2.1.0.dist-info__METADATA": "",
        f"{conda}scipy-1.14.dist-info__METADATA": "",
        f"{conda}scipy-1.14.dist-info__INSTALLER": "conda\n",
        f"{conda}later-1.0.dist-info__METADATA": "",
        f"{conda}later-1.0.dist-info__INSTALLER": "pip\n",
        "data__numpy-9.9.dist-info__METADATA": "",
    }
    found = {name: version for kind, name, version in image(**files) if kind == "pip"}
    expected = {"ruamel-yaml": "0.18.6", "foo-bar": "3", "old": "1", "my-own": "0.3", "numpy": "2.1.0", "later": "1.0"}
    assert expected == found


def test_condas_packages(image):
    """Version and build; what is R's in the prefix is conda's where conda has a package of that name."""
    meta, library = "opt__conda__conda-meta__", "opt__conda__lib__R__library__"
    files = {
        f"{meta}bioconductor-deseq2-1.42.0-r43hf17093f_0.json": "{}",
        f"{meta}history": "",
        f"{meta}pinned.json": "{}",
        f"{library}DESeq2__DESCRIPTION": R.format("DESeq2", "1.42.0"),
        f"{library}added__DESCRIPTION": R.format("added", "0.1"),
        f"{library}stats__DESCRIPTION": R.format("stats", "4.3.1") + "Priority: base\n",
    }
    expected = [("conda", "bioconductor-deseq2", "1.42.0=r43hf17093f_0"), ("r", "added", "0.1")]
    assert expected == image(**files)


def test_rs_packages(image):
    """Those that were installed: sources of a package that lie about say no Built."""
    site = "usr__local__lib__R__site-library__"
    files = {
        f"{site}dplyr__DESCRIPTION": R.format("dplyr", "1.1.4"),
        "usr__src__library__foo__DESCRIPTION": "Package: foo\nVersion: 1\n",
    }
    assert [("r", "dplyr", "1.1.4")] == image(**files)


def test_an_upper_layer_counts(image):
    """The databases are those of the merged image."""
    image(var__lib__dpkg__status=DPKG, opt__lib__python3__site__x="")
    assert [("deb", "a", "2")] == image(var__lib__dpkg__status="Package: a\nStatus: install ok installed\nVersion: 2\n")


def test_damage_stops_nobody(image, tmp_path):
    """Rubbish, folders in the place of files, links in circles: what can be read is told."""
    site = "usr__lib__python3.9__site-packages__"
    layer = tmp_path / "0"
    (layer / "var/lib/dpkg/status.d/b").mkdir(parents=True)
    (layer / "usr/local/lib/R/library/r").mkdir(parents=True)
    (layer / "usr/local/lib/R/library/r/DESCRIPTION").symlink_to("DESCRIPTION")
    (layer / "lib/apk/db").mkdir(parents=True)
    (layer / "lib/apk/db/installed").symlink_to("/proc/kmsg")
    rubbish = "Package: \n\n\0\xff: :\nVersion\n\nPackage: c\nStatus: install ok installed\nVersion: 3\n\nP"
    files = {"var__lib__dpkg__status": rubbish, f"{site}x.egg-info": "\0", f"{site}y-1.dist-info__METADATA": "\0"}
    assert [("deb", "c", "3"), ("pip", "y", "1")] == image(**files)


def test_records_name_every_kind(tmp_path):
    """The records of a run have name and version of each, whoever installed it."""
    root = tmp_path / "root"
    site = root / "usr/lib/python3.11/site-packages/numpy-2.1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("")
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(DPKG)
    store = Store(tmp_path / "store", FORM)
    with store.workspace() as room:
        root.rename(room / "root")
        layer = store.commit_layer(room / "root", epoch=0).diff_id
    image_id = store.put_image(ImageConfig("amd64", diff_ids=(layer,)))
    expected = (("numpy", "2.1.0"), ("python3-numpy", "1:1.24.2-1"), ("samtools", "1.16.1-1"))
    assert expected == read_packages(store, image_id)
    remove_tree(store.layer_path(layer) / "var")
    assert expected == read_packages(store, image_id)  # remembered
