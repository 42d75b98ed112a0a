"""A client that behaves, in a process of its own, so that whoever starves the server does not starve him: how long do his sends
take, and is he ever refused?"""
import multiprocessing
import time

from ledger import Http

PAUSE_S = 0.005


def talk(port, token, conversation, name, seconds, out):
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
    out.put((took, refused))


class GoodClients:
    """Some of them for some seconds; `wait` gives the 99th percentile in ms, the number of sends and how many failed."""

    def __init__(self, port, token, conversation, name, seconds, count=2):
        self.out = multiprocessing.Queue()
        self.all = [multiprocessing.Process(target=talk, args=(port, token, conversation, "%s%d" % (name, i), seconds, self.out))
                    for i in range(count)]
        for process in self.all:
            process.start()

    def wait(self):
        took, refused = [], 0
        for _ in self.all:
            some, bad = self.out.get(timeout=300)
            took, refused = took + some, refused + bad
        for process in self.all:
            process.join()
        took.sort()
        return took[len(took) * 99 // 100] * 1000, len(took), refused
