"""What clients know of a server, kept outside of it, and the comparison with what the server says after it was broken.

A stream is one user's messages to one conversation, numbered from 0. Client id and body of a message follow from the stream
and the number, so the ledger keeps only what was answered. Writers send a stream in order and ask again, under
the same client id, until they are answered; so in the history the numbers of a stream rise, without a gap but for those that were
fenced: they never come. A receipt that was acknowledged never goes back.
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


KINDS = ("lost", "doubled", "reordered", "changed", "gaps", "fenced", "receipts")


def counts_of(faults):
    return ", ".join("%s %d" % (kind, faults.get(kind, 0)) for kind in KINDS)


def number_of(message):
    return int(message["client_msg_id"].rsplit("-", 1)[1])


class Stream:
    def __init__(self, user, conversation, body_max):
        self.user, self.conversation, self.body_max = user, conversation, body_max
        self.acked = {}  # number -> (id, seq)
        self.fenced = {}  # number -> the fence's id, None while only a send was told of it
        self.count = 0  # numbers that were tried
        self.refused = set()  # those that the server refused at some time: they may have been overtaken

    def body(self, n):
        head = "%s %s %d " % (self.user, self.conversation[:8], n)
        chance = zlib.crc32(head.encode())
        size = chance % (self.body_max if chance % 16 == 0 else 200)
        return head + "x" * max(0, size - len(head))

    def command(self, n):
        return {"client_msg_id": "%s-%d" % (self.conversation, n), "body": self.body(n)}


class Receipt:
    """How far one user has read one conversation: what was asked for, and what was acknowledged or seen since."""

    def __init__(self):
        self.asked, self.least = 0, 0


class Ledger:
    """The streams of all users, and what was found wrong. `lock` guards the faults; a stream and a receipt belong to one
    writer. A server that is not `roomy` refuses now and then for want of room."""

    def __init__(self, body_max=8192, roomy=True):
        self.body_max, self.roomy, self.streams, self.receipts, self.lock = body_max, roomy, {}, {}, threading.Lock()
        self.newest = collections.Counter()  # of each conversation, the highest seq that was acknowledged
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
        if n in stream.fenced:
            self.fault("fenced", "%s/%s #%d is acknowledged" % (stream.user, stream.conversation, n))
        self.newest[stream.conversation] = max(self.newest[stream.conversation], got[1])
        if known != got:
            self.fault("changed", "%s/%s #%d was %s, a retry says %s" % (stream.user, stream.conversation, n, known, got))

    def fence(self, stream, n, event=None):
        """Number n will never be stored, by the fence with that id or by a send's answer."""
        known = stream.fenced.get(n) or event
        if n in stream.acked or event not in (None, known):
            self.fault("fenced", "%s/%s #%d: %s, then fence %s" % (stream.user, stream.conversation, n,
                                                                   stream.acked.get(n, known), event))
        stream.fenced[n] = known

    def receipt(self, user, conversation):
        return self.receipts.setdefault((user, conversation), Receipt())

    def acked_count(self):
        return sum(len(s.acked) for s in self.streams.values())

    def check(self, reader, client_of):
        """Pages the history of every conversation and compares; asks each user for his receipts."""
        for conversation in {c for _, c in self.streams}:
            self.compare(conversation, reader.history(conversation))
        for user, conversation in list(self.receipts):
            self.compare_receipt(user, conversation, client_of(user).conversation(conversation)["read"])

    def compare_receipt(self, user, conversation, read):
        receipt = self.receipt(user, conversation)
        if not receipt.least <= read <= receipt.asked:
            self.fault("receipts", "%s has read %d of %s, and it was %d, asked for %d" % (user, read, conversation,
                                                                                       receipt.least, receipt.asked))
        receipt.least = max(receipt.least, read)

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
            if n in stream.fenced:
                self.fault("fenced", "%s: number %d of %s is there" % (where, n, stream.user))
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
        return "%d acked: %s" % (self.acked_count(), counts_of(self.faults))


