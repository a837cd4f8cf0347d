"""Secrets: shown to the steps that name them, masked in all that stays, and gone with the job."""

from __future__ import annotations

import base64
import itertools
import json
import os
import stat
import urllib.parse
import uuid
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from repro.execution.masking import MASK, Mask
from repro.execution.secrets import Vault
from repro.files import remove_tree
from tests.execution.driver import Pipeline
from tests.execution.test_driver import processes_with, start, until

TOKEN = b"s3cr3t-T0ken/+=value"
SHOW = """
steps:
  s:
    secrets: [token]
    outputs: {y: y.txt}
    run: |
      stat -c '%a %F' /run/secrets/token > y.txt
      ls /run/secrets >> y.txt
      wc -c < /run/secrets/token >> y.txt
      bash -c 'echo x > /run/secrets/token' || echo unwritable >> y.txt
      cat "$REPRO_JOB" > job.json
      echo "token: $(cat /run/secrets/token)"; cat /run/secrets/token >&2; head -c 300000 /dev/zero
  plain:
    outputs: {z: z.txt}
    run: test ! -e /run/secrets/token; cat "$REPRO_JOB" > z.txt
"""


def masked(secrets, data, cuts=()):
    """Return ``data`` masked, given in pieces that end at ``cuts``."""
    stream = Mask(secrets).stream()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[first:behind] for first, behind in itertools.pairwise(edges)]
    return b"".join(stream.feed(piece) for piece in pieces) + stream.finish()


def holders(root, value):
    """Return all files below ``root`` that have ``value`` in them."""
    return [str(path) for path in Path(root).rglob("*") if path.is_file() and value in path.read_bytes()]


# ---- masking


@settings(deadline=None)
@given(
    secrets=st.lists(st.text("ab", min_size=1, max_size=9).map(str.encode), max_size=3),
    data=st.text("ab \n", max_size=80).map(str.encode),
    cuts=st.lists(st.integers(0, 100), max_size=12),
)
@example(secrets=[b"abab", b"babaa"], data=b"xababaax", cuts=[4])
@example(secrets=[b"aaaa"], data=b"aaaaaaab", cuts=[1, 2, 3, 4, 5, 6])
def test_masking_does_not_hang_on_how_the_output_is_cut(secrets, data, cuts):
    """Whatever the pieces, the result is that of the whole, and no secret of four bytes or more is in it."""
    whole = masked(secrets, data)
    assert whole == masked(secrets, data, cuts)
    assert whole == masked(secrets, data, range(len(data)))
    assert [] == [secret for secret in secrets if len(secret) >= 4 and secret in whole]
    if all(len(secret) < 4 for secret in secrets):
        assert data == whole


