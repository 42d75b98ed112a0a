"""What clients know of a server, kept outside of it, and the comparison with what the server says after it was broken.

A stream is one user's messages to one conversation, numbered from 0. Client id and body of a message follow from the stream
and the number, so the ledger keeps only what was answered. Writers send a stream in order and ask again, under
the same client id, until they are answered; so in the history the numbers of a stream rise without a gap.
"""
import asyncio
import collections
import http.client
import json
import os
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
import websockets  # noqa: E402
from client import mint  # noqa: E402

REFUSED_FOR_NOW = {"overloaded", "closing", "disk_full", "internal"}


def number_of(message):
    return int(message["client_msg_id"].rsplit("-", 1)[1])


class Stream:
    def __init__(self, user, conversation, body_max):
        self.user, self.conversation, self.body_max = user, conversation, body_max
        self.acked = {}  # number -> (id, seq)
        self.count = 0  # numbers that were tried
        self.refused = set()  # those that the server refused at some time: they may have been overtaken

    def body(self, n):
        head = "%s %s %d " % (self.user, self.conversation[:8], n)
        chance = zlib.crc32(head.encode())
        size = chance % (self.body_max if chance % 16 == 0 else 200)
        return head + "x" * max(0, size - len(head))

    def command(self, n):
        return {"client_msg_id": "%s-%d" % (self.conversation, n), "body": self.body(n)}


class Ledger:
    """The streams of all users, and what was found wrong. `lock` guards the faults; a stream belongs to one writer."""

    def __init__(self, body_max=8192):
        self.body_max, self.streams, self.lock = body_max, {}, threading.Lock()
        self.faults = collections.Counter()
        self.examples = []

    def stream(self, user, conversation):
        return self.streams.setdefault((user, conversation), Stream(user, conversation, self.body_max))

    def fault(self, kind, example, count=1):
        with self.lock:
            self.faults[kind] += count
            if len(self.examples) < 10:
                self.examples.append("%s: %s" % (kind, example))
                print(self.examples[-1], file=sys.stderr, flush=True)

    def ack(self, stream, n, answer):
        got = (int(answer["id"]), answer["seq"])
        known = stream.acked.setdefault(n, got)
        if known != got:
            self.fault("changed", "%s/%s #%d was %s, a retry says %s" % (stream.user, stream.conversation, n, known, got))

    def acked_count(self):
        return sum(len(s.acked) for s in self.streams.values())

    def check(self, reader):
        """Pages the history of every conversation and compares."""
        for conversation in {c for _, c in self.streams}:
            self.compare(conversation, reader.history(conversation))

    def compare(self, conversation, history):
        found, last, seq_before, id_before = set(), {}, 0, 0
        for message in history:
            where = "%s seq %d" % (conversation, message["seq"])
            if message["seq"] != seq_before + 1:
                self.fault("gaps", "%s follows %d" % (where, seq_before))
            if int(message["id"]) <= id_before:
                self.fault("reordered", "%s: its id does not rise" % where)
            seq_before, id_before = message["seq"], int(message["id"])
            stream = self.streams.get((message["sender"], conversation))
            n = number_of(message)
            if stream is None or n >= stream.count or message["body"] != stream.body(n):
                self.fault("changed", "%s: nobody sent that" % where)
                continue
            if (stream, n) in found:
                self.fault("doubled", "%s: number %d of %s" % (where, n, stream.user))
            found.add((stream, n))
            if n in stream.acked and stream.acked[n] != (id_before, seq_before):
                self.fault("changed", "%s was acknowledged as %s" % (where, stream.acked[n]))
            if n not in stream.refused:
                if n < last.get(stream, -1):
                    self.fault("reordered", "%s: %s's %d after %d" % (where, stream.user, n, last[stream]))
                last[stream] = n
        for (user, of), stream in self.streams.items():
            lost = [n for n in stream.acked if (stream, n) not in found] if of == conversation else []
            if lost:
                self.fault("lost", "%s's %s of %s" % (user, lost[:3], conversation), len(lost))

    def verdict(self):
        kinds = ("lost", "doubled", "reordered", "changed", "gaps")
        return "%d acked: %s" % (self.acked_count(), ", ".join("%s %d" % (k, self.faults[k]) for k in kinds))


