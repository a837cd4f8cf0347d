"""Steps that fetch: what they bring is locked at the first run, and must be the same later."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import pytest

from repro.digest import Digest
from repro.errors import LockError


class Lock:
    """A lock in memory; ``closed`` takes nothing more."""

    def __init__(self):
        self.entries = {}
        self.closed = False

    def locked(self, path):
        """Return what is locked."""
        return self.entries.get(path)

    def lock(self, outputs):
        """Keep new entries."""
        if self.closed and any(output.path not in self.entries for output in outputs):
            raise LockError("the lock may not be added to", hint="run without --locked")
        self.entries = {output.path: output.digest for output in outputs} | self.entries

    def acceptance(self, path):
        """Return a command."""
        return f"accept {path}"


@contextmanager
def serving(text):
    """Serve ``text`` to whoever connects, on the port given."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(text[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


STEP = """
steps:
  get:
    fetch: true
    outputs: {o: got/data.txt}
    run: head -n 1 < /dev/tcp/127.0.0.1/PORT > {{ outputs.o }}
  use: {inputs: {x: {from: get.o}}, outputs: {o: use.txt}, run: 'cp {{ inputs.x }} use.txt'}
"""


@pytest.fixture
def fetching(pipeline):
    """A project whose step fetches what ``text`` holds."""
    text = [b"first\n"]
    pipeline.more = {"fetched": Lock()}
    with serving(text) as port:
        pipeline.steps(STEP.replace("PORT", str(port)))
        yield pipeline, text


def test_locked_at_the_first_run(fetching):
    """The step has the network; the digest of what it brought is in the lock, and a no-op asks nothing again."""
    pipeline, _text = fetching
    assert 2 == pipeline.run().ran
    assert {"got/data.txt": Digest.of(b"first\n")} == pipeline.more["fetched"].entries
    assert 2 == pipeline.run().cached


def test_same_bytes_again_are_fine_and_others_fail(fetching):
    """Fetched again, the same bytes pass; others fail the job and say old, new and how to accept them."""
    pipeline, text = fetching
    pipeline.run()
    (pipeline.root / "got/data.txt").unlink()
    assert (1, 1) == ((done := pipeline.run()).ran, done.cached)
    text[0] = b"second\n"
    (pipeline.root / "got/data.txt").unlink()
    assert 1 == pipeline.run().failed
    failure = pipeline.failure("get")
    old, new = Digest.of(b"first\n"), Digest.of(b"second\n")
    assert f"got/data.txt came with other bytes: locked is {old}, now it is {new}" == failure.message
    assert "if the new bytes are right: accept got/data.txt" == failure.hint
    assert not (pipeline.root / "got/data.txt").exists()


def test_lock_that_moved_runs_the_step(fetching):
    """What lies here is not what a newer lock says: the step runs again, and gets it."""
    pipeline, text = fetching
    pipeline.run()
    pipeline.more["fetched"].entries = {"got/data.txt": Digest.of(b"second\n")}
    text[0] = b"second\n"
    assert "output got/data.txt is not what the lock says" == pipeline.assess()["get"].why
    assert 2 == pipeline.run().ran
    assert "second\n" == pipeline.text("use.txt")


def test_lock_that_takes_nothing(fetching):
    """Where the lock may not be added to, the job fails and nothing gets out."""
    pipeline, _text = fetching
    pipeline.more["fetched"].closed = True
    assert 1 == pipeline.run().failed
    assert ("the lock may not be added to", "run without --locked") == (
        pipeline.failure("get").message,
        pipeline.failure("get").hint,
    )
    assert not (pipeline.root / "got").exists()
