"""Chat over HTTP: what is acknowledged is there after kill -9, once and in order, whichever core was asked."""
import os
import signal
import subprocess
import threading

import pytest
import requests

from conftest import Server

PARLEY = os.environ.get("PARLEY", "build/release/parley")


def token(server, user, *more):
    out = subprocess.run([PARLEY, "token", "--data", server.data, "--sub", user, *more],
                         check=True, capture_output=True, text=True)
    return {"Authorization": "Bearer " + out.stdout.strip()}


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


def create(server, who, name, members):
    answer = requests.post(server.url + "/v1/conversations", headers=who, timeout=30,
                           json={"type": "group", "client_id": name, "title": name, "members": members})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["id"]


def send(server, who, conversation, number, body=None):
    return requests.post(server.url + "/v1/conversations/%s/messages" % conversation, headers=who, timeout=30,
                         json={"client_msg_id": "m%d" % number, "body": body or "grüße %d" % number})


def history(server, who, conversation, **query):
    answer = requests.get(server.url + "/v1/conversations/%s/messages" % conversation, headers=who, params=query,
                          timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_is_acknowledged_survives_kill_9(folder):
    server = Server(folder)
    ann = token(server, "ann")
    bob = token(server, "bob")
    conversations = [create(server, ann, "c%d" % i, ["bob"]) for i in range(8)]
    acked = {c: {} for c in conversations}

    def write(conversation, who):
        try:
            for n in range(100000):
                answer = send(server, who, conversation, n)
                if answer.status_code != 201:
                    return
                acked[conversation][n] = answer.json()
        except requests.ConnectionError:
            pass

    writers = [threading.Thread(target=write, args=(c, ann)) for c in conversations]
    for w in writers:
        w.start()
    threading.Event().wait(2)
    server.stop(signal.SIGKILL)
    for w in writers:
        w.join()
    assert sum(len(a) for a in acked.values()) > 100

    server = Server(folder)
    for c in conversations:
        messages, after = [], "0"
        while True:
            page = history(server, bob, c, after=after, limit=7)
            messages += page["messages"]
            if not page["more"]:
                break
            after = messages[-1]["id"]
        assert [m["seq"] for m in messages] == list(range(1, len(messages) + 1))
        ids = [int(m["id"]) for m in messages]
        assert ids == sorted(set(ids))
        have = {m["client_msg_id"]: m for m in messages}
        for n, ack in acked[c].items():
            m = have["m%d" % n]
            assert (m["id"], m["seq"], m["body"], m["sender"]) == (ack["id"], ack["seq"], "grüße %d" % n, "ann")
        again = send(server, ann, c, 0)
        assert (again.status_code, again.json()["duplicate"]) == (200, True)
        assert again.json()["id"] == acked[c][0]["id"]
        assert int(send(server, ann, c, 1000000).json()["id"]) > ids[-1]
        backward, before = [], None
        while True:
            page = history(server, bob, c, limit=13, **({"before": before} if before else {}))
            backward = page["messages"] + backward
            if not page["more"]:
                break
            before = backward[0]["id"]
        assert backward[:len(messages)] == messages
    assert server.stop() == 0


def test_bad_input_is_answered_with_a_clear_error(folder):
    server = Server(folder)
    ann, eve = token(server, "ann"), token(server, "eve")
    c = create(server, ann, "private", ["bob"])
    path = server.url + "/v1/conversations/%s/messages" % c

    def code(answer):
        return answer.status_code, answer.json()["error"]["code"]

    post = lambda **k: requests.post(path, timeout=10, **k)
    assert code(post(json={})) == (401, "bad_token")
    assert code(post(headers={"Authorization": "Bearer x.y.z"}, json={})) == (401, "bad_token")
    forged = {"Authorization": ann["Authorization"][:-4] + "AAAA"}
    assert code(post(headers=forged, json={})) == (401, "bad_token")
    assert code(post(headers=ann, data=b"{")) == (400, "bad_json")
    assert code(post(headers=ann, data=b'{"body":"\xff"}')) == (400, "bad_utf8")
    assert code(post(headers=ann, data=b"[" * 100)) == (400, "bad_json")
    assert code(post(headers=ann, json={"client_msg_id": "x", "body": 7})) == (400, "bad_request")
    assert code(post(headers=ann, json={"client_msg_id": "x" * 65, "body": "b"}))[0] in (400, 413)
    assert code(post(headers=ann, json={"client_msg_id": "x", "body": "b" * 70000})) == (413, "too_large")
    assert code(post(headers=eve, json={"client_msg_id": "x", "body": "b"})) == (403, "not_member")
    assert code(requests.get(path, headers=eve, timeout=10)) == (403, "not_member")
    assert code(requests.get(path + "?limit=0", headers=ann, timeout=10)) == (400, "bad_request")
    assert code(requests.get(path + "?after=-1", headers=ann, timeout=10)) == (400, "bad_request")
    nowhere = server.url + "/v1/conversations/%s/messages" % ("0" * 32)
    assert code(requests.get(nowhere, headers=ann, timeout=10)) == (404, "not_found")
    assert code(requests.post(nowhere, headers=ann, timeout=10,
                              json={"client_msg_id": "x", "body": "b"})) == (404, "not_found")
    assert code(post(headers=ann, json={"client_msg_id": "t", "body": "b",
                                        "created_at": "2004-11-15T12:18:00Z"})) == (403, "forbidden")
    service = token(server, "ann", "--scope", "service")
    old = {"client_msg_id": "t", "body": "b", "created_at": "2004-11-15T12:18:00Z", "unknown": [1, {"x": None}]}
    assert post(headers=service, json=old).status_code == 201
    assert post(headers=service, json=dict(old, body="other")).json()["error"]["code"] == "conflict"
    assert history(server, ann, c)["messages"][-1]["created_at"] == "2004-11-15T12:18:00.000Z"
    assert server.stop() == 0


def test_damage_in_the_middle_is_refused_by_name(folder):
    server = Server(folder)
    ann = token(server, "ann")
    c = create(server, ann, "c", [])
    for n in range(20):
        assert send(server, ann, c, n).status_code == 201
    server.stop(signal.SIGKILL)
    segments = [os.path.join(d, f) for d, _, files in os.walk(server.data) for f in files
                if os.path.getsize(os.path.join(d, f)) >= 1 << 20]
    for path in segments:
        with open(path, "r+b") as f:
            f.seek(4096 + 70)
            byte = f.read(1)
            f.seek(4096 + 70)
            f.write(bytes([byte[0] ^ 1]))
    broken = subprocess.run([os.environ.get("PARLEYD", "build/release/parleyd"), "--server-data-dir", server.data, "--http-port", "0"],
                            capture_output=True, text=True, timeout=60)
    assert broken.returncode == 1
    assert "/log/" in broken.stderr and " at " in broken.stderr, broken.stderr