@settings(deadline=None)
@given(
    secret=st.binary(min_size=4, max_size=60),
    before=st.binary(max_size=40),
    after=st.binary(max_size=40),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_any_bytes_are_masked_and_the_rest_passes(secret, before, after, cuts):
    """Secrets and output may be any bytes; what lies before and after a secret comes out as it was."""
    result = masked([secret], before + secret + after, cuts)
    assert MASK in result
    if not any(value in before + after for value in (secret, secret.strip())) and len(set(secret)) > 3:
        assert len(result) <= len(before) + len(MASK) + len(after)
    outside = before.replace(secret, b"")
    assert outside == masked([b"\xffnowhere\xff\xfe\xfd"], outside, cuts)


@settings(deadline=None)
@given(secret=st.binary(min_size=9, max_size=100), beside=st.binary(max_size=7), after=st.binary(max_size=7))
def test_encoded_secrets_are_masked(secret, beside, after):
    """Base64 (also of a login that has it in it, also in lines) and a URL's spelling give nothing away."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(beside + secret + after)
        shown = masked([secret], text)
        assert len(shown) <= len(MASK) + len(encode(beside)) + len(encode(after)) + 4, shown
    quoted = urllib.parse.quote(secret, safe="").encode()
    assert MASK == masked([secret], quoted)


def test_lines_of_a_key_are_masked():
    """Each line of eight bytes or more is a secret of its own; shorter ones, and what is not there, stay."""
    key = b"-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA1234\nshort\n"
    assert b"got ***, short" == masked([key], b"got MIIEpAIBAAKCAQEA1234, short")
    assert b"***\n" == masked([b"one-line\n"], b"one-line\n\n")
    assert b"***\n" == masked([bytes(range(200))], base64.encodebytes(bytes(range(200))))
    assert "a *** b" == Mask([TOKEN]).text(f"a {TOKEN.decode()} b")


def test_what_is_held_back_is_bounded():
    """Output that could not become a secret is not kept, and what could be one is no longer than it."""
    stream = Mask([b"0123456789"]).stream()
    assert b"x" * 100_000 == stream.feed(b"x" * 100_000)
    assert b"progress 1" == stream.feed(b"progress 1")
    assert b"x" == stream.feed(b"x01234")
    assert b"01234x" == stream.feed(b"x")
    assert b"" == stream.finish()


# ---- runs


def test_secret_is_shown_to_its_step_alone(pipeline):
    """It is a file of mode 0400 in /run/secrets that cannot be written; $REPRO_JOB names it; other steps have none."""
    pipeline.secrets = {"token": TOKEN, "unused": b"never shown"}
    assert "succeeded" == pipeline.steps(SHOW).run().status, pipeline.events
    assert ["400 regular file", "token", str(len(TOKEN)), "unwritable"] == pipeline.text("y.txt").splitlines()
    assert {} == json.loads(pipeline.text("z.txt"))["secrets"]


def test_job_document_names_secrets(pipeline):
    """$REPRO_JOB says where each secret is."""
    pipeline.secrets = {"token": TOKEN}
    pipeline.steps('steps: {s: {secrets: [token], outputs: {y: y.json}, run: cat "$REPRO_JOB" > y.json}}').run()
    assert {"token": "/run/secrets/token"} == json.loads(pipeline.text("y.json"))["secrets"]


def test_log_and_record_have_no_secret(pipeline):
    """The log has ``***`` in its place and all else as printed; the record knows its name; no file has its bytes."""
    pipeline.secrets = {"token": TOKEN}
    pipeline.steps(SHOW).run("first")
    log = (pipeline.root / ".repro/runs/first/logs/s.log").read_bytes()
    assert b"token: ***\n***" + bytes(300_000) in log
    record = next(event.record for event in pipeline.events if event.kind == "job-finished" and event.record.job == "s")
    assert (["token"], False) == (record.key_parts["secrets"], record.key_parts["network"])
    assert [] == holders(pipeline.root, TOKEN)
    assert not Vault(pipeline.root).root.exists()


def test_another_value_reruns_nothing_and_needs_none(pipeline):
    """The key has the secret's name alone: a new value is no change, and a cached job needs none at all."""
    pipeline.secrets = {"token": TOKEN}
    pipeline.steps(SHOW).run()
    pipeline.secrets = {"token": b"another"}
    assert 2 == pipeline.run().cached
    pipeline.secrets = {}
    assert 2 == pipeline.run().cached
    pipeline.steps(SHOW.replace("secrets: [token]", "secrets: [token, more]"))
    assert "secrets" in [change.part for change in pipeline.assess()["s"].changes]


def test_missing_secret_fails_before_the_job_starts(pipeline):
    """The message names step and secret, and how to give it; other jobs run."""
    finished = pipeline.steps(SHOW).run()
    assert (1, 1) == (finished.ran, finished.failed)
    failure = pipeline.failure("s")
    assert failure.message.endswith("step s needs the secret 'token', which was not given")
    assert failure.message.startswith("workflow.yaml:")
    assert "repro run --secret id=token,src=FILE (or env=VAR)" == failure.hint
    assert ["plain"] == [event.job for event in pipeline.events if event.kind == "job-started"]


def test_failure_tells_no_secret(pipeline):
    """The last lines, names of files and the shell's own words are masked in the message, the log and the events."""
    pipeline.secrets = {"token": TOKEN}
    pipeline.steps(
        'steps: {s: {secrets: [token], outputs: {y: y.txt}, run: "t=$(cat /run/secrets/token)\\n'
        'echo no such file $t\\nhead -c 3 /run/secrets/token\\nsleep 0.2\\ntail -c +4 /run/secrets/token\\nexit 3"}}'
    ).run("first")
    failure = pipeline.failure("s")
    assert 3 == failure.exit_status
    assert "no such file ***\n    ***" in failure.message
    assert [] == holders(pipeline.root, TOKEN)
    pipeline.steps(
        "steps: {s: {secrets: [token], outputs: {y: y.txt}, run: 'touch $(basename $(cat /run/secrets/token)).y.txt'}}"
    ).run("second")
    name = TOKEN.split(b"/")[1]
    assert name.decode() in pipeline.failure("s").message  # a part of it is not the secret
    pipeline.secrets = {"token": name}
    pipeline.run("third")
    assert "undeclared files written: ***.y.txt" in pipeline.failure("s").message
    assert [] == holders(pipeline.root / ".repro/runs/third", name)


def test_dropped_files_tell_no_secret(pipeline):
    """Undeclared files whose names have the secret are listed masked, in the log and in the record."""
    pipeline.secrets = {"token": b"secret-name"}
    pipeline.steps("steps: {s: {secrets: [token], outputs: {y: y}, run: 'touch y $(cat /run/secrets/token)'}}").run("r")
    assert ["***"] == [name for event in pipeline.events[-2:-1] for name in event.record.dropped]
    assert [] == holders(pipeline.root, b"secret-name")


def test_secret_does_not_outlive_a_kill(pipeline):
    """What a run that was killed left of a secret is in no log, and gone once the next run begins."""
    mark = f"mark-{uuid.uuid4().hex}"
    wait = f'cat /run/secrets/token; bash -c "exec -a {mark} sleep 600"'
    step = "steps: {{s: {{secrets: [token], outputs: {{y: y.txt}}, run: '{}'}}}}"
    pipeline.steps(step.format(wait))
    pipeline.root.with_name("project.json").write_text(json.dumps({"secrets": {"token": TOKEN.decode()}}))
    vault = Vault(pipeline.root).root
    try:
        with start(pipeline, "first") as driver:
            try:
                until(lambda: processes_with(mark))
                assert [] == holders(pipeline.root, TOKEN)
            finally:
                driver.kill()
        assert [0o400] == [stat.S_IMODE(path.stat().st_mode) for path in vault.rglob("token")]
        until(lambda: not processes_with(mark))
        assert [] == holders(pipeline.root / ".repro/runs", TOKEN)
        pipeline.steps(step.format("touch y.txt"))
        pipeline.secrets = {"token": TOKEN}
        assert 1 == pipeline.run("second").ran
        assert [] == holders(pipeline.root, TOKEN)
        assert not vault.exists()
    finally:
        remove_tree(vault)


def test_folder_of_somebody_else_is_not_used(tmp_path):
    """A folder of that name that others may enter gets no secret; the job's own scratch folder does."""
    vault = Vault(tmp_path)
    (tmp_path / "1").mkdir()
    vault.root.mkdir(mode=0o755)
    try:
        vault.root.chmod(0o755)
        with vault.hold(tmp_path / "1", {"token": TOKEN}) as folder:
            assert tmp_path / "1/secrets" == folder
            assert TOKEN == (folder / "token").read_bytes()
        assert not folder.exists()
        assert [] == os.listdir(vault.root)
    finally:
        vault.root.rmdir()


def test_ordinary_user_has_secrets(ordinary, rootfs):
    """A secret is shown, masked and removed where the container's root is the caller's one ID."""
    root = ordinary.home / f"secrets-{uuid.uuid4().hex[:8]}"
    more = root.with_name(f"{root.name}.json")
    root.mkdir()
    Pipeline(root, rootfs).steps(SHOW)
    more.write_text(json.dumps({"secrets": {"token": TOKEN.decode()}}))
    ordinary.give(root)
    try:
        done = ordinary.run(ordinary.python, "-m", "tests.execution.driver", str(root), str(rootfs), "first")
        assert 0 == done.returncode, done.stdout + done.stderr
        assert ["400 regular file", "token", str(len(TOKEN)), "unwritable"] == (root / "y.txt").read_text().splitlines()
        assert [] == holders(root, TOKEN)
        assert not Vault(root).root.exists()
    finally:
        remove_tree(root)
        more.unlink()


def test_log_that_takes_no_more_ends_the_job(pipeline):
    """A job whose masked log cannot be written is killed and failed, instead of waiting for a reader."""
    pipeline.secrets = {"token": TOKEN}
    pipeline.steps(
        "steps: {s: {secrets: [token], outputs: {y: y}, run: 'touch y; head -c 200000 /dev/zero; sleep 60'}}"
    )
    (pipeline.root / ".repro/runs/full/logs").mkdir(parents=True)
    (pipeline.root / ".repro/runs/full/logs/s.log").symlink_to("/dev/full")
    assert 1 == pipeline.run("full").failed
    assert "No space left on device" in pipeline.failure("s").message
