"""Live events and catching up, against a server of two reactors: what one core decides reaches sessions on both."""
import asyncio
import json
import signal
import socket
import threading

import pytest
import requests
import websockets

from conftest import Server
from test_chat import create, history, send, token
from test_echo import frame, read_frame, read_head

CORES = ("--server-reactors", "2", "--server-shards", "4", "--server-pin-cores", "false")


@pytest.fixture
def server(tmp_path):
    running = Server(str(tmp_path), *CORES)
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0, open(running.log.name).read()


class Session:
    """A connection whose hello was read."""

    def __init__(self, server, who, query=""):
        self.url = "ws://127.0.0.1:%d/v1/ws%s" % (server.port, query)
        self.who = who

    async def __aenter__(self):
        self.ws = await websockets.connect(self.url, extra_headers=self.who, max_size=None, max_queue=None)
        self.hello = await self.next()
        assert self.hello["type"] == "hello" and self.hello["session"] != "0"
        self.core = int(self.hello["session"]) >> 48
        return self

    async def __aexit__(self, *_):
        await self.ws.close()

    async def next(self, timeout=20):
        return json.loads(await asyncio.wait_for(self.ws.recv(), timeout))

    async def say(self, **command):
        await self.ws.send(json.dumps(command))

    async def send(self, conversation, name, body="b"):
        await self.say(type="send", conversation=conversation, client_msg_id=name, body=body)

    async def nothing(self, seconds=0.3):
        with pytest.raises(asyncio.TimeoutError):
            raise AssertionError(await self.next(seconds))


async def on_both_cores(server, who):
    """Sessions of the user until both reactors have one."""
    sessions = []
    while len({s.core for s in sessions}) < 2:
        assert len(sessions) < 60, "the kernel gave all connections to one core"
        sessions.append(await Session(server, who).__aenter__())
    return sessions


async def close_all(sessions):
    for s in sessions:
        await s.__aexit__()


async def told(sessions, conversation, name):
    for s in sessions:
        m = await s.next()
        assert (m["type"], m["conversation"], m["client_msg_id"]) == ("message", conversation, name), m
    return m


def member(server, who, conversation, user, remove=False):
    path = server.url + "/v1/conversations/%s/members" % conversation
    if remove:
        return requests.delete(path + "/" + user, headers=who, timeout=10, params={"client_id": "rm-" + user})
    return requests.post(path, headers=who, timeout=10, json={"user": user, "client_id": "add-" + user})


def test_every_session_on_every_core_is_told_but_the_asking_one(server):
    ann, bob, eve = token(server, "ann"), token(server, "bob"), token(server, "eve")
    conversations = [create(server, ann, "c%d" % i, ["bob"]) for i in range(8)]  # on all shards

    async def talk():
        anns, bobs = await on_both_cores(server, ann), await on_both_cores(server, bob)
        async with Session(server, eve) as stranger:
            for i, c in enumerate(conversations):
                for j, asking in enumerate([anns[0], bobs[-1]]):
                    await asking.send(c, "m%d" % j, "grüße \u0001\"")
                    assert (await asking.next())["type"] == "ack"
                    m = await told([s for s in anns + bobs if s is not asking], c, "m%d" % j)
                    assert (m["body"], m["seq"], m["content_type"]) == ("grüße \u0001\"", j + 1, "text/plain")
                    assert m["sender"] == ["ann", "bob"][j]
                    assert {k: v for k, v in m.items() if k not in ("type", "conversation")} == \
                        history(server, ann, c)["messages"][-1]
            assert send(server, ann, conversations[0], 7).status_code == 201
            await told(anns + bobs, conversations[0], "m7")
            assert send(server, ann, conversations[0], 7).status_code == 200  # a retry is no news
            for s in anns + bobs + [stranger]:
                await s.nothing(0.05)
        await close_all(anns + bobs)

    asyncio.run(talk())


def test_a_new_conversation_is_told_to_its_members(server):
    ann, bob = token(server, "ann"), token(server, "bob")

    async def talk():
        bobs = await on_both_cores(server, bob)
        for i in range(6):
            c = create(server, ann, "new%d" % i, ["bob"])
            for s in bobs:
                e = await s.next()
                assert (e["type"], e["kind"], e["conversation"], e["actor"]) == ("event", "created", c, "ann")
        await close_all(bobs)

    asyncio.run(talk())


def test_who_wants_no_live_events_gets_none(server):
    ann, bob = token(server, "ann"), token(server, "bob")
    c = create(server, ann, "c", ["bob"])

    async def talk():
        async with Session(server, bob, "?live=false") as quiet, Session(server, bob) as loud:
            send(server, ann, c, 1)
            await told([loud], c, "m1")
            await quiet.send(c, "m2")
            assert (await quiet.next())["type"] == "ack"

    asyncio.run(talk())


