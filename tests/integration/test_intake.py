"""Requests before they are whole: who is refused reads his answer, and what waits in memory has been asked for."""
import contextlib
import json
import socket

import pytest
import requests

from client import User, code, mint
from conftest import Server

LONG = 1000000
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def running(folder, *flags):
    server = Server(str(folder), "--server-reactors", "1", *flags)
    try:
        yield server
    finally:
        assert server.stop() == 0


class Client:
    """A connection on which nothing is tidied."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """Status, fields, and the body or its error."""
        status = int(self.file.readline().split()[1])
        fields = dict(line.decode().strip().lower().split(": ", 1) for line in iter(self.file.readline, b"\r\n"))
        body = json.loads(self.file.read(int(fields["content-length"])))
        return status, fields, body.get("error", body)

    def healthy(self):
        self.send(HEALTH)
        return self.answer()[0] == 200


def head_of(path, length, *fields, token=None):
    fields = list(fields) + (["Authorization: Bearer " + token] if token else [])
    return "\r\n".join(["POST %s HTTP/1.1" % path, "Host: x", "Content-Length: %d" % length, *fields, "", ""]).encode()


def test_a_body_above_the_limit_is_answered_and_not_reset(server):
    ann = User(server, "ann")
    path = "/v1/conversations/%s/messages" % ann.create([])
    for n in range(60):
        assert code(ann.call("POST", path, data=b"x" * (3 << 20))) == (413, "too_large"), n


@pytest.mark.parametrize("start, status", [
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", 431), (b"GET / HTTP/1.1\r\nHost: x\r\n\x01: y\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411), (b"\x16\x03\x01\0\0\r\n", 400)])
def test_a_bad_head_is_answered_and_not_reset(server, start, status):
    for _ in range(20):
        with Client(server) as s:
            s.send(start + b"y" * 9000 + b"\r\n")
            for _ in range(40):
                s.send(b"z" * 50000)
            got, fields, error = s.answer()
            assert (got, fields["connection"]) == (status, "close") and error["message"]
            assert s.file.read() == b""


def test_a_refused_client_that_never_ends_is_ended(server):
    with Client(server) as s, pytest.raises(ConnectionError):
        s.send(head_of("/v1/conversations", 1 << 40))
        while True:
            s.send(b"x" * (1 << 20))


@pytest.mark.parametrize("before", [b"", HEALTH], ids=["first", "pipelined"])
def test_a_long_body_is_waited_for_only_with_a_good_token(server, before):
    for token, name in ((None, "bad_token"), ("x.y.z", "bad_token"), (mint(server, "ann"), None)):
        with Client(server) as s:
            head = before + head_of("/v1/conversations", LONG, token=token)
            s.send(head + b"x" * (LONG // 2))
            if before:
                assert s.answer()[0] == 200
            if not name:
                s.send(b"x" * (LONG - LONG // 2))
            status, _, error = s.answer()
            assert (status, error["code"]) == ((401, name) if name else (400, "bad_json"))


def test_long_bodies_under_way_have_a_budget(tmp_path):
    with running(tmp_path, "--http-bodies-max", "1MiB") as server:
        token = mint(server, "ann")
        head = head_of("/v1/conversations", LONG, token=token)
        for completes in (True, False) * 3:
            with Client(server) as one, Client(server) as two:
                one.send(head + b"x")
                while requests.get(server.url + "/health", timeout=10).status_code != 200:
                    pass  # what came before is read by now: there is one reactor
                two.send(head + b"x" * 100000)
                status, fields, error = two.answer()
                assert (status, error["code"], fields["retry-after"]) == (503, "overloaded", "1")
                assert error["retry_after_ms"] > 0
                short = requests.post(server.url + "/v1/conversations", data=b"x" * 4096, timeout=10,
                                      headers={"Authorization": "Bearer " + token})
                assert code(short) == (400, "bad_json")
                if completes:
                    one.send(b"x" * (LONG - 1))
                    assert one.answer()[0] == 400
                    one.send(head + b"x" * LONG)  # on the same connection, once it was given back
                    assert one.answer()[0] == 400


def test_bodies_of_clients_who_wait_for_100_continue(server):
    token = mint(server, "ann")
    head = head_of("/v1/conversations", LONG, "Expect: 100-continue", token=token)
    for before in (b"", HEALTH):
        with Client(server) as s:
            s.send(before + head)
            if before:
                assert s.answer()[0] == 200
            assert (s.file.readline(), s.file.readline()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
            s.send(b"x" * LONG)
            assert s.answer()[0] == 400
            assert s.healthy()
    with Client(server) as s:
        s.send(head_of("/v1/conversations", LONG, "Expect: 100-continue"))
        assert s.answer()[0] == 401


def test_no_more_connections_than_allowed_and_the_next_is_told(tmp_path):
    with running(tmp_path, "--http-connections-max", "2") as server:
        with Client(server) as one, Client(server) as two:
            assert one.healthy() and two.healthy()
            for _ in range(3):
                with Client(server) as three:
                    status, fields, error = three.answer()
                    assert (status, error["code"], fields["connection"]) == (503, "overloaded", "close")
                    assert fields["retry-after"] == "1" and three.file.read() == b""
            assert one.healthy() and two.healthy()
        for _ in range(1000):  # until their end is noticed
            with Client(server) as four, contextlib.suppress(OSError):
                if four.healthy():
                    return
        raise AssertionError("nobody is let in any more")
