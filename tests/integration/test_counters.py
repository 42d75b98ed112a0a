"""What bench and operators read: counters over HTTP and in the log, and the fixed bodies."""
import os
import re
import signal
import subprocess

import pytest
import requests

from client import until
from conftest import Server

PARLEY = os.environ.get("PARLEY", "build/release/parley")


def lines_of(server, event):
    with open(server.log.name) as log:
        return [dict(f.split("=", 1) for f in line.split()) for line in log if " event=%s " % event in line]


@pytest.mark.parametrize("length", [1, 59, 18000, 1 << 20])
def test_a_fixed_body_has_the_length_that_was_asked_for(server, length):
    answers = [requests.get("%s/test/static/%d" % (server.url, length), timeout=10) for _ in range(2)]
    assert [len(a.content) for a in answers] == [length, length]
    assert answers[0].content == answers[1].content
    assert answers[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize("length", ["0", "-1", "1x", "1048577", "99999999999999999999999"])
def test_other_lengths_are_refused(server, length):
    assert requests.get(server.url + "/test/static/" + length, timeout=10).status_code == 400


def test_counters_say_what_was_appended_and_written(server):
    token = subprocess.run([PARLEY, "token", "--data", server.data, "--sub", "ann"],
                           capture_output=True, check=True, text=True).stdout.strip()
    before = requests.get(server.url + "/test/counters", timeout=10).json()
    made = requests.post(server.url + "/v1/conversations", headers={"Authorization": "Bearer " + token},
                         json={"type": "group", "client_id": "counted", "members": ["bob"]}, timeout=10)
    assert made.status_code == 201

    def now():
        return requests.get(server.url + "/test/counters", timeout=10).json()
    until(lambda: now()["log_event_bytes"] > before["log_event_bytes"] and now()["dirty_bytes"] == 0)
    after = now()
    assert after["shards"] >= 1
    assert after["applied"] > before["applied"]
    assert after["log_block_bytes"] >= after["log_event_bytes"] + after["log_padding_bytes"] + 64 * after["log_blocks"]
    assert after["reactors"] >= 1 and after["listener_accepted"] > 0 and after["reactor_turns"] > 0
    assert after["listener_refused_cap"] == after["mailbox_live_refused"] == 0
    assert after["log_zeroed_bytes"] > 0 and after["store_batch_bytes"] > before["store_batch_bytes"]


def test_counters_are_logged_when_asked_for_and_at_the_end(tmp_path):
    server = Server(str(tmp_path), "--server-shards", "2", "--server-reactors", "2")
    assert requests.get(server.url + "/test/counters", timeout=10).status_code == 404
    assert requests.get(server.url + "/test/static/1", timeout=10).status_code == 404
    assert sorted((f["shard"], f["events_replayed"]) for f in lines_of(server, "shard_opened")) == [("0", "0"), ("1", "0")]
    server.process.send_signal(signal.SIGUSR1)
    until(lambda: len(lines_of(server, "shard_counters")) == 2)
    assert server.stop() == 0
    lines = lines_of(server, "shard_counters")
    assert [f["shard"] for f in lines] == ["0", "1", "0", "1"]
    assert all(re.fullmatch(r"\d+", f["log_event_bytes"]) for f in lines)
    assert int(lines_of(server, "server_stopped")[0]["device_write_bytes"]) > 0
