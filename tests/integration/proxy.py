"""Between a client and a server: counts what the server has acknowledged, and does something at an exact count."""
import socket
import threading

ACK = b'"type":"ack"'


class Proxy:
    """Its url stands for the server at `port`. `at(n, do)`: when the server's n-th ack comes, `do()` is called before
    that ack and what came with it go on; they never do, and all connections are cut."""

    def __init__(self, port):
        self.port, self.plan, self.acks, self.lock, self.errors = port, [], 0, threading.Lock(), []
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def at(self, acks, do):
        self.plan.append((acks, do))

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.open |= {client, server}
            for args in (client, server, lambda data: True), (server, client, self.count()):
                threading.Thread(target=self.pump, args=args, daemon=True).start()

    def count(self):
        tail = b""

        def seen(data):
            """False: these bytes are not to go on."""
            nonlocal tail
            whole = tail + data
            with self.lock:
                self.acks += whole.count(ACK)
                tail = whole[-(len(ACK) - 1):]
                if not self.plan or self.acks < self.plan[0][0]:
                    return True
                _, do = self.plan.pop(0)
                try:
                    do()
                except BaseException as e:
                    self.errors.append(e)
                self.cut()
                return False

        return seen

    def cut(self):
        for s in self.open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is gone already
        self.open.clear()

    def pump(self, source, sink, passes):
        try:
            while data := source.recv(1 << 16):
                if not passes(data):
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in source, sink:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        """Everything planned was done, and went well."""
        self.listener.close()
        with self.lock:
            self.cut()
            assert not self.errors and not self.plan, (self.errors, self.plan)
