"""`repro image push` and `pull` through a real forward proxy: plain and TLS, with and without a login, and a dead one."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time

import pytest

from tests import servers
from tests.faults.bench import Bench

NAME, SECRET = "traveller", "pr0xy-secret"


class Proxy:
    """tinyproxy with a login; ``address`` has it in it."""

    def __init__(self, program, folder):
        self.host = f"127.0.0.1:{servers.free_port()}"
        self.address = f"http://{NAME}:{SECRET}@{self.host}"
        self._program = program
        self._log = folder / "tinyproxy.log"
        self._settings = folder / "tinyproxy.conf"
        self.start()

    def start(self, more=""):
        """Start it, with more lines of its settings, and wait until it answers."""
        name, _, port = self.host.partition(":")
        self._settings.write_text(
            f'Port {port}\nListen {name}\nBasicAuth {NAME} {SECRET}\nLogFile "{self._log}"\nLogLevel Connect\n{more}'
        )
        self._process = subprocess.Popen(
            [self._program, "-d", "-c", self._settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection((name, int(port)), timeout=1):
                return
            assert self._process.poll() is None, "the proxy did not start"
            time.sleep(0.02)
        raise AssertionError("the proxy does not answer")

    def restart(self, more):
        """Start it again with more lines of its settings."""
        self.stop()
        self.start(more)

    def stop(self):
        """End it."""
        self._process.terminate()
        self._process.wait(10)

    def passed(self, method):
        """Return the targets of the requests of a method."""
        return re.findall(rf"Request \(file descriptor \d+\): {method} (\S+) ", self._log.read_text())


@pytest.fixture
def proxy(tmp_path):
    """A forward proxy."""
    program = shutil.which("tinyproxy")
    if program is None:
        pytest.skip("tinyproxy is not installed: see tests/run")
    made = Proxy(program, tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="module", params=["plain", "tls"])
def served(request, tmp_path_factory):
    """A registry in plain HTTP, and one over TLS that wants a login."""
    if servers.missing():
        pytest.skip(f"{servers.missing()} is not installed: see tests/run")
    kind = {"plain": servers.plain_registry, "tls": servers.tls_registry}[request.param]
    with kind(tmp_path_factory.mktemp(request.param)) as served:
        yield served


@pytest.fixture
def bench(tmp_path, served):
    """A user with an image to push."""
    made = Bench(tmp_path / "bench", served.host)
    if served.authority is not None:
        settings = tmp_path / "bench/registries.toml"
        settings.write_text(f'[registry."{served.host}"]\nca = "{served.authority}"\nattempts = 2\n')
        made.log_in(served.host, servers.USER, servers.PASSWORD)
    made.make(_name(served), 100_000)
    return made


def _name(served):
    return f"{served.host}/proxies/image:1"


def test_all_goes_through_the_proxy(served, bench, proxy, tmp_path):
    """Requests in plain HTTP, or one tunnel for TLS; the proxy's login is sent to it alone, and shown nowhere."""
    tls = served.authority is not None
    bench.env["https_proxy" if tls else "http_proxy"] = proxy.address
    image = bench.image(_name(served))
    said = bench.works("--debug", "image", "push", _name(served)).error
    bench.works("image", "rm", "-f", _name(served))
    bench.works("store", "gc", "--cache")
    said += bench.works("--debug", "image", "pull", _name(served)).error
    assert bench.image(_name(served)) == image
    assert SECRET not in said
    targets = [target.removeprefix("http://") for target in proxy.passed("CONNECT" if tls else "PUT")]
    assert targets
    assert all(target.startswith(served.host) for target in targets)


def test_no_proxy_is_honoured(served, bench):
    """A host that it names is reached directly."""
    dead = f"http://{NAME}:{SECRET}@127.0.0.1:{servers.free_port()}"
    bench.env.update(http_proxy=dead, HTTPS_PROXY=dead, no_proxy="other.example, 127.0.0.1")
    bench.works("image", "push", _name(served))
    del bench.env["no_proxy"]
    assert bench.run("image", "push", _name(served)).status == 4


def test_a_dead_proxy_is_named(served, bench):
    """By its address, without the login in it."""
    host = f"127.0.0.1:{servers.free_port()}"
    bench.env.update(all_proxy=f"http://{NAME}:{SECRET}@{host}")
    for action in ("push", "pull"):
        done = bench.run("--debug", "image", action, _name(served))
        assert done.status == 4
        assert f"the proxy http://{host} for 127.0.0.1 cannot be used: Connection refused (tried 2 times)" in done.error
        assert SECRET not in done.error
    bench.check()


@pytest.mark.parametrize("login", ["", f"{NAME}:wr0ng-one@"])
def test_a_proxy_that_wants_a_login(served, bench, proxy, login):
    """Without one, or with a wrong one, the error says what to write; nothing is tried again."""
    if login and served.authority is None:
        pytest.skip("tinyproxy answers a wrong login with 401, as the registry itself would")
    bench.env.update(all_proxy=f"http://{login}{proxy.host}")
    done = bench.run("image", "push", _name(served))
    assert done.status == 4
    assert "wants a user name and a password, or others" in done.error
    assert "http://USER:PASSWORD@HOST:PORT" in done.error
    assert "wr0ng-one" not in done.error
    assert "tried" not in done.error


def test_a_proxy_that_refuses_a_port(served, bench, proxy):
    """What it does not let through is told at once, in its words."""
    if served.authority is None:
        pytest.skip("a tunnel is for TLS")
    proxy.restart("ConnectPort 443\n")
    bench.env.update(https_proxy=proxy.address)
    done = bench.run("image", "push", _name(served))
    assert done.status == 4
    assert f"the proxy http://{proxy.host} does not let us through: Tunnel connection failed: 403" in done.error
    assert SECRET not in done.error
