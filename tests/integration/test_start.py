"""How a server begins: all shards or none, in parallel, and nobody is served before; what is missing is refused by name."""
import os
import shutil
import signal
import socket
import threading
import time

import pytest
import requests

from conftest import Server
from test_chat import create, history, send, token
from test_storage import SMALL, wait_for

TWO = ("--server-shards", "2", "--server-reactors", "2")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def refused(tmp_path, what):
    with pytest.raises(AssertionError, match=what):
        Server(str(tmp_path))


def conversations_on_both_shards(server, who):
    """Sixteen conversations, a message each: one shard alone has them all once in 32,768 data folders."""
    made = [create(server, who, "c%d" % n, ["bob"]) for n in range(16)]
    for c in made:
        assert send(server, who, c, 1).status_code == 201
    return made


@pytest.mark.parametrize("slow", [0, 1])
def test_nobody_is_served_while_a_shard_is_still_opening(tmp_path, slow):
    """The slow shard's database waits for a file that is a pipe until somebody writes into it."""
    server = Server(str(tmp_path), *TWO)
    ann = token(server, "ann")
    made = conversations_on_both_shards(server, ann)
    assert server.stop() == 0
    current = os.path.join(server.data, "shard-%04d" % slow, "store", "CURRENT")
    os.rename(current, current + ".kept")
    os.mkfifo(current)
    log = open(server.log.name, "rb")
    log.seek(0, os.SEEK_END)
    port, started = free_port(), []
    starting = threading.Thread(target=lambda: started.append(Server(str(tmp_path), *TWO, port=port)))
    starting.start()
    seen = b""

    def other_is_open():
        nonlocal seen
        seen += log.read()
        return b"event=shard_opened shard=%d " % (1 - slow) in seen

    assert wait_for(other_is_open)
    time.sleep(0.3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with open(current, "wb") as pipe:
        os.rename(current + ".kept", current)
        pipe.write(open(current, "rb").read())
    starting.join()
    assert requests.get(started[0].url + "/ready", timeout=10).status_code == 200
    for c in made:
        assert len(history(started[0], ann, c)["messages"]) == 1
    assert started[0].stop() == 0


@pytest.mark.parametrize("part", ["", "/log", "/log/*"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_shard_or_its_log_that_is_gone_is_refused_by_name(tmp_path, number, part):
    server = Server(str(tmp_path), *TWO)
    conversations_on_both_shards(server, token(server, "ann"))
    server.stop(signal.SIGKILL)
    gone = os.path.join(server.data, "shard-%04d" % number) + part.rstrip("/*")
    shutil.rmtree(gone)
    if part.endswith("*"):
        os.mkdir(gone)
    refused(tmp_path, "shard.000%d%s" % (number, part.rstrip("/*")))
    assert not part or os.listdir(os.path.dirname(gone)) != []
    assert os.path.exists(gone) == part.endswith("*")  # and is not made anew


def test_a_store_that_is_gone_comes_back_out_of_a_whole_log(tmp_path):
    server = Server(str(tmp_path), *TWO)
    ann = token(server, "ann")
    made = conversations_on_both_shards(server, ann)
    assert server.stop() == 0
    shutil.rmtree(os.path.join(server.data, "shard-0001", "store"))
    server = Server(str(tmp_path))
    assert [len(history(server, ann, c)["messages"]) for c in made] == [1] * len(made)
    listed = requests.get(server.url + "/v1/conversations?limit=100", headers=ann, timeout=10).json()["conversations"]
    assert sorted(c["id"] for c in listed) == sorted(made)
    assert server.stop() == 0


def test_a_store_that_is_gone_is_refused_when_a_log_was_trimmed(tmp_path):
    """Its own log cannot bring it back, nor can the other's, out of which it has derived."""
    server = Server(str(tmp_path), *TWO, *SMALL, "--message-body-max", "512KiB",
                    "--commit-log-size-max", "256MiB")
    ann = token(server, "ann")
    conversation = create(server, ann, "c", ["bob"])
    shards = [os.path.join(server.data, "shard-%04d" % n) for n in range(2)]

    def trimmed():
        return [n for n in range(2) if not any(f.startswith("0" * 15 + "1-") for f in os.listdir(shards[n] + "/log"))]

    sent = 0
    while not trimmed():
        status = send(server, ann, conversation, sent, "x" * (500 << 10)).status_code
        assert sent < 1500 and status in (201, 503)  # for want of room, for a moment
        sent += status == 201
    owner = trimmed()[0]
    server.stop(signal.SIGKILL)
    for n, what in ((owner, "store is missing"), (1 - owner, "shard %d needs the log of shard %d" % (1 - owner, owner))):
        os.rename(shards[n] + "/store", shards[n] + "/kept")
        refused(tmp_path, what)
        shutil.rmtree(shards[n] + "/store")
        os.rename(shards[n] + "/kept", shards[n] + "/store")
    server = Server(str(tmp_path))
    assert history(server, ann, conversation, limit=1)["messages"][0]["seq"] == sent
    assert server.stop() == 0


def test_a_folder_that_was_never_whole_is_completed(tmp_path):
    """A kill in the very first start may leave some shards: nothing was acknowledged, so they are simply made."""
    data = tmp_path / "data"
    blocked = data / "shard-0001"
    data.mkdir()
    blocked.write_text("in the way")
    refused(tmp_path, "shard 1")
    blocked.unlink()
    shutil.rmtree(data / "shard-0000")
    server = Server(str(tmp_path))
    conversations_on_both_shards(server, token(server, "ann"))
    assert server.stop() == 0


def test_a_log_that_others_have_derived_beyond_is_refused_before_the_doors_open(tmp_path):
    """Shard 0 is put back, log and store, as it was before a conversation that shard 1 has rows of."""
    server = Server(str(tmp_path), *TWO)
    ann = token(server, "ann")
    assert server.stop() == 0
    old = os.path.join(server.data, "shard-0000")
    shutil.copytree(old, str(tmp_path / "early"))
    server = Server(str(tmp_path))
    for n in range(16):
        create(server, ann, "c%d" % n, ["user%d" % m for m in range(16)])  # some of them are on shard 1
    assert server.stop() == 0
    shutil.rmtree(old)
    shutil.copytree(str(tmp_path / "early"), old)
    refused(tmp_path, "shard 1 has derived the log of shard 0")
    assert "is ready" not in open(server.log.name).read()[-500:]
