"""Sending over a WebSocket: many under way, each acknowledged once, in order."""
import asyncio
import json

import websockets

from conftest import Server
from test_chat import create, history, token


def test_what_is_wrong_with_a_command_is_told(tmp_path):
    """The field is named, and the command by its client's id or its conversation, whatever else is wrong with it."""
    server = Server(str(tmp_path))
    ann = token(server, "ann", "--scope", "service")
    c = create(server, ann, "told", [])
    good = {"type": "send", "conversation": c, "client_msg_id": "1", "body": "b"}
    cases = [(dict(good, type="shout"), "type"), (dict(good, type=None), "type"), (dict(good, body=""), "body"),
             (dict(good, body=7), "body"), (dict(good, body=None), "body"), (dict(good, created_at="now"), "created_at"),
             (dict(good, created_at=5), "created_at"), (dict(good, conversation=None), "conversation"),
             (dict(good, content_type="t" * 65), "content_type"), (dict(good, **{"as": ""}), "as"),
             (dict(good, body="x" * 65537), "body")]
    nameless = [(dict(good, client_msg_id=1), "client_msg_id"), (dict(good, client_msg_id=""), "client_msg_id"),
                (dict(good, client_msg_id="x" * 65), "client_msg_id"), (dict(good, client_msg_id=None), "client_msg_id"),
                (b"binary", None), ("{", None), ('{"a":"\\u0000"}', None)]

    async def talk():
        async with websockets.connect("ws://127.0.0.1:%d/v1/ws" % server.port, extra_headers=ann) as ws:
            assert json.loads(await ws.recv())["type"] == "hello"
            for command, field in cases + nameless:
                await ws.send(json.dumps(command) if isinstance(command, dict) else command)
                told = json.loads(await ws.recv())
                assert (told["type"], told["error"].get("field")) == ("error", field), (command, told)
                assert field is None or told["error"]["message"].startswith(field + " must be ")
                assert told.get("client_msg_id") == ("1" if (command, field) in cases else None), (command, told)
                assert told["error"]["message"] != "The request is not of the documented form."
            for command, field in (({"type": "resume", "after": 7}, "after"), ({"type": "receipt", "read": 0}, "read"),
                                   ({"type": "receipt"}, "read"), ({"type": "receipt", "delivered": -1}, "delivered")):
                await ws.send(json.dumps({"conversation": c, **command}))
                told = json.loads(await ws.recv())
                assert (told["conversation"], told["error"]["field"]) == (c, field)
    asyncio.run(talk())
    assert server.stop() == 0


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
