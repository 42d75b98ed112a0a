"""Rates of new messages: refused with a time to come again, and never what was accepted before."""
import asyncio
import json
import time

import pytest
import requests
import websockets

from client import User, code
from conftest import Server

RATES = ("--limits-user-sends-per-s", "1", "--limits-user-sends-burst", "3",
         "--limits-group-members-max", "4")


@pytest.fixture
def server(tmp_path):
    running = Server(str(tmp_path), "--server-reactors", "2", "--server-shards", "2", "--server-pin-cores", "false", *RATES)
    yield running
    assert running.stop() == 0, open(running.log.name).read()


def post(user, conversation, name, **params):
    return user.call("POST", "/v1/conversations/%s/messages" % conversation, params=params,
                     json={"client_msg_id": name, "body": name})


def until_refused(user, conversation, names):
    """Names of what was accepted, and the refusal."""
    accepted = []
    for name in names:
        answer = post(user, conversation, name)
        if answer.status_code == 429:
            return accepted, answer
        assert answer.status_code == 201, answer.text
        accepted.append(name)
    raise AssertionError("nothing was refused")


def test_too_many_are_refused_and_retries_are_not(server):
    ann, bob = User(server, "ann"), User(server, "bob")
    c = ann.create(["bob"])
    accepted, refusal = until_refused(ann, c, ["m%d" % i for i in range(1000)])
    assert len(accepted) >= 3
    assert code(refusal) == (429, "rate_limited")
    wait_ms = refusal.json()["error"]["retry_after_ms"]
    assert 1 <= wait_ms <= 1000
    for name in accepted:
        answer = post(ann, c, name)
        assert (answer.status_code, answer.json()["duplicate"]) == (200, True)
    assert post(bob, c, "bob").status_code == 201
    bridge = User(server, "bridge", "--scope", "service")
    for i in range(20):
        assert post(bridge, c, "s%d" % i, **{"as": "ann"}).status_code == 201
    refused = "m%d" % len(accepted)
    while (answer := post(ann, c, refused)).status_code == 429:  # its id was not used up
        time.sleep(answer.json()["error"]["retry_after_ms"] / 1000)
    assert (answer.status_code, answer.json()["duplicate"]) == (201, False)
    bodies = [m["body"] for m in ann.history(c, limit=200).json()["messages"]]
    assert len(bodies) == len(set(bodies)) == len(accepted) + 22


def test_a_websocket_is_told_when_to_come_again(server):
    ann = User(server, "ann")
    c = ann.create([])

    async def talk():
        url = "ws://127.0.0.1:%d/v1/ws?live=false" % server.port
        async with websockets.connect(url, extra_headers=ann.headers) as ws:
            assert json.loads(await ws.recv())["type"] == "hello"
            for i in range(200):
                await ws.send(json.dumps({"type": "send", "conversation": c, "client_msg_id": "w%d" % i, "body": "b"}))
            answers = {}
            for _ in range(200):
                answer = json.loads(await ws.recv())
                answers[answer["client_msg_id"]] = answer
            assert len(answers) == 200
            refused = [a["error"] for a in answers.values() if a["type"] == "error"]
            assert refused and {e["code"] for e in refused} == {"rate_limited"}
            assert all(e["retry_after_ms"] >= 1 for e in refused)
            return [a["client_msg_id"] for a in answers.values() if a["type"] == "ack"]

    acked = asyncio.run(talk())
    assert len(acked) >= 3
    assert [m["client_msg_id"] for m in ann.history(c, limit=200).json()["messages"]] == acked


def test_a_group_has_as_many_members_as_the_operator_allows(server):
    ann = User(server, "ann")
    c = ann.create(["bob", "carl", "dan"])
    assert code(ann.add(c, "eve")) == (422, "limit_reached")
    assert ann.remove(c, "dan").status_code == 200
    assert ann.add(c, "eve").status_code == 201


def test_no_rate_unless_it_is_set(tmp_path):
    running = Server(str(tmp_path))
    ann = User(running, "ann")
    c = ann.create([])
    with requests.Session() as session:
        for i in range(300):
            answer = session.post(running.url + "/v1/conversations/%s/messages" % c, headers=ann.headers, timeout=30,
                                  json={"client_msg_id": str(i), "body": "b"})
            assert answer.status_code == 201
    assert running.stop() == 0