class Http:
    """One kept connection; any failure of it is a ConnectionError."""

    def __init__(self, port, token, timeout=30, source=None):
        self.headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout,
                                                     source_address=(source, 0) if source else None)

    def broken(self, e):
        self.connection.close()
        return ConnectionError(str(e))

    def ask(self, method, path, body=None):
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        except (OSError, http.client.HTTPException) as e:
            raise self.broken(e) from e

    def answer(self):
        try:
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise self.broken(e) from e

    def call(self, method, path, body=None):
        self.ask(method, path, body)
        return self.answer()

    def create(self, name, members):
        status, answer = self.call("POST", "/v1/conversations",
                                   {"type": "group", "client_id": name, "title": name, "members": members})
        assert status in (200, 201), answer
        return answer["id"]

    def ask_send(self, stream, n):
        self.ask("POST", "/v1/conversations/%s/messages" % stream.conversation, stream.command(n))

    def send(self, stream, n):
        self.ask_send(stream, n)
        return self.answer()

    def conversation(self, conversation):
        status, answer = self.call("GET", "/v1/conversations/" + conversation)
        assert status == 200, answer
        return answer

    def history(self, conversation):
        after, more = "0", True
        while more:
            status, page = self.call("GET", "/v1/conversations/%s/messages?limit=200&after=%s" % (conversation, after))
            assert status == 200, page
            yield from page["messages"]
            more = page["more"]
            after = page["messages"][-1]["id"] if page["messages"] else after


class Writer(threading.Thread):
    """A user who writes to all conversations whatever happens to the server. He begins something new while `go` is set; `quiet`
    is set when it is not and all that he asked is answered. `done` counts that."""

    def __init__(self, ledger, port, user, token, conversations):
        super().__init__(daemon=True)
        self.ledger, self.port, self.user, self.token = ledger, port, user, token
        self.conversations, self.turn, self.done = conversations, 0, 0
        self.go, self.quiet, self.end = threading.Event(), threading.Event(), False
        self.refusals = collections.Counter()

    def next_stream(self):
        self.turn += 1
        return self.ledger.stream(self.user, self.conversations[self.turn % len(self.conversations)])

    def next_number(self):
        stream = self.next_stream()
        stream.count += 1
        return stream, stream.count - 1

    def is_for_now(self, what, answer):
        """Whether a refusal says to come again; any other is a fault."""
        code = answer["error"]["code"]
        self.refusals[code] += 1
        if code not in REFUSED_FOR_NOW:
            self.ledger.fault("changed", "%s: %s is refused: %s" % (self.user, what, answer))
        return code in REFUSED_FOR_NOW

    def take(self, stream, n, status_ok, answer):
        """Whether number n needs no more asking."""
        if status_ok:
            self.ledger.ack(stream, n, answer)
            return True
        stream.refused.add(n)
        return not self.is_for_now("%s #%d" % (stream.conversation, n), answer)

    def stop(self):
        self.end = True
        self.go.set()
        self.join(timeout=60)


class HttpUser(Writer):
    """One thing at a time: `next` says what, or None; `settle` asks, and says whether it needs no more asking; `greet` comes
    first on each new connection."""

    def run(self):
        client = None
        while not self.end:
            if not self.go.is_set():
                self.quiet.set()
                self.go.wait()
                continue
            self.quiet.clear()
            what = self.next()
            while what and not self.end:
                try:
                    if client is None:
                        client = Http(self.port, self.token)
                        self.greet(client)
                    if self.settle(client, *what):
                        self.done += 1
                        break
                except ConnectionError:
                    client = None
                time.sleep(0.01)


class HttpWriter(HttpUser):
    """Sends. On each new connection it first asks once more for one that it has an answer to."""

    def next(self):
        return self.next_number()

    def greet(self, client):
        stream = self.next_stream()
        for known in list(stream.acked)[-1:]:
            self.settle_send(stream, known, client.send(stream, known))

    def settle(self, client, stream, n):
        return self.settle_send(stream, n, client.send(stream, n))

    def settle_send(self, stream, n, got):
        status, answer = got
        return self.take(stream, n, status in (200, 201), answer)


