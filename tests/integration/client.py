"""A user who talks to a server over HTTP."""
import itertools
import os
import subprocess
import urllib.parse

import requests

PARLEY = os.environ.get("PARLEY", "build/release/parley")


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


def code(answer):
    """Status and code of a refusal, which has the one form."""
    assert answer.headers["content-type"] == "application/json", answer.text
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"} and {"code", "message"} <= set(error) <= {"code", "message", "retry_after_ms"}
    return answer.status_code, error["code"]