def test_resume_then_live_without_gap_or_repeat(server):
    ann, bob = token(server, "ann"), token(server, "bob")
    conversations = [create(server, ann, "c%d" % i, ["bob"]) for i in range(4)]
    stop = threading.Event()
    sent = {c: 0 for c in conversations}

    async def write():
        async with Session(server, ann, "?live=false") as ws:
            n = 0
            while not stop.is_set():
                for c in conversations:
                    await ws.send(c, "w%d" % n, "x" * (n % 300 + 1))
                for c in conversations:
                    ack = await ws.next()
                    assert ack["type"] == "ack", ack
                for c in conversations:
                    sent[c] = n + 1
                n += 1

    async def tail(after):
        async with Session(server, bob) as ws:
            seen = {c: [] for c in conversations}
            resumed = {}
            for c in conversations:
                await ws.say(type="resume", conversation=c, after=after.get(c, "0"))
            target = None
            while target is None or any(len(seen[c]) + skipped[c] < target[c] for c in conversations):
                m = await ws.next()
                if m["type"] == "resumed":
                    resumed[m["conversation"]] = m["last"]
                elif m["type"] == "message" and (m["conversation"] in resumed or "replay" in m):
                    seen[m["conversation"]].append(m)
                if len(resumed) == len(conversations) and target is None:
                    skipped = {c: (seen[c][0]["seq"] - 1 if seen[c] else 0) for c in conversations}
                    target = {c: sent[c] + 60 for c in conversations}
            for c in conversations:
                seqs = [m["seq"] for m in seen[c]]
                assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), c
                assert seqs[0] == 1 or c in after
                assert int(resumed[c]) >= int(after.get(c, 0))
            return {c: seen[c][-1]["id"] for c in conversations}

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()

    async def tails():
        after = {}
        for _ in range(8):
            after = await tail(after)
            await asyncio.gather(tail({}), tail({}))

    try:
        asyncio.run(tails())
    finally:
        stop.set()
        writer.join()
    assert min(sent.values()) > 100


def test_resume_is_refused_with_a_clear_error(server):
    ann, eve = token(server, "ann"), token(server, "eve")
    c = create(server, ann, "c", [])

    async def talk():
        async with Session(server, eve) as ws:
            for command, code in [({"conversation": c}, "not_member"), ({"conversation": "0" * 32}, "not_found"),
                                  ({"conversation": "x"}, "not_found"), ({"conversation": c, "after": "-1"}, "bad_request"),
                                  ({"conversation": c, "as": "ann"}, "forbidden")]:
                await ws.say(type="resume", **command)
                e = await ws.next()
                assert (e["type"], e["error"]["code"]) == ("error", code), e
        service = token(server, "robot", "--scope", "service")
        async with Session(server, service) as ws:
            await ws.say(type="resume", conversation=c, **{"as": "ann"})
            assert await ws.next() == {"type": "resumed", "conversation": c, "last": "0"}
            for n in range(300):
                await ws.say(type="resume", conversation="%032x" % n)
            codes = [(await ws.next())["error"]["code"] for _ in range(300)]
            assert set(codes) <= {"not_found", "overloaded"}

    asyncio.run(talk())


def test_a_slow_reader_is_told_and_catches_up(server):
    ann, bob = token(server, "ann"), token(server, "bob")
    c = create(server, ann, "c", ["bob"])
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    s.connect(("127.0.0.1", server.port))
    s.sendall(("GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: %s\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
               % bob["Authorization"]).encode())
    s.settimeout(20)
    assert b" 101 " in read_head(s)
    assert json.loads(read_frame(s)[1])["type"] == "hello"
    total = 300

    async def write():
        async with Session(server, ann, "?live=false") as ws:
            for n in range(total):  # no more under way than the log takes
                await ws.send(c, "w%d" % n, "y" * 30000)
                if n >= 10:
                    assert (await ws.next())["type"] == "ack"
            for _ in range(10):
                assert (await ws.next())["type"] == "ack"

    asyncio.run(write())
    before = []
    while (m := json.loads(read_frame(s)[1]))["type"] != "lag":
        before.append(m)
    assert 0 < len(before) < total
    assert [m["seq"] for m in before] == list(range(1, len(before) + 1))
    s.sendall(frame(1, json.dumps({"type": "resume", "conversation": c, "after": before[-1]["id"]}).encode()))
    seqs = []
    while (m := json.loads(read_frame(s)[1]))["type"] != "resumed":
        if m.get("replay"):
            seqs.append(m["seq"])
    assert seqs == list(range(len(before) + 1, total + 1))
    assert send(server, ann, c, 0).status_code == 201
    while (m := json.loads(read_frame(s)[1]))["type"] == "lag":
        pass
    assert m["seq"] == total + 1
    s.close()


