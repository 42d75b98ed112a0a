"""A server that is broken, its writers, and the form of a row's result. Used by every executable of this folder."""
import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time

from ledger import Fencer, Http, HttpWriter, Ledger, Receiver, WsWriter, mint
from conftest import PARLEYD, Server


def arguments(**more):
    parser = argparse.ArgumentParser()
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true")
    size.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    for name, help_text in more.items():
        parser.add_argument("--" + name, type=int, help=help_text)
    return parser.parse_args()


def judges_time():
    """On a busy machine times are reported only."""
    return not os.environ.get("RELIABILITY_UNTIMED")


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def report(began, seed, row, name, target, result, runs, ok):
    print(json.dumps({"row": row, "name": name, "target": target, "result": result, "runs": runs, "seed": seed,
                      "seconds": round(time.monotonic() - began, 1), "ok": ok}))


def harness(program, *words):
    """Runs a program of the build folder: whether it was content, and the counts that it printed."""
    done = subprocess.run([os.path.join(os.environ["BUILD"], program), *map(str, words)], stdout=subprocess.PIPE, text=True)
    counts = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            say(line)
    return done.returncode == 0 and len(counts) == 1, counts[0] if counts else {"runs": 0}


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def not_run(began, seed, row, name, target, why):
    report(began, seed, row, name, target, "not run: " + why, 0, None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


USERS = {"harriet": HttpWriter, "henry": HttpWriter, "wanda": WsWriter, "fred": Fencer, "rita": Receiver}


class Bed:
    """One data folder with its server, a ledger, and writers on each interface."""

    def __init__(self, folder, *flags, conversations=6, body_max=8192):
        self.folder, self.flags, self.port = folder, flags, free_port()
        self.ledger = Ledger(body_max, roomy="--store-dirty-max" not in flags)
        self.server, self.writers, self.tokens, self.ids = None, [], {}, []
        self.conversation_count, self.restart_max_s = conversations, 0.0
        self.start()
        self.tokens = {user: mint(self.server, user) for user in ("reader", *USERS)}
        reader = self.reader()
        self.ids = [reader.create("c%d" % i, list(USERS)) for i in range(conversations)]
        for user, kind in USERS.items():
            self.writers.append(kind(self.ledger, self.port, user, self.tokens[user], self.ids))
            self.writers[-1].start()

    def start(self):
        began = time.monotonic()
        self.server = Server(self.folder, *self.flags, port=self.port)
        self.restart_max_s = max(self.restart_max_s, time.monotonic() - began)

    def restarts(self):
        """A start that is refused is a fault."""
        try:
            self.start()
        except AssertionError as e:
            self.ledger.fault("refused starts", e)
            return False
        return True

    def start_and_kill(self, after_s):
        """A start that is killed before or after it is ready."""
        with open(os.path.join(self.folder, "log"), "ab") as log:
            process = subprocess.Popen([PARLEYD, "--server-data-dir", os.path.join(self.folder, "data"), "--http-port",
                                        str(self.port), *self.flags],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
            time.sleep(after_s)
            process.kill()
            process.wait()

    def kill(self):
        self.server.stop(signal.SIGKILL)

    def client(self, user):
        return Http(self.port, self.tokens[user], timeout=120)

    def reader(self):
        return self.client("reader")

    def go(self):
        for writer in self.writers:
            writer.go.set()

    def pause(self, seconds=60):
        """Until all that was sent is answered."""
        end = time.monotonic() + seconds
        for writer in self.writers:
            writer.go.clear()
        for writer in self.writers:
            if not writer.quiet.wait(max(0.1, end - time.monotonic())):
                self.ledger.fault("stuck", "%s is not answered" % writer.user)
                return False
        return True

    def check(self):
        self.ledger.check(self.reader(), self.client)

    def close(self):
        for writer in self.writers:
            writer.stop()
        if self.server.process.poll() is None and self.server.stop() != 0:
            self.ledger.fault("stuck", "it did not stop cleanly")
