"""A server that misbehaves on purpose: HTTP and WebSocket by hand, in a thread, for what a real parleyd does rarely."""
import asyncio
import base64
import hashlib
import json
import struct
import threading


class Socket:
    """The server's side of a WebSocket."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def recv(self):
        head = await self.reader.readexactly(2)
        length = head[1] & 127
        assert head[1] & 128, "a client masks"
        if length >= 126:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
        mask = await self.reader.readexactly(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(await self.reader.readexactly(length)))
        if head[0] & 15 == 8:
            raise ConnectionError("closed")
        return json.loads(data) if head[0] & 15 == 1 else None

    async def send(self, message, opcode=1):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        length = struct.pack(">B", len(data)) if len(data) < 126 else struct.pack(">BH", 126, len(data))
        self.writer.write(bytes([128 | opcode]) + length + data)
        await self.writer.drain()

    def cut(self):
        self.writer.transport.abort()


class FakeServer:
    """`http(method, path, body)` gives (status, JSON); `ws(socket)` talks until it returns; `upgrade()` may refuse it first."""

    def __init__(self, http=None, ws=None, upgrade=lambda: None):
        self.http, self.ws, self.upgrade = http, ws, upgrade
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()

        def run():
            asyncio.set_event_loop(self.loop)
            server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, limit=1 << 22))
            self.url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
            ready.set()
            self.loop.run_forever()
            server.close()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.loop.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        ready.wait()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def serve(self, reader, writer):
        try:
            while await self.one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split()
        fields = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in head[1:] if line)}
        refusal = self.upgrade() if "upgrade" in fields else None
        if "upgrade" in fields and not refusal:
            accept = base64.b64encode(hashlib.sha1(
                (fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
            writer.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n" % accept).encode())
            await self.ws(Socket(reader, writer))
            return False
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        status, answer = refusal or self.http(method, path, json.loads(body) if body else None)
        if status == 0:  # no answer at all
            return False
        data = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n" % (status, len(data)) + data)
        await writer.drain()
        return True