def test_members_begin_and_cease_to_be_told(server):
    ann, bob = token(server, "ann"), token(server, "bob")
    c = create(server, ann, "c", ["eve"])

    async def talk():
        bobs = await on_both_cores(server, bob)
        send(server, ann, c, 0)
        assert member(server, ann, c, "bob").status_code == 201
        send(server, ann, c, 5)
        for s in bobs:
            e = await s.next()
            assert (e["kind"], e["target"], e["role"]) == ("added", "bob", "member")
        await told(bobs, c, "m5")
        assert member(server, ann, c, "bob", remove=True).status_code == 200
        for s in bobs:
            e = await s.next()
            assert (e["kind"], e["target"], e["actor"]) == ("removed", "bob", "ann")
        send(server, ann, c, 1)
        for s in bobs:
            await s.nothing(0.2)
        await close_all(bobs)

    asyncio.run(talk())


def test_receipts_reach_the_others_and_ones_own_devices(server):
    ann, bob = token(server, "ann"), token(server, "bob")
    c = create(server, ann, "receipts", ["bob"])

    async def talk():
        anns, bobs = await on_both_cores(server, ann), await on_both_cores(server, bob)
        await anns[0].send(c, "m1")
        assert (await anns[0].next())["type"] == "ack"
        for s in anns[1:] + bobs:
            assert (await s.next())["client_msg_id"] == "m1"
        await bobs[0].say(type="receipt", conversation=c, read=1)
        for s in anns + bobs[1:]:
            e = await s.next()
            assert (e["kind"], e["target"], e["read"], e["delivered"]) == ("receipt", "bob", 1, 1)
        await bobs[0].say(type="receipt", conversation=c, read=1)
        await bobs[0].say(type="receipt", conversation=c, read=2)
        e = await bobs[0].next()
        assert (e["type"], e["conversation"], e["error"]["code"]) == ("error", c, "bad_request")
        for s in anns + bobs:
            await s.nothing(0.1)
        await close_all(anns + bobs)

    asyncio.run(talk())


def test_typing_is_told_once_in_a_while_and_never_kept(server):
    ann, bob, eve = token(server, "ann"), token(server, "bob"), token(server, "eve")
    c = create(server, ann, "typing", ["bob"])

    async def talk():
        anns, bobs = await on_both_cores(server, ann), await on_both_cores(server, bob)
        for _ in range(20):
            await anns[0].say(type="typing", conversation=c)
        for s in anns[1:] + bobs:
            assert await s.next() == {"type": "typing", "conversation": c, "user": "ann"}
        await bobs[0].say(type="typing", conversation=c)
        for s in anns + bobs[1:]:
            assert (await s.next())["user"] == "bob"
        assert requests.post(server.url + "/v1/conversations/%s/typing" % c, headers=ann, timeout=10).json() == {}
        for s in anns + bobs:
            await s.nothing(0.1)
        outside = await on_both_cores(server, eve)
        await outside[0].say(type="typing", conversation=c)
        assert (await outside[0].next())["error"]["code"] == "not_member"
        await close_all(anns + bobs + outside)

    asyncio.run(talk())
    assert history(server, ann, c)["messages"] == []


