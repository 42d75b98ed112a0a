"""`parley verify` on real servers: killed ones are clean, damage is named, a repair lets the rest be served."""
import glob
import itertools
import json
import os
import shutil
import signal
import subprocess

import pytest

from client import PARLEY, User
from conftest import Server

SMALL = ("--server-shards", "2", "--store-dirty-max", "1MiB", "--store-write-buffer-max", "1MiB")


def verify(*words):
    """Exit status, the findings' names, and the last line of --json."""
    ran = subprocess.run([PARLEY, "verify", "--json", *words], capture_output=True, text=True, timeout=120,
                         stdin=subprocess.DEVNULL)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 2 or lines, ran.stderr
    return ran.returncode, [line["finding"] for line in lines if "finding" in line], lines[-1:] or ran.stderr


def check_clean(folder):
    status, found, last = verify(folder, "--deep")
    assert (status, found) == (0, []), found
    return last[0]


def fill(user, conversations, count):
    for _ in range(count):
        for c in conversations:
            assert user.send(c, "x" * 2000).status_code == 201


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The folder of a server that was killed, with rows in tables and events in the logs alone; its conversations."""
    folder = str(tmp_path_factory.mktemp("verify"))
    server = Server(folder, *SMALL)
    ann = User(server, "ann")
    conversations = [ann.create(["bob", "cid", "u%d" % i]) for i in range(6)]
    fill(ann, conversations, 40)
    assert server.stop() == 0
    check_clean(server.data)
    server = Server(folder, *SMALL)
    ann.url = server.url
    fill(ann, conversations, 20)
    assert ann.remove(conversations[0], "bob").status_code == 200
    assert ann.add(conversations[1], "zoe").status_code in (200, 201)
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    return folder, conversations


@pytest.fixture
def folder(filled, tmp_path):
    """A copy that the test may damage."""
    shutil.copytree(os.path.join(filled[0], "data"), str(tmp_path / "data"))
    return str(tmp_path / "data")


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def largest(folder, pattern):
    return max(glob.glob(os.path.join(folder, pattern)), key=os.path.getsize)


def test_a_killed_server_is_clean(folder, filled):
    last = check_clean(folder)
    assert sum(shard["messages"] for shard in last["shards"]) == 6 * 60
    assert sum(shard["conversations"] for shard in last["shards"]) == 6
    assert sum(shard["members"] for shard in last["shards"]) == 6 * 4


def test_a_damaged_segment_is_named_and_the_rest_is_served_after_a_repair(folder, filled, tmp_path):
    for path in glob.glob(os.path.join(folder, "shard-*", "log", "*.seg")):
        flip(path, 20 * 4096 + 80)
    with pytest.raises(AssertionError, match="parley verify"):
        Server(str(tmp_path), *SMALL)
    status, found, _ = verify(folder)
    assert status == 1 and found.count("log_damaged") == 2
    status, _, error = verify(folder, "--repair")  # asks, and nobody says yes
    assert status == 2 and "yes" in error
    status, found, last = verify(folder, "--repair", "--yes")
    assert status == 0 and last[0]["damage"] == 0
    check_clean(folder)
    server = Server(str(tmp_path), *SMALL)
    ann = User(server, "ann")
    for c in filled[1]:
        messages = ann.history(c, limit=200).json()["messages"]
        assert [m["seq"] for m in messages] == list(range(1, len(messages) + 1)) and len(messages) >= 40
        ann.numbers = itertools.count(len(messages) + 1000)
        assert ann.send(c, "goes on").status_code == 201
    assert server.stop() == 0
    check_clean(folder)


def test_a_damaged_table_is_named(folder):
    flip(largest(folder, "shard-*/store/*.sst"), 2000)
    status, found, _ = verify(folder, "--deep")
    assert status == 1 and {"store_read", "store_open"} & set(found)


def test_a_list_row_that_was_lost_comes_back(folder, filled, tmp_path):
    """The rows of a shard's lists go with an older store; verify makes them again from the pages."""
    server = Server(str(tmp_path), *SMALL)
    ann = User(server, "ann")
    before = {c["id"] for c in ann.get("/v1/conversations", limit=200).json()["conversations"]}
    assert before == set(filled[1])
    assert server.stop() == 0
    shutil.rmtree(os.path.join(folder, "shard-0000", "store"))
    status, found, _ = verify(folder)
    assert status == 1 and "store_missing" in found
    assert verify(folder, "--repair", "--yes")[0] == 0
    check_clean(folder)
    server = Server(str(tmp_path), *SMALL)
    ann.url = server.url
    assert {c["id"] for c in ann.get("/v1/conversations", limit=200).json()["conversations"]} == before
    assert server.stop() == 0


def test_a_server_that_runs_is_checked_through_its_api(tmp_path):
    server = Server(str(tmp_path), *SMALL)
    ann = User(server, "ann")
    conversations = [ann.create(["bob", "cid"]) for _ in range(3)]
    fill(ann, conversations, 30)
    status, _, error = verify(server.data)
    assert status == 2 and "--url" in error
    online = ("--url", server.url, "--data", server.data)
    status, found, last = verify(*online, "--user", "ann")
    assert (status, found) == (0, []) and last[0]["conversations"] == 3
    assert last[0]["looked_up"] == 3 * (2 * 30 + 3)
    status, found, last = verify(*online, "--conversation", conversations[0], "--sample", "5")
    assert (status, found) == (0, []) and last[0]["looked_up"] == 2 * 5 + 3
    assert verify(*online, "--conversation", "0" * 32)[0] == 2
    assert verify(*online)[0] == 2
    assert server.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_nobody_used_is_clean(tmp_path, how):
    server = Server(str(tmp_path), *SMALL)
    server.stop(how)
    check_clean(server.data)


def test_what_is_no_data_folder_is_refused(tmp_path):
    assert verify(str(tmp_path))[0] == 2
