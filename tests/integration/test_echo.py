"""The HTTP and WebSocket doors as strangers see them: RFC 6455 case by case, and heads made to smuggle."""
import asyncio
import os
import socket
import struct

import pytest
import requests
import websockets

PATH = "/test/ws-echo"


def connect(server):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return s


def read_head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(1)
        if not more:
            break
        data += more
    return data


def upgrade(server, path=PATH, more=b""):
    s = connect(server)
    s.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + more)
    head = read_head(s)
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, section 1.3
    return s


def frame(opcode, payload=b"", fin=True, mask=b"\1\2\3\4", rsv=0, masked=True):
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    n = len(payload)
    if n < 126:
        head = struct.pack("!BB", first, bit | n)
    elif n < 65536:
        head = struct.pack("!BBH", first, bit | 126, n)
    else:
        head = struct.pack("!BBQ", first, bit | 127, n)
    if masked:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        head += mask
    return head + payload


def read_exact(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError(data)
        data += more
    return data


def read_frame(s):
    first, second = read_exact(s, 2)
    n = second & 127
    assert not second & 128, "a server must not mask"
    if n == 126:
        n = struct.unpack("!H", read_exact(s, 2))[0]
    elif n == 127:
        n = struct.unpack("!Q", read_exact(s, 8))[0]
    return first & 15, read_exact(s, n)


def closed_with(s):
    """The code of the close frame; then the server ends the connection."""
    opcode, payload = read_frame(s)
    assert opcode == 8
    s.sendall(frame(8, payload))
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b""
    s.close()
    return struct.unpack("!H", payload[:2])[0] if payload else 1005


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 200000])
@pytest.mark.parametrize("opcode", [1, 2])
def test_echo_of_every_length_encoding(server, size, opcode):
    s = upgrade(server)
    payload = b"x" * size if opcode == 1 else os.urandom(size)
    s.sendall(frame(opcode, payload))
    assert read_frame(s) == (opcode, payload)
    s.sendall(frame(8, struct.pack("!H", 1000)))
    assert closed_with(s) == 1000


def test_frames_behind_the_request_are_read(server):
    s = upgrade(server, more=frame(1, b"at once"))
    assert read_frame(s) == (1, b"at once")
    s.close()


def test_byte_by_byte(server):
    s = upgrade(server)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for b in frame(1, b"slowly", fin=False) + frame(9, b"ping") + frame(0, b" joined"):
        s.sendall(bytes([b]))
    assert read_frame(s) == (10, b"ping")
    assert read_frame(s) == (1, b"slowly joined")
    s.close()


def test_many_in_one_write(server):
    s = upgrade(server)
    s.sendall(b"".join(frame(1, b"%d" % i) for i in range(500)))
    assert [read_frame(s)[1] for _ in range(500)] == [b"%d" % i for i in range(500)]
    s.close()


@pytest.mark.parametrize("bad, code", [
    (frame(1, b"x", masked=False), 1002),
    (frame(1, b"x", rsv=4), 1002),
    (frame(3, b"x"), 1002),
    (frame(0xb, b"x"), 1002),
    (frame(9, b"x" * 126), 1002),
    (frame(9, b"x", fin=False), 1002),
    (frame(0, b"x"), 1002),
    (frame(1, b"x", fin=False) + frame(1, b"y"), 1002),
    (frame(8, b"x"), 1002),
    (frame(8, struct.pack("!H", 1005)), 1002),
    (frame(8, struct.pack("!H", 999)), 1002),
    (frame(8, struct.pack("!H", 1000) + b"\xff"), 1007),
    (frame(1, b"\xff"), 1007),
    (frame(1, b"\xed\xa0\x80"), 1007),
    (frame(1, b"\xce", fin=False) + frame(0, b"x"), 1007),
    (frame(8), 1005),
    (frame(8, struct.pack("!H", 3000)), 3000),
    (struct.pack("!BBQ", 0x82, 0xff, 1 << 62) + b"\0\0\0\0", 1009),
])
def test_what_is_wrong_is_answered_with_its_code(server, bad, code):
    s = upgrade(server)
    s.sendall(bad)
    assert closed_with(s) == code


@pytest.mark.parametrize("head, status", [
    (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    (b"POST /test/http-echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 400),
    (b"POST /test/http-echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    (b"POST /test/http-echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    (b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
])
def test_heads_made_to_smuggle_are_refused(server, head, status):
    s = connect(server)
    s.sendall(head)
    answer = read_head(s)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    s.close()


def test_http_echo(server):
    body = os.urandom(10000)
    answer = requests.post(server.url + "/test/http-echo", data=body, timeout=10)
    assert (answer.status_code, answer.content) == (200, body)
    assert requests.get(server.url + "/nowhere", timeout=10).json()["error"]["code"] == "not_found"
    assert requests.get(server.url + "/test/http-echo", timeout=10).status_code == 405
    assert requests.get(server.url + PATH, timeout=10).status_code == 400


def test_a_real_client(server):
    async def talk():
        async with websockets.connect("ws://127.0.0.1:%d%s" % (server.port, PATH), max_size=None) as ws:
            for text in ("", "grüße", "x" * 70000):
                await ws.send(text)
                assert await ws.recv() == text
            await (await ws.ping())
    asyncio.run(talk())


def test_a_reader_that_never_reads_is_cut_and_others_go_on(server):
    s = upgrade(server)
    s.setblocking(False)
    data = frame(2, b"x" * 60000)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += s.send(data)
    except (BlockingIOError, ConnectionError):
        pass
    other = upgrade(server)
    other.sendall(frame(1, b"still here"))
    assert read_frame(other) == (1, b"still here")
    other.close()
    s.close()
