"""The command line: real commands against a real server, and against one that misbehaves on purpose."""
import gzip
import json
import os
import random
import re
import signal
import struct
import subprocess
import threading

import requests

from client import Tail, User
from conftest import PARLEYD, Server
from fake_server import FakeServer
from proxy import Proxy

PARLEY = os.environ.get("PARLEY", "build/release/parley")
ID = "0123456789abcdef0123456789abcdef"
OVER = {"error": {"code": "token_expired", "message": "Over."}}


def parley(*words, status=0, url=None, input=None, **env):
    env = {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **env}
    if url:
        env["PARLEY_URL"] = url
    done = subprocess.run([PARLEY, *words], capture_output=True, text=True, timeout=300, env=env, input=input)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done


def lines_of(count, conversations, people, seed=1):
    """Chat as a log file has it: blocks of one conversation and interleaved ones, times of minutes, odd characters."""
    rng = random.Random(seed)
    texts = ["hello", "grüße 🙂", 'he said "no" \\ maybe', "tab\there", "two\nlines", "x" * 2000, "@ann: yes", "\u0007"]
    lines, room = [], 0
    for n in range(count):
        if rng.random() < 0.2:
            room = rng.randrange(conversations)
        lines.append({"conversation": "room %d" % room, "time": "2004-11-15T%02d:%02d:00Z" % (n // 60 % 24, n % 60),
                      "sender": "user-%d" % rng.randrange(people), "text": rng.choice(texts) + " %d" % (n // 3)})
    return lines


def write(path, lines):
    data = "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines)
    with open(path, "wb") as f:
        f.write(gzip.compress(data.encode()) if path.endswith(".gz") else data.encode())
    return path


def by_conversation(lines):
    rooms = {}
    for line in lines:
        rooms.setdefault(line["conversation"], []).append((line["time"], line["sender"], line["text"]))
    return rooms


def assert_imported(server, lines, ids):
    """Everything is there once, in the order of the file, by the people who wrote it."""
    out = parley("export", "--data", server.data, "--as", "importer", "--ids", "--quiet", *ids.values(), url=server.url)
    have = by_conversation([json.loads(line) for line in out.stdout.splitlines()])
    want = by_conversation(lines)
    assert set(have) == set(ids.values()) and set(want) == set(ids)
    for name, messages in want.items():
        assert have[ids[name]] == messages, name


def test_usage_is_taught():
    assert "import" in parley("help").stdout
    assert "--sub USER" in parley("token", "--help").stdout
    assert "--sub USER" in parley("help", "token").stdout
    for words in [], ["bogus"], ["send"], ["token"], ["conversation"], ["conversation", "bogus"], ["send", ID, "--bogus"], \
            ["send", "short", "x", "--token", "t"], ["send", ID, "x"], ["send", ID, "x", "--token", "t", "--url", "https://x"], \
            ["export", "--token", "t"], ["import", "--window", "0", "f"], ["history", ID, "--limit", "x"]:
        assert parley(*words, status=2).stderr.strip(), words
    gone = parley("send", ID, "hello", "--token", "t", "--url", "http://127.0.0.1:1", status=1)
    assert "is parleyd running" in gone.stderr
    assert "no secret" in parley("token", "--sub", "ann", "--data", "/nonexistent", status=1).stderr
    assert "no secret in /nowhere" in parley("token", "--sub", "ann", status=1, PARLEY_SERVER_DATA_DIR="/nowhere").stderr
    assert "--sub USER is missing" in parley("token", status=2).stderr


def test_create_send_and_history(tmp_path):
    server = Server(str(tmp_path))
    ann = parley("token", "--data", server.data, "--sub", "ann").stdout.strip()
    run = lambda *words, **more: parley(*words, url=server.url, PARLEY_TOKEN=ann, **more)
    made = run("conversation", "create", "--title", "Tea", "--member", "bob", "--client-id", "tea").stdout.strip()
    assert run("conversation", "create", "--title", "Tea", "--member", "bob", "--client-id", "tea").stdout.split() == \
        [made, "duplicate"]
    first = run("send", made, "hello \x1b[31m", "--client-id", "one").stdout.split()
    assert first[1:] == ["1"]
    assert run("send", made, "hello \x1b[31m", "--client-id", "one").stdout.split() == [first[0], "1", "duplicate"]
    assert "conflict" in run("send", made, "other", "--client-id", "one", status=1).stderr
    assert json.loads(run("send", made, "--json", input="from a pipe\nof two lines\n").stdout)["seq"] == 2
    assert "empty" in run("send", made, "", status=1).stderr
    assert "\\x1b[31m" in run("history", made).stdout
    got = [json.loads(line) for line in run("history", made, "--json").stdout.splitlines()]
    assert [m["body"] for m in got] == ["hello \x1b[31m", "from a pipe\nof two lines"]
    for n in range(3, 452):
        run("send", made, "m%d" % n) if n < 8 else None
    assert [json.loads(x)["seq"] for x in run("history", made, "--json", "--limit", "3").stdout.splitlines()] == [5, 6, 7]
    assert [json.loads(x)["seq"] for x in run("history", made, "--json", "--after", first[0], "--limit", "2").stdout.splitlines()] == [2, 3]
    assert [json.loads(x)["seq"] for x in run("history", made, "--json", "--before", got[1]["id"]).stdout.splitlines()] == [1]
    assert len(run("history", made, "--all", "--json").stdout.splitlines()) == 7
    gone = run("history", ID, status=1).stderr
    assert "not_found" in gone and "conversation list" in gone
    eve = parley("history", made, "--data", server.data, "--as", "eve", url=server.url, status=1)
    assert "not_member" in eve.stderr
    assert "bad_token" in parley("history", made, "--token", "x.y.z", url=server.url, status=1).stderr
    assert server.stop() == 0


def test_importing_twice_changes_nothing(tmp_path):
    server = Server(str(tmp_path))
    lines = lines_of(4000, 12, 90)
    path = write(str(tmp_path / "chat.jsonl.gz"), lines)
    run = lambda *words, **more: json.loads(parley("import", *words, "--data", server.data, "--json", url=server.url, **more).stdout)
    first = run(path)
    ids = first["conversation_ids"]
    assert first["complete"] and (first["messages"], first["duplicates"], first["conversations"]) == (4000, 0, 12)
    assert_imported(server, lines, ids)
    assert server.stop() == 0
    server = Server(str(tmp_path))
    again = run(path, "--window", "7")
    assert (again["messages"], again["duplicates"], again["conversation_ids"]) == (4000, 4000, ids)
    # A file that has grown: with somebody new in a conversation that is there, and a new conversation.
    lines += [{"conversation": "room 0", "time": "2005-01-01T00:00:00Z", "sender": "user-0", "text": "more"},
              {"conversation": "room new", "time": "2005-01-01T00:01:00Z", "sender": "somebody", "text": "first"}]
    grown = run("-", input="".join(json.dumps(line) + "\n" for line in lines))
    assert (grown["messages"], grown["duplicates"]) == (4002, 4000)
    ids = grown["conversation_ids"]
    assert_imported(server, lines, ids)
    # What is exported can be imported, and is the same.
    out = str(tmp_path / "out.jsonl.gz")
    parley("export", "--data", server.data, "--as", "importer", "--gzip", "--output", out, *ids.values(), url=server.url)
    with gzip.open(out, "rt") as f:
        assert sum(1 for _ in f) == 4002
    state = str(tmp_path / "state")
    assert run(path, "--state", state)["skipped"] == 0
    skipped = run(path, "--state", state)
    assert (skipped["messages"], skipped["skipped"]) == (0, 4000)
    assert server.stop() == 0


def test_bad_lines_are_told_and_passed_over(tmp_path):
    server = Server(str(tmp_path))
    lines = lines_of(60, 2, 5)
    odd = list(lines)
    odd.insert(50, "{")
    odd.insert(40, {"conversation": "room 0", "sender": "user-1", "text": "when?", "time": "noon"})
    odd.insert(30, {"conversation": "room 0", "sender": "user-1", "text": "", "time": "2004-11-15T00:00:00Z"})
    odd.insert(20, {"conversation": "room 0", "sender": "", "text": "who?", "time": "2004-11-15T00:00:00Z"})
    odd.insert(10, {"conversation": "room 0", "sender": "user-1", "text": "b" * 70000, "time": "2004-11-15T00:00:00Z"})
    path = write(str(tmp_path / "odd.jsonl"), odd)
    strict = parley("import", path, "--data", server.data, "--strict", url=server.url, status=1)
    assert path + ":22: a sender has" in strict.stderr and "stopped after 0 messages" in strict.stdout
    done = parley("import", path, "--data", server.data, "--json", url=server.url, status=1)
    result = json.loads(done.stdout)
    assert (result["messages"], result["bad_lines"], result["empty"], result["refused"]) == (60, 3, 1, 1)
    assert ":11: the server refused: too_large" in done.stderr and ":44: the time is not" in done.stderr
    assert_imported(server, lines, result["conversation_ids"])
    assert "checked" in parley("import", path, "--dry-run", status=1).stdout
    whole = write(str(tmp_path / "cut.jsonl.gz"), lines)
    with open(whole, "r+b") as f:
        f.truncate(os.path.getsize(whole) - 20)
    assert "ends too early" in parley("import", whole, "--data", server.data, url=server.url, status=1).stderr
    nobody = parley("token", "--data", server.data, "--sub", "ann").stdout.strip()
    refused = parley("import", write(str(tmp_path / "x.jsonl"), lines[:1]), "--token", nobody, url=server.url, status=1)
    assert "--scope service" in refused.stderr
    assert json.loads(parley("conversation", "list", "--token", nobody, "--json", url=server.url).stdout or "[]") == []
    old = parley("token", "--data", server.data, "--sub", "importer", "--scope", "service", "--seconds", "1").stdout.strip()
    while requests.get(server.url + "/v1/conversations", headers={"Authorization": "Bearer " + old}, timeout=30).status_code == 200:
        pass
    late = parley("import", path, "--token", old, url=server.url, status=1)
    assert "token_expired" in late.stderr and "parley token --help" in late.stderr
    assert server.stop() == 0


def test_kill_9_in_the_middle_of_an_import(tmp_path):
    server = Server(str(tmp_path))
    lines = lines_of(12000, 40, 200, seed=7)
    path = write(str(tmp_path / "chat.jsonl"), lines)
    proxy = Proxy(server.port)
    kills = []

    def kill():
        nonlocal server
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        server = Server(str(tmp_path), port=server.port)
        kills.append(1)

    for acks in (1000, 4000, 8000):
        proxy.at(acks, kill)
    run = parley("import", path, "--data", server.data, "--json", "--window", "16", "--state", str(tmp_path / "state"),
                 url=proxy.url)
    proxy.stop()
    result = json.loads(run.stdout)
    assert result["complete"] and result["messages"] == 12000 and result["out_of_order"] == 0, result
    assert len(kills) == 3 and result["reconnects"] >= 3, result
    assert_imported(server, lines, result["conversation_ids"])
    assert json.loads(parley("import", path, "--data", server.data, "--json", url=server.url).stdout)["duplicates"] == 12000
    assert server.stop() == 0


class FakeChat:
    """Takes an import: refuses, forgets to answer, cuts connections; keeps what it accepted, once, as the real one."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.conversations, self.members, self.messages, self.seen, self.refusals = {}, {}, {}, {}, 0
        self.server = FakeServer(self.http, self.ws)

    def http(self, method, path, body):
        dice = self.rng.random()
        if dice < 0.1:
            return 503, {"error": {"code": "overloaded", "message": "Busy.", "retry_after_ms": 5}}
        if dice < 0.15:
            return 0, None
        parts = path.split("?")[0].strip("/").split("/")
        if method == "POST" and len(parts) == 2:
            assert body["type"] == "channel" and len(body["members"]) <= 255
            new = body["client_id"] not in self.conversations
            id = self.conversations.setdefault(body["client_id"], "%032x" % len(self.conversations))
            self.members.setdefault(id, set()).update(body["members"])
            return (201 if new else 200), {"id": id, "duplicate": not new}
        if method == "POST" and parts[3] == "members":
            self.members[parts[2]].add(body["user"])
            return 201, {"id": "1", "duplicate": False}
        return 404, {"error": {"code": "not_found", "message": "No."}}

    async def ws(self, socket):
        while True:
            m = await socket.recv()
            if m is None:
                continue  # a pong
            if self.rng.random() < 0.002:
                socket.cut()
                return
            c, key = m["conversation"], (m["conversation"], m["as"], m["client_msg_id"])
            if m["as"] not in self.members[c]:
                await socket.send({"type": "error", "client_msg_id": m["client_msg_id"],
                                   "error": {"code": "not_member", "message": "Not in."}})
            elif self.rng.random() < 0.02:
                self.refusals += 1
                await socket.send({"type": "error", "client_msg_id": m["client_msg_id"],
                                   "error": {"code": self.rng.choice(["overloaded", "internal"]), "message": "Later.", "retry_after_ms": 3}})
            else:
                duplicate = key in self.seen
                if not duplicate:
                    self.messages.setdefault(c, []).append((m["created_at"].replace(".000", ""), m["as"], m["body"]))
                    self.seen[key] = len(self.seen) + 1
                if self.rng.random() < 0.01:
                    await socket.send(b"are you there?", opcode=9)
                    await socket.send({"type": "message", "conversation": c, "id": "9", "body": "live"})
                await socket.send({"type": "ack", "client_msg_id": m["client_msg_id"], "id": str(self.seen[key]), "seq": 1,
                                   "duplicate": duplicate})


def test_order_survives_refusals_and_lost_connections(tmp_path):
    fake = FakeChat(seed=3)
    lines = lines_of(2500, 6, 900, seed=5)  # more people in a conversation than a creation takes
    path = write(str(tmp_path / "chat.jsonl"), lines)
    done = parley("import", path, "--token", "t", "--json", "--quiet", url=fake.server.url)
    result = json.loads(done.stdout)
    fake.server.stop()
    assert result["complete"] and result["messages"] == 2500 and result["refused"] == 0
    assert fake.refusals > 10 and result["reconnects"] > 0 and result["out_of_order"] == 0
    assert max(map(len, fake.members.values())) > 255
    want = by_conversation(lines)
    assert {name: fake.messages[id] for name, id in result["conversation_ids"].items()} == want


def message(n, **more):
    return {"type": "message", "conversation": ID, "id": str(n * 10), "seq": n, "sender": "ann",
            "time": "2026-01-01T00:00:00.000Z", "content_type": "text/plain", "client_msg_id": str(n), "body": "m%d" % n, **more}


def conversation_of(messages, **more):
    """The HTTP side of a server with one conversation."""
    def http(method, path, body):
        if "/messages" in path:
            return 200, {"messages": messages, "more": False}
        return 200, {"id": ID, "type": "group", "members": 2, "last_seq": len(messages), **more}
    return http


def test_tail_prints_each_message_once_and_in_order():
    connections = []
    resumed = {"type": "resumed", "conversation": ID, "last": "0"}

    async def ws(socket):
        connections.append(1)
        await socket.send({"type": "hello", "session": "1", "user": "bob", "server_time": "2026-01-01T00:00:00.000Z"})
        resume = await socket.recv()
        assert resume == {"type": "resume", "conversation": ID, "after": resume["after"]}
        after = int(resume["after"]) // 10
        if len(connections) == 1:
            assert after == 3
            await socket.send(message(4))  # live, before the server had read the resume
            await socket.send(message(6))
            await socket.send({"type": "message", "conversation": "f" * 32, "id": "9990", "seq": 999, "body": "other"})
            await socket.send({"type": "event", "kind": "removed", "conversation": ID, "target": "eve"})
            for n in (4, 5, 6):
                await socket.send(message(n, replay=True))
            await socket.send(resumed)
            await socket.send(message(7))
            await socket.send({"type": "lag"})
            await socket.send(message(10))
            assert (await socket.recv())["after"] == "70"
            await socket.send(message(8, replay=True))
            await socket.send({"type": "lag"})
            assert (await socket.recv())["after"] == "80"
            for n in (8, 9, 10):  # started over: one mark for both
                await socket.send(message(n, replay=True))
            await socket.send(resumed)
            await socket.send(message(11))
            await socket.send(message(13))  # one is missing, and nobody says so
            assert (await socket.recv())["after"] == "110"
            await socket.send(message(12, replay=True))
            socket.cut()
        elif len(connections) == 2:
            socket.cut()
        else:
            assert after == 12
            for n in (10, 11, 12, 13, 14):  # repeats some
                await socket.send(message(n, replay=True))
            await socket.send(resumed)
            for n in (14, 15, 16):
                await socket.send(message(n))
            await socket.recv()

    fake = FakeServer(conversation_of([message(n) for n in (1, 2, 3)], role="member"), ws)
    done = parley("tail", ID, "--token", "t", "--json", "--count", "16", url=fake.url)
    fake.stop()
    got = [json.loads(line) for line in done.stdout.splitlines()]
    assert [m["seq"] for m in got] == list(range(1, 17)), [m["seq"] for m in got]
    assert not any({"type", "replay", "conversation"} & set(m) for m in got[3:])
    assert "lost" in done.stderr and len(connections) == 3


def test_tail_asks_again_and_again_where_nothing_comes_live(tmp_path):
    server = Server(str(tmp_path))
    ann, robot = User(server, "ann"), User(server, "robot", "--scope", "service")
    c = ann.create(["bob"])
    token = robot.headers["Authorization"].split()[1]
    for words in ["--as", "bob"], []:
        tail = Tail(server, c, "--token", token, "--after", "0", *words)
        for n in range(3):
            assert ann.send(c, "m%d" % n).status_code == 201
            tail.wait_for(n + 1 if words else n + 4)  # each comes before the next is sent
        assert [m["seq"] for m in tail.stop()] == list(range(1, 4 if words else 7))
    assert "not_member" in parley("tail", c, "--token", token, "--as", "eve", url=server.url, status=1).stderr
    assert server.stop() == 0


def test_tail_ends_when_its_user_is_removed(tmp_path):
    server = Server(str(tmp_path))
    ann, bob = User(server, "ann"), User(server, "bob")
    c = ann.create(["bob"])
    tail = Tail(server, c, "--token", bob.headers["Authorization"].split()[1])
    assert ann.send(c, "hello").status_code == 201
    tail.wait_for(1)
    assert ann.remove(c, "bob").status_code == 200
    assert tail.process.wait(timeout=60) == 1
    assert server.stop() == 0


def test_tail_ends_with_ctrl_c_and_with_a_refusal():
    resumed = threading.Event()

    async def quiet(socket):
        await socket.recv()
        resumed.set()
        await socket.send({"type": "resumed", "conversation": ID, "last": "0"})
        await socket.recv()

    async def refuses(socket):
        await socket.recv()
        await socket.send({"type": "error", "error": {"code": "not_member", "message": "Not in."}})
        await socket.recv()

    empty = conversation_of([], role="member")
    fake = FakeServer(empty, quiet)
    run = subprocess.Popen([PARLEY, "tail", ID, "--token", "t", "--url", fake.url])
    assert resumed.wait(60)
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=10) == 0
    fake.stop()
    fake = FakeServer(empty, refuses)
    assert "not_member" in parley("tail", ID, "--token", "t", url=fake.url, status=1).stderr
    fake.stop()


def test_membership_and_lists_as_the_api_has_them():
    asked = []

    def http(method, path, body):
        asked.append((method, path, body))
        rows = [{"id": "%032x" % n, "type": "group", "title": "Tea" if n < 2 else "Room %d" % n, "role": "owner", "members": 3,
                 "last_seq": 1} for n in range(5)]
        if method == "GET" and path.startswith("/v1/conversations?"):
            return 200, {"conversations": rows[3:] if "after=" in path else rows[:3], "more": "after=" not in path}
        if method == "GET" and "/members" in path:
            page = int(path.split("page=")[1].split("&")[0])
            return 200, {"members": [{"user": "u%d" % page, "role": "member", "joined": "1"}], **({"next_page": 1} if page == 0 else {})}
        if method == "GET" and "/messages" in path:
            return 200, {"messages": [{"id": "1", "seq": 1, "sender": "ann", "time": "2026-01-01T00:00:00.123Z", "body": "hi"}],
                         "more": False}
        return 200, rows[2] if method == "GET" else {"id": "1", "duplicate": False}

    fake = FakeServer(http)
    run = lambda *words: parley(*words, "--token", "t", url=fake.url).stdout
    listed = run("conversation", "list").splitlines()
    assert len(listed) == 6 and listed[0].split() == ["id", "type", "role", "members", "last_seq", "title"]
    assert len(run("conversation", "list", "--json").splitlines()) == 5
    assert [line.split()[0] for line in run("conversation", "members", ID).splitlines()] == ["user", "u0", "u1"]
    assert "Room 2" in run("conversation", "show", ID)
    asked.clear()
    run("conversation", "add", ID, "bob", "--role", "admin", "--client-id", "a", "--as", "ann b")
    run("conversation", "remove", ID, "b/b", "--client-id", "r")
    run("conversation", "role", ID, "bob", "owner", "--client-id", "o")
    base = "/v1/conversations/%s/members" % ID
    assert asked == [("POST", base + "?as=ann%20b", {"client_id": "a", "user": "bob", "role": "admin"}),
                     ("DELETE", base + "/b%2Fb?client_id=r", None),
                     ("PUT", base + "/bob", {"client_id": "o", "role": "owner"})]
    exported = [json.loads(line) for line in run("export", "--all", "--quiet").splitlines()]
    # Two have the same title: their ids tell them apart.
    assert [e["conversation"] for e in exported] == ["%032x" % 0, "%032x" % 1, "Room 2", "Room 3", "Room 4"]
    assert exported[0] == {"conversation": "%032x" % 0, "time": "2026-01-01T00:00:00.123Z", "sender": "ann", "text": "hi"}
    fake.stop()


def test_the_field_that_the_server_refuses_is_told(server):
    who = ("--data", server.data, "--as", "ann")
    told = parley("conversation", "create", "--type", "bogus", *who, url=server.url, status=1).stderr
    assert "bad_request: type must be direct, group or channel." in told
    c = parley("conversation", "create", *who, url=server.url).stdout.strip()
    told = parley("send", c, "x", "--client-id", "x" * 65, *who, url=server.url, status=1).stderr
    assert "too_large: client_msg_id must be a text of 1 to 64 bytes" in told


def test_a_token_that_expires_is_told_or_renewed(server):
    connections = []

    async def ws(socket):
        connections.append(socket)
        await socket.send({"type": "hello", "session": "1", "user": "ann"})
        await socket.recv()
        if len(connections) == 1:
            await socket.send(struct.pack(">H", 4401) + b"token_expired", opcode=8)
        elif len(connections) == 2:
            await socket.send({"type": "error", **OVER})
        else:
            await socket.send({"type": "message", "conversation": ID, "id": "1", "seq": 1, "sender": "bob", "body": "hello",
                               "replay": True})
            await socket.recv()
    fake = FakeServer(lambda *_: (200, {"role": "member", "messages": [], "more": False}), ws)
    for n in range(2):
        told = parley("tail", ID, "--token", "t", url=fake.url, status=1).stderr
        assert "the token has expired" in told and "parley token --help" in told and len(connections) == n + 1
    connections.clear()
    done = parley("tail", ID, "--data", server.data, "--as", "ann", "--count", "1", url=fake.url)
    assert "hello" in done.stdout and len(connections) == 3
    fake.stop()


class ExpiringChat(FakeChat):
    """The first connection's token expires after two sends, and is not let in again."""

    def __init__(self):
        FakeChat.__init__(self, seed=1)
        self.upgrades, self.server.upgrade = 0, self.upgrade

    def upgrade(self):
        self.upgrades += 1
        return (401, OVER) if self.upgrades == 2 else None

    async def ws(self, socket):
        if self.upgrades > 1:
            return await FakeChat.ws(self, socket)
        for _ in range(3):
            last = await socket.recv()
        await socket.send({"type": "error", "client_msg_id": last["client_msg_id"], **OVER})


def test_an_import_goes_on_with_another_token_or_tells(server, tmp_path):
    lines = lines_of(100, 5, 5)
    path = write(str(tmp_path / "chat.jsonl"), lines)
    fake = ExpiringChat()
    assert "the token has expired" in parley("import", path, "--token", "t", url=fake.server.url, status=1).stderr
    assert fake.upgrades == 2 and not fake.seen
    fake.server.stop()
    fake = ExpiringChat()
    result = json.loads(parley("import", path, "--data", server.data, "--json", "--quiet", url=fake.server.url).stdout)
    fake.server.stop()
    assert result["complete"] and result["refused"] == 0 and fake.upgrades >= 3
    assert {name: fake.messages[id] for name, id in result["conversation_ids"].items()} == by_conversation(lines)


# The first key of RFC 8032, section 7.1.
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n"
PUBLIC = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"


def test_a_server_that_knows_only_the_public_key(tmp_path):
    private, public = write(str(tmp_path / "private"), [PRIVATE]), write(str(tmp_path / "public"), [PUBLIC])
    server = Server(str(tmp_path), "--auth-key-file", public)
    minted = json.loads(parley("token", "--key-file", private, "--sub", "ann", "--json").stdout)
    assert set(minted) == {"token", "sub", "exp"} and minted["sub"] == "ann"
    assert parley("conversation", "list", "--json", "--token", minted["token"], url=server.url).stdout == ""
    assert not os.path.exists(server.data + "/secret")
    other = write(str(tmp_path / "other"), ["00" * 32])
    forged = parley("token", "--key-file", other, "--sub", "ann").stdout.strip()
    assert "bad_token" in parley("conversation", "list", "--token", forged, url=server.url, status=1).stderr
    assert "private" in parley("token", "--key-file", public, "--sub", "ann", status=1).stderr
    assert "neither" in parley("token", "--key-file", os.path.devnull, "--sub", "ann", status=1).stderr
    assert server.stop() == 0
    wrong = subprocess.run([PARLEYD, "--server-data-dir", str(tmp_path / "data"), "--auth-key-file", os.path.devnull],
                           capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 1 and "/dev/null: this is neither an Ed25519 key" in wrong.stderr


def test_versions():
    for program in "parley", "parleyd":
        done = subprocess.run([{"parley": PARLEY, "parleyd": PARLEYD}[program], "--version"], capture_output=True, text=True)
        assert done.returncode == 0 and re.fullmatch(program + r" \d+\.\d+\.\d+\n", done.stdout)
