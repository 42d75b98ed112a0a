"""A client that behaves, in a process of its own, so that whoever starves the server does not starve him: how long do his sends
take, and is he ever refused?"""
import json
import subprocess
import sys
import time

from ledger import Http

PAUSE_S = 0.005


def talk(port, token, conversation, name, seconds):
    client, took, refused, n = Http(port, token), [], 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            status, _ = client.call("POST", "/v1/conversations/%s/messages" % conversation,
                                    {"client_msg_id": "%s-%d" % (name, n), "body": "hello"})
            if n % 10 == 0:  # and one who comes anew is served as well
                client = Http(port, token)
        except ConnectionError:
            status = 0
        took.append(time.monotonic() - began)
        refused += status != 201
        n += 1
        time.sleep(PAUSE_S)
    return took, refused


class GoodClients:
    """Some of them for some seconds; `wait` gives the 99th percentile in ms, the number of sends and how many failed."""

    def __init__(self, port, token, conversation, name, seconds, count=2):
        self.all = [subprocess.Popen([sys.executable, __file__, str(port), token, conversation, "%s%d" % (name, i), str(seconds)],
                                     stdout=subprocess.PIPE) for i in range(count)]

    def wait(self):
        took, refused = [], 0
        for process in self.all:
            some, bad = json.loads(process.communicate(timeout=300)[0])
            took, refused = took + some, refused + bad
        took.sort()
        return took[len(took) * 99 // 100] * 1000, len(took), refused


if __name__ == "__main__":
    print(json.dumps(talk(int(sys.argv[1]), *sys.argv[2:5], float(sys.argv[5]))))
