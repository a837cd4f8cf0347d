"""The config and RUN's environment, instruction by instruction, as BuildKit has them (each case was tried there)."""

from __future__ import annotations

import dataclasses

import pytest

from repro.build.stages import architecture
from repro.errors import DockerfileError
from repro.events import BuildOutput


def settings(shop, text: str, **options):
    """Return the config of the image that ``text`` after ``FROM base`` gives."""
    return shop.store.config(shop.build(f"FROM base\n{text}\n", **options).image_id)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ["80/tcp"]),
        ("80/udp 81/SCTP", ["80/udp", "81/sctp"]),
        ("80/", ["80/tcp"]),
        ("080", ["80/tcp"]),
        ("0", ["0/tcp"]),
        ("8000-8002", ["8000/tcp", "8001/tcp", "8002/tcp"]),
        ("90:80/udp", ["80/udp"]),
        ("80-81:90-91/tcp", ["90/tcp", "91/tcp"]),
        ("127.0.0.1:90:91", ["91/tcp"]),
        ("1.2.3.4::80", ["80/tcp"]),
        ("[::1]:5:6", ["6/tcp"]),
        ("$NOTHING", []),
        ("$PORTS", ["1/tcp", "2/tcp"]),
    ],
)
def test_ports_in_every_form(shop, text, expected):
    """The container's ports; what the host would use is left out."""
    assert sorted(expected) == list(settings(shop, f'ENV PORTS="1 2"\nEXPOSE {text}').exposed_ports)


@pytest.mark.parametrize(
    "text", ["80/icmp", "70000", "5-4", "80-82:90-91", "/tcp", "1.2.3.4:80", "foo:80", "a:80:80", "-1", "80:", "8O"]
)
def test_what_is_no_port_is_a_located_error(shop, text):
    """Docker refuses it too."""
    with pytest.raises(DockerfileError, match="not a port") as caught:
        settings(shop, f"EXPOSE {text}")
    assert "Dockerfile:2:8" == str(caught.value.where)


@pytest.mark.parametrize("text", ["SIGTERM", "term", "9", "99", "+5", "SIGRTMIN+15", "rtmax-14", "IOT", "STKFLT"])
def test_signals_by_name_and_number(shop, text):
    """Kept as they were written."""
    assert text == settings(shop, f"STOPSIGNAL {text}").stop_signal


@pytest.mark.parametrize("text", ["SIGFOO", "0", "15.", "RTMIN+16", "SIGRTMAX-15", "UNUSED", '""'])
def test_what_is_no_signal_is_a_located_error(shop, text):
    """Docker refuses it too."""
    with pytest.raises(DockerfileError, match="not a signal") as caught:
        settings(shop, f"STOPSIGNAL {text}")
    assert "Dockerfile:2:12" == str(caught.value.where)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WORKDIR a", "/a"),
        ("WORKDIR a\nWORKDIR ../b/./c", "/b/c"),
        ("WORKDIR /a/\nWORKDIR $NOTHING", "/a"),
        ("WORKDIR $NOTHING", "/"),
        ("WORKDIR //etc//", "/etc"),
        ("WORKDIR ../../..", "/"),
    ],
)
def test_the_working_folder(shop, text, expected):
    """Relative to the one before; an empty variable stays where it is."""
    assert expected == settings(shop, text).working_dir


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ENV A=1 A=2", ["A=2"]),
        ("ENV A=1\nENV A=", ["A="]),
        ("ENV A a b  c", ["A=a b  c"]),
        ("ENV A=env B=2\nENV A=new C=$A D=${B}x", ["A=new", "B=2", "C=env", "D=2x"]),
        ("ARG A=1\nENV A=${A}x\nENV B=$A", ["A=1x", "B=1x"]),
        ("ARG A=arg\nENV B=$A\nARG B=other\nENV C=$B", ["B=arg", "C=other"]),
        ("ENV A='x y' B=a\\ b C=\"$A\"", ["A=x y", "B=a b", "C="]),
    ],
)
def test_the_environment(shop, text, expected):
    """In order of first setting; a line sees what was before it; the later of ENV and ARG wins."""
    assert ["PATH=/usr/bin:/bin", *expected] == list(settings(shop, text).env)