def add_members(server, admin, c, numbers):
    """Eight at a time."""
    def add(some):
        with requests.Session() as kept:
            for n in some:
                added = kept.post(server.url + "/v1/conversations/%s/members" % c, headers=admin, timeout=30,
                                  json={"user": "u%d" % n, "client_id": "add%d" % n})
                assert added.status_code == 201, added.text

    threads = [threading.Thread(target=add, args=(numbers[i::8],)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def large_channel(server, admin, name, members, grow_to):
    """More members than the pages that an event carries, when it has grown to 1,100."""
    answer = requests.post(server.url + "/v1/conversations", headers=admin, timeout=30,
                           json={"type": "channel", "client_id": name, "title": name,
                                 "members": members + ["u%d" % n for n in range(250)]})
    assert answer.status_code == 201, answer.text
    add_members(server, admin, answer.json()["id"], range(250, grow_to))
    return answer.json()["id"]


def test_a_large_channel_is_live_until_its_member_is_removed(server):
    """With a resume and without one; who connects after that hears nothing."""
    ann, bob = token(server, "ann"), token(server, "bob")
    c = large_channel(server, ann, "large", ["bob"], 1100)
    assert send(server, ann, c, 1).status_code == 201

    async def talk():
        bobs = await on_both_cores(server, bob)
        await bobs[0].say(type="resume", conversation=c)
        assert (await bobs[0].next())["client_msg_id"] == "m1"
        assert (await bobs[0].next())["type"] == "resumed"
        for n in (2, 3):
            send(server, ann, c, n)
            await told(bobs, c, "m%d" % n)
        assert member(server, ann, c, "bob", remove=True).status_code in (200, 201)
        for s in bobs:
            e = await s.next()
            assert (e["kind"], e["target"]) == ("removed", "bob")
        send(server, ann, c, 4)
        for s in bobs:
            await s.nothing(0.2)
        await close_all(bobs)
        bobs = await on_both_cores(server, bob)
        send(server, ann, c, 5)
        for s in bobs:
            await s.nothing(0.2)
        await close_all(bobs)

    asyncio.run(talk())


def test_a_channel_that_becomes_large_stays_live(server):
    ann, bob = token(server, "ann"), token(server, "bob")
    c = large_channel(server, ann, "growing", ["bob"], 250)

    async def talk():
        bobs = await on_both_cores(server, bob)
        await asyncio.get_running_loop().run_in_executor(None, add_members, server, ann, c, range(250, 1100))
        send(server, ann, c, 1)
        for s in bobs:
            seen = []
            while "m1" not in seen:
                m = await s.next()
                assert m["type"] in ("event", "message"), m
                seen.append(m.get("client_msg_id") or m["target"])
            assert sorted(seen) == sorted(set(seen)) and len(seen) == 851
        await close_all(bobs)

    asyncio.run(talk())


def test_who_joins_a_large_channel_hears_of_it(server):
    """He is told of his joining, and that something may have been missed until he could be told of the rest."""
    ann, bob = token(server, "ann"), token(server, "bob")
    c = large_channel(server, ann, "joined", [], 1100)

    async def talk():
        bobs = await on_both_cores(server, bob)
        assert member(server, ann, c, "bob").status_code == 201
        for s in bobs:
            assert sorted([(await s.next())["type"] for _ in range(2)]) == ["event", "lag"]
        for n in (1, 2):
            send(server, ann, c, n)
            await told(bobs, c, "m%d" % n)
        await close_all(bobs)

    asyncio.run(talk())


def test_silent_connections_are_pinged_and_then_closed(tmp_path):
    server = Server(str(tmp_path), *CORES, "--http-ws-ping-after", "200ms")
    ann = token(server, "ann")
    s = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    s.sendall(("GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: %s\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
               % ann["Authorization"]).encode())
    read_head(s)
    frames = [read_frame(s) for _ in range(4)]
    assert [f[0] for f in frames[:3]] == [1, 9, 9] and frames[3][0] == 8
    assert json.loads(frames[0][1])["type"] == "hello"
    assert frames[3][1][:2] == b"\x03\xe9" and b"pings" in frames[3][1]
    s.close()
    assert server.stop() == 0


def test_a_stopping_server_says_going_away(server):
    ann, bob = token(server, "ann"), token(server, "bob")
    c = create(server, ann, "c", ["bob"])

    async def talk():
        anns, bobs = await on_both_cores(server, ann), await on_both_cores(server, bob)
        for n in range(200):
            await anns[0].send(c, "last%d" % n)
        await anns[0].next()
        server.process.send_signal(signal.SIGTERM)
        acked = 1
        try:
            while True:
                m = await anns[0].next()
                acked += m["type"] == "ack"
        except websockets.ConnectionClosed:
            pass
        for s in anns + bobs:
            await asyncio.wait_for(s.ws.wait_closed(), 20)
            assert s.ws.close_code == 1001
        return acked

    acked = asyncio.run(talk())
    assert server.stop() == 0
    again = Server(server.data[:-len("/data")], *CORES)
    try:
        have = {m["client_msg_id"] for m in history(again, bob, c, limit=200)["messages"]}
        assert {"last%d" % n for n in range(acked)} <= have
    finally:
        assert again.stop() == 0


def test_a_session_ends_with_its_token(tmp_path):
    """By itself soon after `exp`, and at once when it is used after that; what was sent before is answered first."""
    server = Server(str(tmp_path), "--http-ws-ping-after", "400ms")
    c = create(server, token(server, "ann"), "c", [])

    async def closed(session):
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await session.next()
        assert (session.ws.close_code, session.ws.close_reason) == (4401, "token_expired")

    async def quiet():
        async with Session(server, token(server, "ann", "--seconds", "2")) as s:
            await s.send(c, "early")
            assert (await s.next())["type"] == "ack"
            await closed(s)
    asyncio.run(quiet())
    assert server.stop() == 0
    server = Server(str(tmp_path), "--http-ws-ping-after", "1h")

    async def late():
        async with Session(server, token(server, "ann", "--seconds", "2")) as s:
            for n in range(1000):
                await s.send(c, "late%d" % n)
                told = await s.next()
                if told["type"] != "ack":
                    break
                await asyncio.sleep(0.1)
            assert (told["client_msg_id"], told["error"]["code"]) == ("late%d" % n, "token_expired") and n > 0
            await closed(s)
        return n
    acked = asyncio.run(late())
    assert len(history(server, token(server, "ann"), c, limit=200)["messages"]) == 1 + acked
    assert server.stop() == 0
