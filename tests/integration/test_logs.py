"""Every change of the server's state is a line of its log, and none of them says what a user wrote."""
import os
import re
import signal
import socket
import subprocess

import pytest

from client import until
from conftest import PARLEYD, Server
from test_chat import create, send, token
from test_counters import lines_of
from test_storage import ballast, small_disk, wait_for  # noqa: F401 (a fixture)

ONE = ("--server-shards", "1", "--server-reactors", "1")


def test_a_life_begins_with_what_is_in_use_and_ends_with_the_drain(tmp_path):
    server = Server(str(tmp_path), *ONE)
    ann = token(server, "ann")
    conversation = create(server, ann, "c", ["bob"])
    assert send(server, ann, conversation, 1, "a word that no log repeats").status_code == 201
    assert server.stop() == 0
    log = open(server.log.name).read()
    assert [log.count(" event=%s " % e) for e in
            ("config_in_use", "shard_opened", "server_ready", "drain_began", "drain_ended", "server_stopped")] == [1] * 6
    assert lines_of(server, "config_in_use")[0]["server_shards"] == "1"
    assert lines_of(server, "server_ready")[0]["port"] == str(server.port)
    assert "no log repeats" not in log and not re.search(r"\bann\b", log)


def test_a_torn_tail_that_was_repaired_is_told_with_its_place(tmp_path):
    server = Server(str(tmp_path), *ONE)
    ann = token(server, "ann")
    conversation = create(server, ann, "c", ["bob"])
    assert send(server, ann, conversation, 1).status_code == 201
    server.stop(signal.SIGKILL)
    folder = os.path.join(server.data, "shard-0000", "log")
    name = sorted(f for f in os.listdir(folder) if f.endswith(".seg"))[0]
    with open(os.path.join(folder, name), "r+b") as segment:
        at = 0
        while any(segment.read(4096)):
            at += 4096
        segment.seek(at)
        segment.write(b"torn" * 100)
    server = Server(str(tmp_path), *ONE)
    line, = lines_of(server, "torn_tail_repaired")
    assert (line["level"], line["shard"], line["file"], line["offset"], line["bytes"]) == \
        ("warn", "0", name, str(at), "4096")
    assert server.stop() == 0


def test_a_full_disk_is_told_when_it_begins_and_when_it_ends(small_disk):  # noqa: F811
    server = Server(small_disk, *ONE, "--store-space-guard", "16MiB")
    ann = token(server, "ann")
    conversation = create(server, ann, "c", ["bob"])
    path = ballast(small_disk)
    until(lambda: lines_of(server, "disk_full_began"))
    assert send(server, ann, conversation, 1).status_code == 507
    os.remove(path)
    until(lambda: lines_of(server, "disk_full_ended"))
    assert wait_for(lambda: send(server, ann, conversation, 2).status_code == 201)
    began, = lines_of(server, "disk_full_began")
    ended, = lines_of(server, "disk_full_ended")
    assert int(began["free_bytes"]) < 16 << 20 < int(ended["free_bytes"])
    assert began["level"] == "error" and began["store"].endswith("/shard-0000/store")
    assert server.stop() == 0


def test_refused_connections_are_a_line_and_not_a_storm(tmp_path):
    server = Server(str(tmp_path), *ONE, "--http-connections-per-address-max", "1")
    open_ones = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    until(lambda: lines_of(server, "connections_refused"))
    line, = lines_of(server, "connections_refused")
    assert line["limit"] == "address" and int(line["refused_address"]) >= 1
    for one in open_ones:
        one.close()
    assert server.stop() == 0


@pytest.mark.parametrize("flags, why", [(("--http-address", "127.0.0.99.1"), None), (("--server-shards", "3"), "created with")])
def test_what_ends_a_start_is_a_line_or_a_usage(tmp_path, flags, why):
    if why:
        assert Server(str(tmp_path), *ONE).stop() == 0
    ended = subprocess.run([PARLEYD, "--server-data-dir", str(tmp_path / "data"), "--http-port", "0", *flags],
                           capture_output=True, text=True, timeout=60)
    if why:
        assert ended.returncode == 1 and "event=start_failed why=" in ended.stderr and why in ended.stderr
    else:
        assert ended.returncode == 2 and not os.path.exists(tmp_path / "data")
