"""Where channels and locked packages are: only the machine's configuration knows hosts."""

from __future__ import annotations

import pytest

from repro.digest import Digest
from repro.environment.model import CondaPackage
from repro.environment.resolvers.conda_channels import Channels, locate_conda, locked_name
from repro.errors import WorkflowError
from repro.workflow.model import CondaSpec

HERE = "http://127.0.0.1:1"


def package(name: str, channel: str, subdir: str = "linux-64") -> CondaPackage:
    """Return a lock entry."""
    file = f"{name}-1.0-h0_0.conda"
    return CondaPackage(name, "1.0", "h0_0", channel, subdir, file, Digest.of(name.encode()), 5)


def test_a_name_is_below_the_alias(tmp_path):
    """$CONDA_CHANNEL_ALIAS goes over a .condarc; labels are below their channel."""
    (tmp_path / ".condarc").write_text(f"channel_alias: {HERE}/condarc\n")
    home = {"HOME": str(tmp_path)}
    assert (f"{HERE}/condarc/bioconda",) == Channels(tmp_path, home).addresses("bioconda")
    channels = Channels(tmp_path, {**home, "CONDA_CHANNEL_ALIAS": f"{HERE}/alias/"})
    assert (f"{HERE}/alias/conda-forge/label/dev",) == channels.addresses("conda-forge/label/dev")


def test_urls_and_project_paths_stand_for_themselves(tmp_path):
    """A path is from the project's root."""
    channels = Channels(tmp_path, {})
    assert (f"{HERE}/a/b",) == channels.addresses(f"{HERE}/a/b/")
    assert ((tmp_path / "chan").as_uri(),) == channels.addresses("./chan")


def test_condarc_places_custom_and_default_channels(tmp_path):
    """The first file that says a thing counts; variables in it are filled in; defaults without any is nowhere."""
    (tmp_path / "named").write_text(f"custom_channels: {{lab: '{HERE}/${{WHO}}'}}\n")
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda/.condarc").write_text(
        f"custom_channels: {{lab: http://never, more: {HERE}}}\ndefault_channels: [lab, {HERE}/main]\n"
    )
    channels = Channels(tmp_path, {"HOME": str(tmp_path), "CONDARC": str(tmp_path / "named"), "WHO": "ada"})
    assert (f"{HERE}/ada/lab/label/x",) == channels.addresses("lab/label/x")
    assert (f"{HERE}/more",) == channels.addresses("more")
    assert (f"{HERE}/ada/lab", f"{HERE}/main") == channels.addresses("defaults")
    assert () == Channels(tmp_path, {}).addresses("defaults")


def test_a_broken_condarc_is_named(tmp_path):
    """It is a mistake in a file, with its place."""
    (tmp_path / "rc").write_text("channel_alias: [\n")
    with pytest.raises(WorkflowError) as caught:
        Channels(tmp_path, {"CONDARC": str(tmp_path / "rc")})
    assert str(tmp_path / "rc") in str(caught.value)


@pytest.mark.parametrize(
    ("channel", "name"),
    [("bioconda", "bioconda"), ("a/label/b", "a/label/b"), (f"{HERE}/t/secret/lab/", "lab"), ("./my/chan", "chan")],
)
def test_a_lock_names_no_host(channel, name):
    """Of a URL or path the last part is kept."""
    assert name == locked_name(channel)


def test_locked_packages_are_found_by_channel_and_list(tmp_path):
    """Every declared channel of that name is tried; a package that nothing leads to has no address."""
    environ = {"CONDA_CHANNEL_ALIAS": HERE}
    spec = CondaSpec(("lab", f"{HERE}/other/lab"), ("a",))
    found = locate_conda([package("b", "gone"), package("a", "lab", "noarch")], spec, tmp_path, environ)
    file = "noarch/a-1.0-h0_0.conda"
    assert [("a-1.0-h0_0.conda", (f"{HERE}/lab/{file}", f"{HERE}/other/lab/{file}")), ("b-1.0-h0_0.conda", ())] == [
        (item.name, item.urls) for item in found
    ]
    (tmp_path / "list.txt").write_text(f"@EXPLICIT\n{HERE}/x/linux-64/a-1.0-h0_0.conda\n")
    [wanted] = locate_conda([package("a", "x")], CondaSpec(file="list.txt"), tmp_path, environ)
    assert (f"{HERE}/x/linux-64/a-1.0-h0_0.conda",) == wanted.urls
    assert (Digest.of(b"a"), 5) == (wanted.digest, wanted.size)
