"""The lint rules: for each what it finds, and what comes near but is in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.build.lint import enforce, lint
from repro.build.lint.check import RULES
from repro.build.stages import plan_build
from repro.dockerfile.grammar import read
from repro.errors import DockerfileError

PINNED = "FROM archive:debian/bookworm\n"
DIGEST = "sha256:" + "0" * 64


def found(text: str, code: str, target: str | None = None) -> list[str]:
    """Return ``line:column`` of what the rule ``code`` finds."""
    dockerfile = read(text, "Dockerfile")
    findings = lint(plan_build(dockerfile, target=target, arguments={}, arch="amd64"), dockerfile)
    return [f"{one.where.line}:{one.where.column}" for one in findings if one.rule.code == code]


# rule, text, where it is found
CASES = [
    ("unpinned-base", "FROM debian\n", ["1:6"]),
    ("unpinned-base", "FROM debian:bookworm\n", ["1:6"]),
    ("unpinned-base", "FROM localhost:5000/debian\n", ["1:6"]),
    ("unpinned-base", f"ARG V=debian@{DIGEST}\nFROM $V\n", []),
    ("unpinned-base", f"FROM debian:bookworm@{DIGEST}\n", []),
    ("unpinned-base", "FROM archive:debian/bookworm\n", []),
    ("unpinned-base", "FROM scratch AS a\nFROM a\nCOPY --from=a /x /\nRUN --mount=from=a,target=/x y\n", []),
    ("unpinned-base", "FROM scratch\nCOPY --from=busybox /x /\nRUN --mount=from=alpine,target=/x y\n", ["2:6", "3:5"]),
    ("unused-stage", "FROM scratch AS a\nFROM scratch\n", ["1:1"]),
    ("unused-stage", "FROM scratch AS a\nFROM scratch AS b\nFROM a\nCOPY --from=b /x /\n", []),
    ("unused-stage", "FROM scratch\nFROM scratch\nRUN --mount=from=0,target=/x y\n", []),
    ("misspelt-stage", "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /x /\n", ["3:6"]),
    ("misspelt-stage", "FROM scratch AS build\nFROM scratch\nCOPY --from=builder:1 /x /\n", []),
    ("unpinned-packages", f"{PINNED}RUN apt-get update && apt-get install -y bwa=1 samtools\n", ["2:23"]),
    ("unpinned-packages", f"{PINNED}RUN apt-get update && apt-get install -y bwa=1\n", []),
    ("unpinned-packages", f"{PINNED}RUN apt-get update \\\n && apt-get -y \\\n    install samtools\n", ["3:5"]),
    ("unpinned-packages", f"{PINNED}RUN apt-get install -t stable -o A=b -y ./a.deb /b.deb $PACKAGES bwa- \n", []),
    ("unpinned-packages", f"{PINNED}RUN --network=none apt-get install -y samtools\n", []),
    ("unpinned-packages", f"{PINNED}RUN echo apt-get install samtools; apt-get remove samtools\n", []),
    ("unpinned-packages", f"{PINNED}RUN if true; then sudo -E apt install samtools; fi\n", ["2:27"]),
    ("unpinned-packages", f'{PINNED}RUN ["apt-get", "install", "samtools"]\n', ["2:1"]),
    ("unpinned-packages", f"{PINNED}RUN <<EOF\nset -e\n  apt-get install -y samtools\nEOF\n", ["4:3"]),
    ("unpinned-packages", f"{PINNED}RUN <<EOF\n#!/usr/bin/env python3\napt-get install x\nEOF\n", []),
    ("unpinned-packages", f"{PINNED}RUN cat <<EOF > f\napt-get install x\nEOF\n", []),
    ("unpinned-packages", f"{PINNED}RUN pip install numpy\n", ["2:5"]),
    ("unpinned-packages", f"{PINNED}RUN python3.11 -m pip install --user 'numpy>=1'\n", ["2:5"]),
    ("unpinned-packages", f"{PINNED}RUN uv pip install numpy==1.*\n", ["2:5"]),
    ("unpinned-packages", f"{PINNED}RUN pip3 install git+https://a.example/b@main\n", ["2:5"]),
    ("unpinned-packages", f"{PINNED}RUN pip3 install git+https://a.example/b@{'0' * 40}\n", []),
    ("unpinned-packages", f"{PINNED}RUN pip install numpy==1.2 'pandas[all]===2.0;python_version>\"3\"'\n", []),
    ("unpinned-packages", f"{PINNED}RUN pip install -r requirements.txt -e . .[dev] ./x a.whl\n", []),
    ("unpinned-packages", f"{PINNED}RUN pip install --index-url https://a.example/simple numpy==1\n", []),
    ("unpinned-packages", f"{PINNED}RUN pip install --no-index --find-links=/w numpy\n", []),
    ("unpinned-packages", f"{PINNED}RUN pip install -c constraints.txt numpy\n", []),
    ("unpinned-packages", f"{PINNED}RUN conda install -y -c bioconda samtools\n", ["2:5"]),
    ("unpinned-packages", f"{PINNED}RUN micromamba create -n x 'python>=3.9'\n", ["2:5"]),
    ("unpinned-packages", f"{PINNED}RUN mamba install bioconda::samtools=1.21 python==3.12 r-base=4.*\n", []),
    ("unpinned-packages", f"{PINNED}RUN conda create -n x --file spec.txt\n", []),
    ("apt-update-apart", f"{PINNED}RUN apt-get update\nRUN apt-get install -y bwa\n", ["2:5", "3:5"]),
    ("apt-update-apart", f"{PINNED}RUN apt-get -qq update && apt-get -y install bwa\n", []),
    ("apt-update-apart", f"{PINNED}RUN apt-get update && apt-get dist-upgrade -y\n", []),
    ("apt-update-apart", f"{PINNED}RUN apt-get install -y ./a.deb\n", []),
    ("apt-update-apart", f"{PINNED}RUN --network=none apt-get install -y bwa\n", []),
    ("apt-update-apart", f"{PINNED}RUN <<EOF\napt-get update\napt-get install bwa\nEOF\n", []),
    ("apt-update-apart", f"{PINNED}RUN apt-get install -y bwa && apt-get update\n", ["2:5", "2:31"]),
    ("unchecked-url", f"{PINNED}ADD https://a.example/x /\n", ["2:5"]),
    ("unchecked-url", f"{PINNED}ADD --checksum={DIGEST} https://a.example/x /\n", []),
    ("unchecked-url", f"{PINNED}ADD https.txt /\n", []),
    ("secrets-in-arg-env", "ARG TOKEN\nFROM scratch\n", ["1:5"]),
    ("secrets-in-arg-env", f"{PINNED}ENV A=1 DB_PASSWORD=x\n", ["2:9"]),
    ("secrets-in-arg-env", f"{PINNED}ARG awsSecretKey\n", ["2:5"]),
    ("secrets-in-arg-env", f"{PINNED}ENV GITHUB_TOKEN x\n", ["2:5"]),
    ("secrets-in-arg-env", f"{PINNED}ENV KEYBOARD=us MONKEY=1 AUTHOR=me TOKENIZERS_PARALLELISM=0 PWD=/x\n", []),
    ("secrets-in-arg-env", f"{PINNED}ENV PUBLIC_KEY=x GPG_KEY=x PASSWORD_FILE=/run/x KEY_ID=3 SECRET_PATH=/x\n", []),
    ("secrets-in-arg-env", f'{PINNED}ENV PASSWORD= TOKEN=""\n', []),
    ("relative-workdir", f"{PINNED}WORKDIR a\nWORKDIR b\n", ["2:1"]),
    ("relative-workdir", f"{PINNED}WORKDIR /a\nWORKDIR b\n", []),
    ("relative-workdir", f"{PINNED}WORKDIR $HOME/x\n", []),
    ("repeated-command", f'{PINNED}CMD ["a"]\nCMD ["b"]\n', ["2:1"]),
    ("repeated-command", f'{PINNED}CMD ["a"]\nENTRYPOINT ["b"]\nFROM scratch\nCMD ["c"]\n', []),
    ("shell-form-command", f"{PINNED}CMD a\nENTRYPOINT b\n", ["2:1", "3:1"]),
    ("shell-form-command", f'{PINNED}SHELL ["/bin/bash", "-c"]\nCMD a\n', []),
    ("shell-form-command", f'{PINNED}CMD ["a"]\nRUN a\n', []),
    ("maintainer", f"{PINNED}MAINTAINER me\n", ["2:1"]),
    ("maintainer", f"{PINNED}LABEL maintainer=me\n", []),
    ("misspelt-directive", f"# escap=`\n{PINNED}", ["1:1"]),
    ("misspelt-directive", f"# author=me\n{PINNED}", []),
    ("misspelt-directive", f"# escape=`\n# syntax=x\n{PINNED}", []),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text", "expected"), CASES, ids=lambda value: repr(value)[:50])
def test_a_rule_finds_what_it_is_about_and_no_more(code, text, expected):
    """Each rule with hits, at their place, and with near misses."""
    assert expected == found(text, code)


def test_a_stage_that_is_the_target_is_used():
    """What is built is not unused, and neither is what it needs."""
    text = "FROM scratch AS a\nFROM a AS test\nFROM scratch AS last\n"
    assert ["2:1"] == found(text, "unused-stage")
    assert [] == found(text, "unused-stage", target="test")


def test_every_rule_has_its_page_and_its_cases():
    """A page in docs/rules says of each rule what and why, with a wrong and a right example; a hit and a miss here."""
    root = Path(__file__).parents[2]
    pages = sorted(path.name for path in (root / "docs" / "rules").glob("*.md") if path.name != "README.md")
    assert sorted(f"{rule.code}.md" for rule in RULES) == pages
    for rule in RULES:
        page = (root / rule.page).read_text()
        assert page.startswith(f"# {rule.code}\n")
        assert "```dockerfile" in page.partition("Right:")[0] and "```dockerfile" in page.partition("Right:")[2]
        assert {True, False} == {bool(expected) for code, _, expected in CASES if code == rule.code}


def _examples() -> list[tuple[str, str, bool]]:
    out: list[tuple[str, str, bool]] = []
    for rule in RULES:
        page = (Path(__file__).parents[2] / rule.page).read_text()
        wrong, _, right = page.partition("Right:")
        for part, hit in ((wrong, True), (right, False)):
            out.extend((rule.code, block.partition("```")[0], hit) for block in part.split("```dockerfile\n")[1:])
    return out


@pytest.mark.parametrize(("code", "text", "hit"), _examples(), ids=lambda value: repr(value)[:40])
def test_the_pages_show_what_the_rules_do(code, text, hit):
    """The wrong example of a page is found by its rule, and the right one is not."""
    text = text if "FROM" in text else PINNED + text
    assert hit == bool(found(text, code))


def _checked(directive: str) -> list[str]:
    dockerfile = read(f"{directive}\nFROM debian\nMAINTAINER me\n", "Dockerfile")
    findings = lint(plan_build(dockerfile, target=None, arguments={}, arch="amd64"), dockerfile)
    enforce(findings, dockerfile)
    return [one.rule.code for one in findings]


def test_the_check_directive_skips_rules():
    """By our name, by Docker's, or all; names that are none do no harm."""
    assert ["unpinned-base", "maintainer"] == _checked("")
    assert ["unpinned-base"] == _checked("# check=skip=maintainer, other")
    assert ["unpinned-base"] == _checked("# check=skip=MaintainerDeprecated;error=false")
    assert [] == _checked("# check=skip=all;error=true")


def test_the_check_directive_makes_findings_errors():
    """The first finding's place and page are told; without findings it changes nothing."""
    with pytest.raises(DockerfileError) as caught:
        _checked("# check=error=true")
    assert "Dockerfile:2:6" == str(caught.value.where)
    assert "and 1 more" in caught.value.message
    assert "docs/rules/unpinned-base.md" in caught.value.hint


@pytest.mark.parametrize("directive", ["# check=skp=all", "# check=all", "# check=error=perhaps"])
def test_a_wrong_check_directive_is_an_error(directive):
    """It is told at its line."""
    with pytest.raises(DockerfileError) as caught:
        _checked(directive)
    assert "Dockerfile:1:1" == str(caught.value.where)
