"""A real parleyd on a free loopback port, stopped after the test."""
import os
import re
import shutil
import signal
import subprocess

import pytest

PARLEYD = os.environ.get("PARLEYD", "build/release/parleyd")


class Server:
    running = set()

    def __init__(self, folder, *flags, port=0):
        self.data = os.path.join(folder, "data")
        self.log = open(os.path.join(folder, "log"), "a+b")
        self.process = subprocess.Popen(
            [PARLEYD, "--server-data-dir", self.data, "--http-port", str(port), *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log)
        Server.running.add(self)
        line = self.process.stdout.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, "parleyd did not start: " + open(self.log.name).read()
        self.port = int(found.group(1))
        self.url = "http://127.0.0.1:%d" % self.port

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        status = self.process.wait(timeout=30)
        Server.running.discard(self)
        self.process.stdout.close()
        self.log.close()
        return status


@pytest.fixture(autouse=True)
def what_has_passed_leaves_nothing(request, tmp_path):
    """A shard's log is made in 64 MiB pieces: hundreds of tests would fill a disk, and servers then refuse. A failed test's
    folder stays; its servers do not."""
    failed_before = request.session.testsfailed
    running_before = set(Server.running)
    yield
    for server in Server.running - running_before:
        server.process.kill()
        server.process.wait()
        Server.running.discard(server)
    if request.session.testsfailed == failed_before:
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(str(tmp_path_factory.mktemp("parleyd")), "--http-test-endpoints", "true")
    yield running
    assert running.stop() == 0, "parleyd did not stop cleanly: " + open(running.log.name).read()