class Http:
    """One kept connection; any failure of it is a ConnectionError."""

    def __init__(self, port, token, timeout=30, source=None):
        self.headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout,
                                                     source_address=(source, 0) if source else None)

    def call(self, method, path, body=None):
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as e:
            self.connection.close()
            raise ConnectionError(str(e)) from e

    def create(self, name, members):
        status, answer = self.call("POST", "/v1/conversations",
                                   {"type": "group", "client_id": name, "title": name, "members": members})
        assert status in (200, 201), answer
        return answer["id"]

    def send(self, stream, n):
        return self.call("POST", "/v1/conversations/%s/messages" % stream.conversation, stream.command(n))

    def history(self, conversation):
        after, more = "0", True
        while more:
            status, page = self.call("GET", "/v1/conversations/%s/messages?limit=200&after=%s" % (conversation, after))
            assert status == 200, page
            yield from page["messages"]
            more = page["more"]
            after = page["messages"][-1]["id"] if page["messages"] else after


class Writer(threading.Thread):
    """A user who sends to all conversations whatever happens to the server. It sends new messages while `go` is set; `quiet`
    is set when it is not and all that was sent is answered."""

    def __init__(self, ledger, port, user, token, conversations):
        super().__init__(daemon=True)
        self.ledger, self.port, self.user, self.token = ledger, port, user, token
        self.streams = [ledger.stream(user, c) for c in conversations]
        self.go, self.quiet, self.end = threading.Event(), threading.Event(), False
        self.refusals = collections.Counter()

    def take(self, stream, n, status_ok, answer):
        """Whether number n needs no more asking."""
        if status_ok:
            self.ledger.ack(stream, n, answer)
            return True
        code = answer["error"]["code"]
        self.refusals[code] += 1
        stream.refused.add(n)
        if code in REFUSED_FOR_NOW:
            return False
        self.ledger.fault("changed", "%s/%s #%d is refused: %s" % (self.user, stream.conversation, n, answer))
        return True

    def stop(self):
        self.end = True
        self.go.set()
        self.join(timeout=60)


class HttpWriter(Writer):
    """One message at a time. On each new connection it first asks once more for one that it has an answer to."""

    def run(self):
        client, turn = None, 0
        while not self.end:
            if not self.go.is_set():
                self.quiet.set()
                self.go.wait()
                continue
            self.quiet.clear()
            stream = self.streams[turn % len(self.streams)]
            turn += 1
            n = stream.count
            stream.count += 1
            while not self.end:
                try:
                    if client is None:
                        client = Http(self.port, self.token)
                        for known in list(stream.acked)[-1:]:
                            status, answer = client.send(stream, known)
                            self.take(stream, known, status in (200, 201), answer)
                    status, answer = client.send(stream, n)
                    if self.take(stream, n, status in (200, 201), answer):
                        break
                except ConnectionError:
                    client = None
                time.sleep(0.01)


class WsWriter(Writer):
    """Up to `window` messages under way over one WebSocket. What was not answered when it broke is sent again, in order."""

    def __init__(self, *more, window=32):
        super().__init__(*more)
        self.window, self.open = window, {}  # client id -> (stream, number), in the order of sending

    def run(self):
        asyncio.run(self.talk_for_ever())

    async def talk_for_ever(self):
        url = "ws://127.0.0.1:%d/v1/ws?live=false" % self.port
        while not self.end:
            try:
                async with websockets.connect(url, extra_headers={"Authorization": "Bearer " + self.token},
                                              compression=None, close_timeout=1, open_timeout=10) as ws:
                    await ws.recv()  # hello
                    await self.talk(ws)
            except (OSError, EOFError, asyncio.TimeoutError, websockets.WebSocketException):
                await asyncio.sleep(0.01)

    async def push(self, ws, stream, n):
        command = stream.command(n)
        self.open[command["client_msg_id"]] = stream, n
        await ws.send(json.dumps({"type": "send", "conversation": stream.conversation, **command}))

    async def talk(self, ws):
        turn = 0
        for stream, n in list(self.open.values()):
            if self.refusals:  # the server is short of room: a refusal of this one may have been on its way
                stream.refused.add(n)
            await self.push(ws, stream, n)
        while not self.end:
            while self.go.is_set() and len(self.open) < self.window:
                self.quiet.clear()
                stream = self.streams[turn % len(self.streams)]
                turn += 1
                stream.count += 1
                await self.push(ws, stream, stream.count - 1)
            if self.open:
                await self.take_answer(ws)
            else:
                self.quiet.set()
                await asyncio.sleep(0.01)

    async def take_answer(self, ws):
        answer = json.loads(await ws.recv())
        stream, n = self.open[answer["client_msg_id"]]
        if self.take(stream, n, answer["type"] == "ack", answer):
            del self.open[answer["client_msg_id"]]
        else:
            await asyncio.sleep(0.02)
            await self.push(ws, stream, n)