class Fencer(HttpWriter):
    """Sends some, fences some, and some both at once, over two connections: whoever wins, both answers agree, for ever."""

    def __init__(self, *more):
        super().__init__(*more)
        self.racer = Http(self.port, self.token)

    def greet(self, client):
        super().greet(client)
        stream = self.next_stream()
        for known in list(stream.fenced)[-1:]:
            self.settle_send(stream, known, client.send(stream, known))
            self.settle_fence(client, stream, known)

    def settle(self, client, stream, n):
        if n % 3 == 0:
            return super().settle(client, stream, n)
        if n % 3 == 1:
            return self.settle_fence(client, stream, n)
        try:
            self.racer.ask_send(stream, n)
            settled = self.settle_fence(client, stream, n)
            self.settle_send(stream, n, self.racer.answer())
            return settled
        except ConnectionError:
            self.racer.connection.close()
            raise

    def settle_send(self, stream, n, got):
        if got[0] != 410:
            return super().settle_send(stream, n, got)
        self.ledger.fence(stream, n)
        return True

    def settle_fence(self, client, stream, n):
        status, answer = client.call("POST", "/v1/conversations/%s/fences" % stream.conversation,
                                     {"client_msg_id": stream.command(n)["client_msg_id"]})
        if status != 200:
            return not self.is_for_now("the fence of #%d" % n, answer)
        if answer["state"] == "committed":
            self.ledger.ack(stream, n, answer)
        else:
            self.ledger.fence(stream, n, answer["id"])
        return True


class Receiver(HttpUser):
    """Says again and again how far he has read."""

    def next(self):
        self.turn += 1
        conversation = self.conversations[self.turn % len(self.conversations)]
        newest = self.ledger.newest[conversation]
        receipt = self.ledger.receipt(self.user, conversation)
        if newest == receipt.asked:
            time.sleep(0.001)
            return None
        receipt.asked = newest
        return conversation, receipt

    def greet(self, client):
        pass

    def settle(self, client, conversation, receipt):
        status, answer = client.call("PUT", "/v1/conversations/%s/receipt" % conversation, {"read": receipt.asked})
        if status not in (200, 201):
            return not self.is_for_now("to have read %d" % receipt.asked, answer)
        receipt.least = receipt.asked
        return True


class WsWriter(Writer):
    """Up to `window` messages under way over one WebSocket, and receipts between them, which have no answer. What was not
    answered when it broke is sent again, in order.

    A refusal may be lost with its connection, and then what was behind that message has overtaken it. So of what was under way then
    the order is judged where there is room and nothing was ever refused."""

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

    async def push_receipt(self, ws, conversation):
        receipt = self.ledger.receipt(self.user, conversation)
        receipt.asked = max(receipt.asked, self.ledger.newest[conversation])
        await ws.send(json.dumps({"type": "receipt", "conversation": conversation, "read": receipt.asked}))

    async def talk(self, ws):
        for stream, n in list(self.open.values()):
            if not self.ledger.roomy or self.refusals:
                stream.refused.add(n)
            await self.push(ws, stream, n)
        while not self.end:
            while self.go.is_set() and len(self.open) < self.window:
                self.quiet.clear()
                await self.push(ws, *self.next_number())
            if self.open:
                await self.take_answer(ws)
            else:
                self.quiet.set()
                await asyncio.sleep(0.01)

    async def take_answer(self, ws):
        answer = json.loads(await ws.recv())
        if "client_msg_id" not in answer:
            self.is_for_now("a receipt", answer)
            return
        stream, n = self.open[answer["client_msg_id"]]
        if not self.take(stream, n, answer["type"] == "ack", answer):
            await asyncio.sleep(0.02)
            await self.push(ws, stream, n)
            return
        del self.open[answer["client_msg_id"]]
        self.done += 1
        if n % 8 == 0:
            await self.push_receipt(ws, stream.conversation)