def test_labels_and_volumes_add_up(shop):
    """The last of equal names wins; volumes stay as they were written."""
    found = settings(shop, 'LABEL a=1 b="x y"\nLABEL a=2 "d e"=3\nVOLUME /v /w/ x\nVOLUME ["/z", "/v"]')
    assert {"a": "2", "b": "x y", "d e": "3"} == dict(found.labels)
    assert ("/v", "/w/", "/z", "x") == found.volumes


def test_an_image_always_has_a_path(shop):
    """A base without one gets Docker's default."""
    base = dataclasses.replace(shop.store.config(shop.base), env=("A=1",))
    shop.base = shop.store.put_image(base)
    default = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert ["A=1", default] == list(settings(shop, "LABEL a=b").env)


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ("", {"http_proxy": "P"}, ["HTTP_PROXY=P", "http_proxy=P"]),
        ("", {"HTTPS_PROXY": "P"}, ["HTTPS_PROXY=P", "https_proxy=P"]),
        ("ENV https_proxy=own", {"https_proxy": "P"}, ["HTTPS_PROXY=P", "https_proxy=P"]),
        ("ENV https_proxy=own", {}, ["https_proxy=own"]),
        ("ARG all_proxy=default", {}, ["all_proxy=default"]),
    ],
)
def test_proxies_are_given_in_both_spellings(shop, text, args, expected):
    """Without any ARG; what the build is given wins."""
    settings(shop, f"{text}\nRUN env", args=args)
    lines = [event.text for event in shop.events if isinstance(event, BuildOutput)]
    assert expected == sorted(line for line in lines if "proxy" in line.lower())


def test_a_proxy_that_is_declared_is_part_of_the_key(shop):
    """ARG http_proxy asks for it (Dockerfile reference, "Predefined ARGs")."""
    text = "FROM base\nARG http_proxy\nRUN true\n"
    shop.build(text, args={"http_proxy": "one"})
    assert 0 == shop.build(text, args={"http_proxy": "two"}).cached


def test_an_own_source_date_epoch_wins_in_run(shop):
    """The author's own is what commands see; times in the image are still the build's."""
    settings(shop, "ENV SOURCE_DATE_EPOCH=5\nRUN echo $SOURCE_DATE_EPOCH")
    assert ["5"] == [event.text for event in shop.events if isinstance(event, BuildOutput)]


@pytest.mark.parametrize("spelling", ["linux/{}", "{}", "linux", "Linux/{}", "$BUILDPLATFORM", ""])
def test_the_own_platform_in_every_spelling(shop, spelling):
    """FROM --platform of this machine is no cross build."""
    shop.build(f"FROM --platform={spelling.format(architecture())} base\nLABEL a=b\n")


def test_of_two_stages_with_one_name_the_later_is_meant(shop):
    """By FROM and by --from, as BuildKit does."""
    result = shop.build(
        "FROM base AS a\nRUN echo first > /x\nFROM base AS a\nRUN echo second > /x\nFROM a\nCOPY --from=a /x /y\n"
    )
    assert ["second\n", "second\n"] == [shop.read(result, "/x"), shop.read(result, "/y")]


def test_findings_are_told_as_warnings_unless_the_file_skips_them(shop):
    """With place and name of the rule; `error=true` makes the first one an error, before anything runs."""
    text = "FROM base AS unused\nFROM base\nRUN true\n"
    shop.build(text)
    warnings = [event.text for event in shop.events if event.kind == "notice"]
    assert any("Dockerfile:1" in warning and warning.endswith("]") for warning in warnings)
    shop.build("# check=skip=all\n" + text)
    assert [] == [event for event in shop.events if event.kind == "notice"]
    shop.build(text, lint=False)
    assert [] == [event for event in shop.events if event.kind == "notice"]
    with pytest.raises(DockerfileError):
        shop.build("# check=error=true\n" + text, no_cache=True)
    assert [] == [event for event in shop.events if event.kind == "build-step"]
