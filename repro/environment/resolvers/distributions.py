"""What differs between the distributions whose archives are known: their suites, their security archive, their keys."""

from __future__ import annotations

from dataclasses import replace

from repro.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution's archive.

    Attributes:
        name: ``debian``; also the folder in which its mirrors keep it.
        security: the archive that has the ``-security`` suites: one of its own, or the same.
        keyring: the package with its certificates.
        parts: pattern of the same certificates' names among apt's trusted keys.
        usual: the components that its own images have switched on.
        rolling: suites without updates and security suites beside them.
        keys: fingerprints of the primary keys that sign it, as its keyring package lists them.
    """

    name: str
    security: str
    keyring: str
    parts: str
    usual: tuple[str, ...]
    rolling: frozenset[str]
    keys: frozenset[str]

    def family(self, suite: str) -> tuple[str, ...]:
        """Return ``suite`` and the suites with later versions of its packages."""
        return (suite,) if suite in self.rolling else (suite, f"{suite}-updates", f"{suite}-security")

    def root(self, suite: str) -> str:
        """Return the archive that has ``suite``: ``debian-security`` for ``bookworm-security``."""
        return self.security if suite.endswith("-security") else self.name


_DEBIAN = Distribution(
    name="debian",
    security="debian-security",
    keyring="debian-archive-keyring",
    parts="debian-archive-*",
    usual=("main",),
    rolling=frozenset({"sid", "unstable", "experimental"}),
    keys=frozenset(
        {
            # bullseye: archive, security, release; then the same of bookworm and of trixie
            "1F89983E0081FDE018F3CC9673A4F27B8DD47936",
            "AC530D520F2F3269F5E98313A48449044AAD5C5D",
            "A4285295FC7B1A81600062A9605C66F00D6C9793",
            "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
            "05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0",
            "4D64FEC119C2029067D6E791F8D2585B8783D481",
            "04B54C3CDCA79751B16BC6B5225629DF75B188BD",
            "5E04A1E3223A19A20706E20F9904613D4CCE68C6",
            "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
        }
    ),
)
_UBUNTU = Distribution(
    name="ubuntu",
    security="ubuntu",
    keyring="ubuntu-keyring",
    parts="ubuntu-keyring-*",
    usual=("main", "universe"),
    rolling=frozenset(),
    keys=frozenset({"790BC7277767219C42C86F933B4FE6ACC0B21F32", "F6ECB3762474EDA9D21B7022871920D1991BC93C"}),
)
DISTRIBUTIONS = {distribution.name: distribution for distribution in (_DEBIAN, _UBUNTU)}


def distribution_of(name: str) -> Distribution:
    """Return the distribution called ``name``; one that is not known follows Debian's conventions."""
    known = DISTRIBUTIONS.get(name)
    if known is not None:
        return known
    return replace(
        _DEBIAN, name=name, security=f"{name}-security", keyring=f"{name}-archive-keyring", parts=f"{name}-archive-*",
        usual=("main",), rolling=frozenset(), keys=frozenset(),
    )  # fmt: skip
