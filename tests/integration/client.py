"""A user who talks to a server over HTTP, and `parley tail`."""
import itertools
import json
import os
import signal
import subprocess
import threading
import time
import urllib.parse

import requests

PARLEY = os.environ.get("PARLEY", "build/release/parley")


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def mint(server, user, *more):
    out = subprocess.run([PARLEY, "token", "--data", server.data, "--sub", user, *more],
                         check=True, capture_output=True, text=True)
    return out.stdout.strip()


def quoted(user):
    return urllib.parse.quote(user, safe="")


class User:
    def __init__(self, server, name, *more):
        self.url, self.name, self.numbers = server.url, name, itertools.count()
        self.headers = {"Authorization": "Bearer " + mint(server, name, *more)}

    def call(self, method, path, **more):
        return requests.request(method, self.url + path, headers=self.headers, timeout=30, **more)

    def get(self, path, **params):
        return self.call("GET", path, params=params)

    def fresh(self):
        """A client id that was not used before."""
        return "%s-%d" % (self.name[:8], next(self.numbers))

    def create(self, members, type="group", **more):
        answer = self.call("POST", "/v1/conversations", json={"type": type, "client_id": self.fresh(),
                                                              "members": members, **more})
        assert answer.status_code in (200, 201), answer.text
        return answer.json()["id"]

    def send(self, conversation, body, **more):
        return self.call("POST", "/v1/conversations/%s/messages" % conversation,
                         json={"client_msg_id": self.fresh(), "body": body, **more})

    def history(self, conversation, **query):
        return self.get("/v1/conversations/%s/messages" % conversation, **query)

    def add(self, conversation, user, role=None, **params):
        body = {"client_id": self.fresh(), "user": user, **({"role": role} if role else {})}
        return self.call("POST", "/v1/conversations/%s/members" % conversation, json=body, params=params)

    def role(self, conversation, user, role, **params):
        return self.call("PUT", "/v1/conversations/%s/members/%s" % (conversation, quoted(user)),
                         json={"client_id": self.fresh(), "role": role}, params=params)

    def remove(self, conversation, user, **params):
        return self.call("DELETE", "/v1/conversations/%s/members/%s" % (conversation, quoted(user)),
                         params={"client_id": self.fresh(), **params})

    def members(self, conversation, **params):
        """All pages: user -> the entry."""
        found, page = {}, 0
        while page is not None:
            answer = self.get("/v1/conversations/%s/members" % conversation, page=page, **params)
            assert answer.status_code == 200, answer.text
            for member in answer.json()["members"]:
                assert member["user"] not in found
                found[member["user"]] = member
            page = answer.json().get("next_page")
        return found


class Tail:
    """`parley tail --json` that runs; what it printed is in `messages`."""

    def __init__(self, server, conversation, *words):
        self.messages, self.news = [], threading.Condition()
        self.process = subprocess.Popen([PARLEY, "tail", conversation, "--json", "--url", server.url, *words],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            with self.news:
                self.messages.append(json.loads(line))
                self.news.notify_all()

    def wait_for(self, count):
        with self.news:
            assert self.news.wait_for(lambda: len(self.messages) >= count, 120), (count, len(self.messages))

    def stop(self):
        """Ctrl-C; gives all that it printed."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=60) == 0
        self.thread.join()
        return self.messages


def code(answer):
    """Status and code of a refusal, which has the one form."""
    assert answer.headers["content-type"] == "application/json", answer.text
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"} and {"code", "message"} <= set(error) <= {"code", "message", "field", "retry_after_ms"}
    return answer.status_code, error["code"]
