"""Sending over a WebSocket: many under way, each acknowledged once, in order."""
import asyncio
import json

import websockets

from conftest import Server
from test_chat import create, history, token


def test_pipelined_sends_keep_their_order(tmp_path):
    server = Server(str(tmp_path))
    ann = token(server, "ann")
    c = create(server, ann, "pipelined", ["bob"])
    url = "ws://127.0.0.1:%d/v1/ws" % server.port

    async def talk():
        async with websockets.connect(url, extra_headers=ann) as ws:
            assert json.loads(await ws.recv())["type"] == "hello"
            for n in range(500):
                await ws.send(json.dumps({"type": "send", "conversation": c, "client_msg_id": "m%d" % n, "body": "b%d" % n}))
            acks = [json.loads(await ws.recv()) for _ in range(500)]
            assert [(a["type"], a["client_msg_id"], a["seq"]) for a in acks] == \
                [("ack", "m%d" % n, n + 1) for n in range(500)]
            await ws.send(json.dumps({"type": "send", "conversation": c, "client_msg_id": "m7", "body": "b7"}))
            again = json.loads(await ws.recv())
            assert again["duplicate"] and again["id"] == acks[7]["id"]
            for bad, code in [("{", "bad_json"), ("[]", "bad_request"), ('{"type":"x"}', "bad_request"),
                              ({"type": "send", "conversation": c, "client_msg_id": "m7", "body": "other"}, "conflict"),
                              ({"type": "send", "conversation": "0" * 32, "client_msg_id": "z", "body": "b"}, "not_found"),
                              ({"type": "send", "conversation": c, "client_msg_id": "z", "body": "b", "as": "bob"},
                               "forbidden")]:
                await ws.send(bad if isinstance(bad, str) else json.dumps(bad))
                assert json.loads(await ws.recv())["error"]["code"] == code
        service = token(server, "importer", "--scope", "service")["Authorization"].split()[1]
        async with websockets.connect(url + "?live=false&access_token=" + service) as ws:
            assert json.loads(await ws.recv())["type"] == "hello"
            await ws.send(json.dumps({"type": "send", "conversation": c, "client_msg_id": "z", "body": "as bob",
                                      "as": "bob", "created_at": "2004-11-15T12:18:00Z"}))
            assert json.loads(await ws.recv())["seq"] == 501
        try:
            async with websockets.connect(url):
                raise AssertionError("no token, and connected")
        except websockets.InvalidStatusCode as e:
            assert e.status_code == 401

    asyncio.run(talk())
    last = history(server, ann, c, limit=1)["messages"][0]
    assert (last["sender"], last["body"], last["created_at"]) == ("bob", "as bob", "2004-11-15T12:18:00.000Z")
    assert server.stop() == 0
