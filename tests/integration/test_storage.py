"""What a server does with its disk: a full one, a cold start out of the database, a log that must not be shorter."""
import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import Server
from test_chat import create, history, send, token

SMALL = ("--store-dirty-max", "1MiB", "--store-objects-max", "1MiB", "--store-write-buffer-max", "1MiB")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 MiB that a test can fill."""
    folder = str(tmp_path / "disk")
    os.mkdir(folder)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode and "permission denied" in mount.stderr or "superuser" in mount.stderr:
        pytest.skip("needs the right to mount a tmpfs: " + mount.stderr)
    assert mount.returncode == 0, mount.stderr
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def wait_for(condition, seconds=60):
    for _ in range(seconds * 10):
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_a_full_disk_refuses_sends_serves_reads_and_recovers_by_itself(small_disk):
    flags = ("--server-shards", "1", "--server-reactors", "1", "--store-space-guard", "32MiB")
    server = Server(small_disk, *flags)
    ann = token(server, "ann")
    conversation = create(server, ann, "c", ["bob"])
    numbers = iter(range(1, 1000000))
    acked = []

    def status():
        n = next(numbers)
        answer = send(server, ann, conversation, n)
        if answer.status_code == 201:
            acked.append(n)
        return answer

    assert status().status_code == 201
    ballast = os.path.join(small_disk, "ballast")
    
    def fill_up():
        free = os.statvfs(small_disk)
        try:
            with open(ballast, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - (16 << 20))
            return True
        except OSError:  # the log made its next segment meanwhile
            return False

    assert wait_for(fill_up)
    assert wait_for(lambda: status().status_code == 507)
    assert status().json()["error"]["code"] == "disk_full"
    assert [m["client_msg_id"] for m in history(server, ann, conversation, limit=200)["messages"]][-1] == \
        "m%d" % acked[-1]
    os.remove(ballast)
    assert wait_for(lambda: status().status_code == 201)
    server.stop(signal.SIGKILL)
    server = Server(small_disk, *flags)
    found = history(server, ann, conversation, limit=200)["messages"]
    assert [int(m["client_msg_id"][1:]) for m in found] == acked[-200:]
    assert server.stop() == 0


def ballast(folder):
    """Takes the last free byte."""
    path = os.path.join(folder, "ballast")
    with open(path, "ab", buffering=0) as file:
        piece = 1 << 20
        while piece:
            try:
                file.write(b"x" * piece)
            except OSError:
                piece //= 2
    assert os.statvfs(folder).f_bavail == 0
    return path


@pytest.mark.parametrize("fresh", [True, False])
def test_a_disk_without_a_free_byte_stops_sends_and_nothing_else(small_disk, fresh):
    flags = ("--server-shards", "1", "--server-reactors", "1", "--store-space-guard", "16MiB",
             "--store-dirty-max", "1MiB", "--store-write-buffer-max", "1MiB")
    server = Server(small_disk, *flags)
    ann = token(server, "ann")
    conversation = create(server, ann, "c", ["bob"])
    acked = 0

    def attempt():
        nonlocal acked
        answer = send(server, ann, conversation, acked, "x" * 1000)
        acked += answer.status_code == 201
        return answer

    while acked < (2 if fresh else 1500):
        assert attempt().status_code == 201
    for _ in range(2):
        path = ballast(small_disk)
        assert wait_for(lambda: attempt().status_code == 507)
        for _ in range(30):  # write-back, flushes and the log's next segment fail meanwhile
            answer = attempt()
            assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
            last = history(server, ann, conversation, limit=200)["messages"]
            assert [m["client_msg_id"] for m in last] == ["m%d" % n for n in range(acked)][-200:]
            time.sleep(0.1)
        os.remove(path)
        assert wait_for(lambda: attempt().status_code == 201)
    path = ballast(small_disk)
    server.stop(signal.SIGKILL)
    with pytest.raises(AssertionError, match="bytes free"):
        Server(small_disk, *flags)
    os.remove(path)
    server = Server(small_disk, *flags)
    check(server, ann, [conversation], acked)
    path = ballast(small_disk)
    assert server.stop() == 0
    os.remove(path)
    server = Server(small_disk, *flags)
    check(server, ann, [conversation], acked)
    assert server.stop() == 0


def fill(server, who, conversations, first, count):
    for n in range(first, first + count):
        for c in conversations:
            assert send(server, who, c, n, "x" * 1000).status_code == 201


def check(server, who, conversations, count):
    for c in conversations:
        seen, after = [], "0"
        while True:
            page = history(server, who, c, after=after, limit=77)
            seen += page["messages"]
            if not page["more"]:
                break
            after = page["messages"][-1]["id"]
        assert [m["client_msg_id"] for m in seen] == ["m%d" % n for n in range(count)]
        assert [m["seq"] for m in seen] == list(range(1, count + 1))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_history_comes_out_of_the_database_after_a_restart(tmp_path, how):
    server = Server(str(tmp_path), *SMALL)
    ann = token(server, "ann")
    conversations = [create(server, ann, "c%d" % i, ["bob"]) for i in range(6)]
    for part in range(3):
        fill(server, ann, conversations, 100 * part, 100)
        server.stop(how)
        server = Server(str(tmp_path), *SMALL)
        check(server, ann, conversations, 100 * (part + 1))
        again = send(server, ann, conversations[0], 5, "x" * 1000)
        assert again.status_code == 200 and again.json()["duplicate"] and again.json()["seq"] == 6
        assert send(server, ann, conversations[0], 5, "y").status_code == 409
    assert server.stop() == 0


def test_a_log_that_is_older_than_the_database_is_refused(tmp_path):
    server = Server(str(tmp_path), "--server-shards", "1")
    ann = token(server, "ann")
    conversation = create(server, ann, "c", ["bob"])
    assert server.stop() == 0
    log = str(tmp_path / "data" / "shard-0000" / "log")
    shutil.copytree(log, str(tmp_path / "early"))
    server = Server(str(tmp_path))
    fill(server, ann, [conversation], 0, 10)
    assert server.stop() == 0
    shutil.rmtree(log)
    shutil.copytree(str(tmp_path / "early"), log)
    with pytest.raises(AssertionError, match="the end of the log is missing"):
        Server(str(tmp_path))
