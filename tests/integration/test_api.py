"""Every endpoint of docs/api.md by a real client: what it answers, whom it refuses, and with which words."""
import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import websockets

from conftest import Server
from client import User, code, mint, quoted, until

OK, FORBIDDEN, NOT_MEMBER = None, (403, "forbidden"), (403, "not_member")
NOWHERE = "0" * 32


@pytest.fixture(scope="module")
def users(server):
    class Users(dict):
        def __missing__(self, name):
            self[name] = User(server, name)
            return self[name]
    return Users()


@pytest.fixture(scope="module")
def service(server):
    return User(server, "bridge", "--scope", "service")


def raw(server, data, seconds=30):
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as s:
        s.sendall(data)
        out = b""
        while True:
            more = s.recv(65536)
            if not more:
                return out
            out += more


def together(calls):
    """Each waits for the disk: all at once, they wait once."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda call: call(), calls))


def result(answer, status=200, duplicate=False):
    assert answer.status_code == status, answer.text
    assert answer.json()["duplicate"] is duplicate
    return answer.json()


# -- conversations


def test_health_and_readiness_need_no_token(server):
    for path, status in (("/health", "ok"), ("/ready", "ready")):
        answer = requests.get(server.url + path, timeout=10)
        assert (answer.status_code, answer.json()) == (200, {"status": status})
        head = requests.head(server.url + path, timeout=10)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(answer.content))


def test_creating_twice_creates_once(users):
    ann = users["ann"]
    ask = {"type": "group", "client_id": "once", "title": "Tee & Kekse", "members": ["bob"]}
    first = result(ann.call("POST", "/v1/conversations", json=ask), 201)
    again = result(ann.call("POST", "/v1/conversations", json=ask), 200, True)
    assert first["id"] == again["id"] and set(first) == {"id", "duplicate"}
    other = ann.call("POST", "/v1/conversations", json=dict(ask, title="Kaffee"))
    assert code(other) == (409, "conflict")
    theirs = result(users["bob"].call("POST", "/v1/conversations", json=ask), 201)
    assert theirs["id"] != first["id"]


def test_direct_is_the_same_from_both_sides(users):
    one = users["ann"].call("POST", "/v1/conversations", json={"type": "direct", "client_id": "d", "members": ["carl"]})
    two = users["carl"].call("POST", "/v1/conversations", json={"type": "direct", "client_id": "x", "members": ["ann"]})
    assert result(one, 201)["id"] == result(two, 200, True)["id"]
    conversation = one.json()["id"]
    assert users["ann"].send(conversation, "hi").status_code == 201
    assert users["carl"].history(conversation).json()["messages"][0]["body"] == "hi"
    assert {m["role"] for m in users["ann"].members(conversation).values()} == {"member"}
    assert code(users["ann"].add(conversation, "dora")) == FORBIDDEN
    assert code(users["ann"].remove(conversation, "ann")) == FORBIDDEN


def test_both_open_a_direct_at_once(users):
    for n in range(5):
        one, two = users["left%d" % n], users["right%d" % n]
        answers = together([lambda: one.create([two.name], "direct"), lambda: two.create([one.name], "direct")])
        assert answers[0] == answers[1]


def test_a_conversation_as_its_members_see_it(users):
    ann, bob = users["ann"], users["bob"]
    c = ann.create(["bob"], title="Über \"alles\"\n")
    seen = bob.get("/v1/conversations/" + c).json()
    assert seen == {"id": c, "type": "group", "title": "Über \"alles\"\n", "role": "member", "members": 2, "last_seq": 0, "unread": 0, "read": 0, "delivered": 0,
                    "created_at": seen["created_at"], "creator": "ann"}
    sent = ann.send(c, "x").json()
    seen = ann.get("/v1/conversations/" + c).json()
    assert (seen["role"], seen["last_seq"], seen["last_message_id"]) == ("owner", 1, sent["id"])
    assert code(users["eve"].get("/v1/conversations/" + c)) == NOT_MEMBER
    assert code(ann.get("/v1/conversations/" + NOWHERE)) == (404, "not_found")
    assert code(ann.get("/v1/conversations/xyz")) == (404, "not_found")
    head = ann.call("HEAD", "/v1/conversations/" + c)
    assert (head.status_code, head.content) == (200, b"")


def test_256_members_at_creation_and_not_257(users):
    ann = users["ann"]
    crowd = ["user%03d" % n for n in range(255)]
    c = ann.create(crowd)
    assert set(ann.members(c)) == {"ann", *crowd}
    assert set(ann.members(ann.create(["ann", *crowd]))) == {"ann", *crowd}  # her own name counts once
    for members in (crowd + ["one more"], crowd + ["one more", "and one"], ["x%d" % n for n in range(1000)]):
        answer = ann.call("POST", "/v1/conversations", json={"type": "group", "client_id": ann.fresh(), "members": members})
        assert code(answer) == (422, "limit_reached")


# -- the list


def test_the_list_goes_page_by_page(users):
    lena = users["lena"]
    mine = set(together([lambda n=n: lena.create(["mike"], title="t%d" % n) for n in range(23)]))
    users["mike"].create([])
    for limit in (1, 7, 23, 50):
        found, after = [], None
        while True:
            page = lena.get("/v1/conversations", limit=limit, **({"after": after} if after else {})).json()
            found += page["conversations"]
            assert len(page["conversations"]) <= limit
            if not page["more"]:
                assert "next" not in page
                break
            after = page["next"]
        ids = [c["id"] for c in found]
        assert ids == sorted(mine)
        assert {c["role"] for c in found} == {"owner"}
    until(lambda: len(users["mike"].get("/v1/conversations").json()["conversations"]) >= 24)
    assert len(users["mike"].get("/v1/conversations").json()["conversations"]) == 24
    assert users["nobody"].get("/v1/conversations").json() == {"conversations": [], "more": False}


def test_the_list_follows_membership(users, service):
    nina, otto = users["nina"], users["otto"]
    c = nina.create(["otto"])
    ids = lambda user, **q: [x["id"] for x in user.get("/v1/conversations", **q).json()["conversations"]]
    until(lambda: ids(otto) == [c])  # only her own list is promised to have it at once
    assert ids(otto) == [c] == ids(service, **{"as": "otto"})
    result(nina.remove(c, "otto"))
    assert ids(otto) == [] and ids(nina) == [c]
    result(nina.add(c, "otto"), 201)
    assert ids(otto) == [c]


# -- members


def test_members_come_and_go(users):
    ann, bob = users["ann"], users["bob"]
    c = ann.create(["bob"])
    added = result(ann.add(c, "dora"), 201)
    assert ann.members(c)["dora"] == {"user": "dora", "role": "member", "joined": added["id"]}
    again = result(ann.add(c, "dora"), 200, True)  # in already: that is the result
    assert again["id"] == added["id"]
    ask = {"client_id": "add-emil", "user": "emil", "role": "read_only"}
    first = result(ann.call("POST", "/v1/conversations/%s/members" % c, json=ask), 201)
    retry = result(ann.call("POST", "/v1/conversations/%s/members" % c, json=ask), 200, True)
    assert first["id"] == retry["id"] and ann.members(c)["emil"]["role"] == "read_only"
    conflict = ann.call("POST", "/v1/conversations/%s/members" % c, json=dict(ask, user="else"))
    assert code(conflict) == (409, "conflict")
    assert code(users["emil"].send(c, "may I?")) == FORBIDDEN
    assert users["emil"].history(c).status_code == 200
    gone = result(ann.remove(c, "dora"))
    assert "dora" not in bob.members(c)
    assert bob.members(c, all="true")["dora"] == {"user": "dora", "role": "member", "joined": added["id"],
                                                  "left": gone["id"]}
    assert bob.members(c, all="false") == bob.members(c)
    assert code(users["dora"].history(c)) == NOT_MEMBER
    assert code(users["dora"].send(c, "x")) == NOT_MEMBER
    back = result(ann.add(c, "dora"), 201)
    assert int(back["id"]) > int(gone["id"])
    assert ann.members(c, all="true")["dora"] == {"user": "dora", "role": "member", "joined": back["id"]}


def test_members_of_a_crowd_are_read_page_by_page(users):
    ann = users["ann"]
    c = ann.create(["first%03d" % n for n in range(200)])
    adds = together([lambda n=n: ann.add(c, "later%03d" % n) for n in range(100)])
    assert {a.status_code for a in adds} == {201}
    assert len(ann.members(c)) == 301
    page = ann.get("/v1/conversations/%s/members" % c).json()
    assert page["next_page"] == 1 and len(page["members"]) < 301
    assert code(ann.get("/v1/conversations/%s/members" % c, page=60000)) == (404, "not_found")


@pytest.mark.parametrize("actor, what, target, role, want", [
    ("own", "add", "new", None, OK), ("own", "add", "new", "owner", OK), ("own", "add", "new", "admin", OK),
    ("adm", "add", "new", None, OK), ("adm", "add", "new", "admin", FORBIDDEN), ("adm", "add", "new", "owner", FORBIDDEN),
    ("mem", "add", "new", None, FORBIDDEN), ("ro", "add", "new", None, FORBIDDEN), ("eve", "add", "eve", None, NOT_MEMBER),
    ("own", "role", "mem", "admin", OK), ("own", "role", "mem", "read_only", OK), ("own", "role", "mem", "owner", OK),
    ("own", "role", "own", "member", (409, "last_owner")), ("own", "role", "eve", "member", (404, "not_found")),
    ("adm", "role", "mem", "read_only", FORBIDDEN), ("mem", "role", "mem", "owner", FORBIDDEN),
    ("eve", "role", "mem", "owner", NOT_MEMBER),
    ("own", "remove", "adm", None, OK), ("adm", "remove", "mem", None, OK), ("adm", "remove", "own", None, FORBIDDEN),
    ("adm", "remove", "adm2", None, FORBIDDEN), ("mem", "remove", "ro", None, FORBIDDEN), ("mem", "remove", "mem", None, OK),
    ("own", "remove", "own", None, (409, "last_owner")), ("own", "remove", "eve", None, (404, "not_found")),
    ("eve", "remove", "mem", None, NOT_MEMBER),
])
def test_who_may_do_what(users, actor, what, target, role, want):
    c = users["own"].create(["mem"])
    together([lambda n=n, r=r: result(users["own"].add(c, n, r), 201)
              for n, r in (("adm", "admin"), ("adm2", "admin"), ("ro", "read_only"))])
    ask = getattr(users[actor], what)
    answer = ask(c, target, role) if role else ask(c, target)
    if want:
        assert code(answer) == want
        assert answer.json()["error"]["message"]
    else:
        result(answer, 201 if what == "add" else 200)
        have = users["own"].members(c)
        assert target not in have if what == "remove" else have[target]["role"] == (role or "member")


def test_the_last_owner_stays_until_there_is_another_or_nobody(users):
    ann = users["ann"]
    c = ann.create(["bob"])
    assert code(ann.remove(c, "ann")) == (409, "last_owner")
    result(ann.role(c, "bob", "owner"))
    result(ann.remove(c, "ann"))
    assert code(ann.history(c)) == NOT_MEMBER
    result(users["bob"].remove(c, "bob"))  # the last member of all
    assert code(users["bob"].get("/v1/conversations/" + c)) == NOT_MEMBER


def test_a_retried_change_changes_nothing(users):
    ann = users["ann"]
    c = ann.create(["bob"])
    path = "/v1/conversations/%s/members/bob" % c
    first = result(ann.call("PUT", path, json={"client_id": "r1", "role": "admin"}))
    result(ann.call("PUT", path, json={"client_id": "r2", "role": "member"}))
    assert result(ann.call("PUT", path, json={"client_id": "r1", "role": "admin"}), 200, True)["id"] == first["id"]
    assert ann.members(c)["bob"]["role"] == "member"
    assert code(ann.call("PUT", path, json={"client_id": "r1", "role": "owner"})) == (409, "conflict")
    gone = result(ann.call("DELETE", path, params={"client_id": "d1"}))
    assert result(ann.call("DELETE", path, params={"client_id": "d1"}), 200, True)["id"] == gone["id"]
    assert code(ann.call("DELETE", path, params={"client_id": "d2"})) == (404, "not_found")


def test_anybody_joins_a_channel_and_nobody_comes_back_with_more(users):
    ann, eve = users["ann"], users["eve"]
    c = ann.create([], "channel")
    assert code(eve.add(c, "eve", "admin")) == FORBIDDEN
    result(eve.add(c, "eve"), 201)
    assert eve.send(c, "here").status_code == 201
    result(ann.role(c, "eve", "read_only"))
    result(eve.remove(c, "eve"))
    result(eve.add(c, "eve"), 201)
    assert ann.members(c)["eve"]["role"] == "read_only"
    assert code(eve.add(c, "fred")) == FORBIDDEN


NAMES = ["a b", "50%", "a+b", "x&y=z", "q?#", "ünï", "日本語", "🦊", "a;b,c", "it's", "e\u0301", "ß" * 32, "x" * 64, "me"]


@pytest.mark.parametrize("name", NAMES)
def test_any_user_id_can_be_named_in_a_path(users, server, name):
    ann, other = users["ann"], User(server, name)
    c = ann.create([name])
    assert other.send(c, "I am " + name).json()["seq"] == 1
    assert ann.history(c).json()["messages"][0]["sender"] == name
    result(ann.role(c, name, "admin"))
    assert ann.members(c)[name]["role"] == "admin"
    result(ann.remove(c, name))
    assert name not in ann.members(c)


# -- messages


@pytest.fixture(scope="module")
def talk(users):
    """A conversation of ann and bob with 30 messages."""
    c = users["ann"].create(["bob"])
    sent = together([lambda n=n: users["ann" if n % 3 else "bob"].send(c, "message %d" % n) for n in range(30)])
    return c, sorted((m.json()["id"] for m in sent), key=int)


def read(user, conversation, **query):
    answer = user.history(conversation, **query)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    return [m["id"] for m in page.pop("messages")], page


def test_history_before_and_after(users, talk):
    c, ids = talk
    assert read(users["bob"], c) == (ids, {"more": False})
    assert read(users["bob"], c, limit=5) == (ids[-5:], {"more": True})
    assert read(users["bob"], c, before=ids[10], limit=5) == (ids[5:10], {"more": True})
    assert read(users["bob"], c, before=ids[5], limit=5) == (ids[:5], {"more": False})
    assert read(users["bob"], c, after=ids[24], limit=5) == (ids[25:], {"more": False})
    assert read(users["bob"], c, after=ids[23], limit=5) == (ids[24:29], {"more": True})
    assert read(users["bob"], c, after=0, limit=1) == (ids[:1], {"more": True})


def test_history_around(users, talk):
    c, ids = talk
    got, more = read(users["bob"], c, around=ids[15], limit=5)
    assert ids[15] in got and len(got) == 5 and got == sorted(got, key=int)
    assert more == {"more_before": True, "more_after": True}
    assert read(users["bob"], c, around=ids[15], limit=200) == (ids, {"more_before": False, "more_after": False})
    between = str(int(ids[15]) + 1)  # perhaps the next one's
    got, _ = read(users["bob"], c, around=between, limit=4)
    assert ids[15] in got and ids[16] in got
    assert read(users["bob"], c, around=ids[0], limit=3)[1]["more_before"] is False
    assert read(users["bob"], c, around=ids[-1], limit=3)[1]["more_after"] is False


def test_one_message_by_its_id_or_the_clients(users, talk):
    c, ids = talk
    ann, bob = users["ann"], users["bob"]
    page = ann.history(c).json()["messages"]
    for m in (page[0], page[1], page[-1]):
        assert ann.get("/v1/conversations/%s/messages/%s" % (c, m["id"])).json() == m
        author, other = (ann, bob) if m["sender"] == "ann" else (bob, ann)
        assert author.history(c, client_msg_id=m["client_msg_id"]).json() == m
        assert code(other.history(c, client_msg_id=m["client_msg_id"])) == (404, "not_found")
    between = next(n for n in range(int(ids[3]), int(ids[-1]) + 2) if str(n) not in ids)
    for missing in ("1", str(between), str(2 ** 64 - 1)):
        assert code(ann.get("/v1/conversations/%s/messages/%s" % (c, missing))) == (404, "not_found")
    assert code(ann.history(c, client_msg_id="never")) == (404, "not_found")
    assert code(users["eve"].get("/v1/conversations/%s/messages/%s" % (c, ids[0]))) == NOT_MEMBER
    assert code(users["eve"].history(c, client_msg_id="x")) == NOT_MEMBER


def test_receipts_only_rise_and_count_what_is_unread(users):
    ann, bob = users["ann"], users["bob"]
    c = ann.create(["bob"])
    receipt = "/v1/conversations/%s/receipt" % c

    def seen(user):
        it = user.get("/v1/conversations/%s" % c).json()
        listed = [k for k in user.get("/v1/conversations", limit=200).json()["conversations"] if k["id"] == c]
        assert listed in ([it], []), "a list has the same, on whatever page"
        return it["unread"], it["read"], it["delivered"]

    def put(user, **seqs):
        return user.call("PUT", receipt, json=seqs)

    assert seen(bob) == (0, 0, 0)
    assert code(put(bob, read=1)) == (400, "bad_request"), "nothing is there to be read yet"
    for _ in range(5):
        ann.send(c, "x")
    assert seen(bob) == (5, 0, 0) and seen(ann) == (0, 0, 0)
    assert put(bob, delivered=4).json()["duplicate"] is False
    assert seen(bob) == (5, 0, 4)
    assert put(bob, read=2).json()["duplicate"] is False
    assert seen(bob) == (3, 2, 4)
    for same in ({"read": 2}, {"read": 1, "delivered": 4}, {"delivered": 1}):
        assert put(bob, **same).json() == {"duplicate": True}
    assert put(bob, read=5).json()["duplicate"] is False
    assert seen(bob) == (0, 5, 5)
    bob.send(c, "y")
    assert seen(bob) == (0, 5, 5) and seen(ann) == (1, 0, 0)
    ann.send(c, "z")
    assert seen(bob) == (1, 5, 5) and seen(ann) == (0, 0, 0)
    members = {m["user"]: m for m in ann.get("/v1/conversations/%s/members" % c).json()["members"]}
    assert (members["bob"]["read"], members["bob"]["delivered"]) == (5, 5) and "read" not in members["ann"]
    for bad in ({}, {"read": 8}, {"read": 0}, {"read": -1}, {"delivered": "1"}, {"read": 2 ** 63}, {"read": 1.5}):
        assert put(bob, **bad).status_code == 400, bad
    assert code(put(users["eve"], read=1)) == NOT_MEMBER


def test_what_is_fenced_is_never_stored(users):
    ann, bob = users["ann"], users["bob"]
    c = ann.create(["bob"])
    fences = "/v1/conversations/%s/fences" % c
    sent = ann.send(c, "hello", client_msg_id="f1").json()

    def fate(user, name):
        answer = user.call("POST", fences, json={"client_msg_id": name})
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert fate(ann, "f1") == {"state": "committed", "id": sent["id"], "seq": sent["seq"]}
    fenced = fate(ann, "f2")
    assert fenced["state"] == "fenced" and int(fenced["id"]) > int(sent["id"]) and "seq" not in fenced
    assert fate(ann, "f2") == fenced
    assert code(ann.send(c, "late", client_msg_id="f2")) == (410, "fenced")
    assert code(ann.history(c, client_msg_id="f2")) == (410, "fenced")
    assert bob.send(c, "mine", client_msg_id="f2").status_code == 201, "a client's id is its user's"
    assert [m["body"] for m in ann.history(c).json()["messages"]] == ["hello", "mine"]
    assert code(users["eve"].call("POST", fences, json={"client_msg_id": "f3"})) == NOT_MEMBER
    assert code(ann.call("POST", fences, json={})) == (400, "bad_request")


def test_what_is_no_message_id_is_not_found(users, talk):
    for bad in ("abc", "-1", "007", "1.5", str(2 ** 64)):
        assert code(users["ann"].get("/v1/conversations/%s/messages/%s" % (talk[0], bad))) == (404, "not_found")


def test_a_message_comes_back_as_it_was_sent(users):
    ann = users["ann"]
    c = ann.create([])
    for body, kind in (("\"\\\u0001\t\n/é日🦊\u2028", "text/plain"), ("x" * 65536, "text/x"), ("{}", "application/json")):
        sent = ann.send(c, body, content_type=kind).json()
        m = ann.history(c, limit=1).json()["messages"][0]
        assert (m["id"], m["seq"], m["body"], m["content_type"]) == (sent["id"], sent["seq"], body, kind)
    assert code(ann.send(c, "x" * 65537)) == (413, "too_large")


# -- users


def test_a_profile_is_set_once_for_each_client_id(users):
    uma = users["uma"]
    ask = {"client_id": "p1", "display_name": "Uma Ü. 🦊"}
    first = result(uma.call("PUT", "/v1/users/me/profile", json=ask))
    assert result(uma.call("PUT", "/v1/users/me/profile", json=ask), 200, True)["id"] == first["id"]
    assert code(uma.call("PUT", "/v1/users/me/profile", json=dict(ask, display_name="U"))) == (409, "conflict")
    long = {"client_id": "p2", "display_name": "x" * 257}
    assert code(uma.call("PUT", "/v1/users/me/profile", json=long)) == (413, "too_large")
    assert uma.call("PUT", "/v1/users/bob/profile", json=ask).status_code == 405


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_profile_is_read_by_everybody(users, server, service, name):
    user = User(server, name)
    assert code(users["ann"].get("/v1/users/%s/profile" % quoted(name))) == (404, "not_found")
    for display in ("Die " + name, ""):
        result(user.call("PUT", "/v1/users/me/profile", json={"client_id": user.fresh(), "display_name": display}))
        want = {"user": name, "display_name": display}
        assert users["ann"].get("/v1/users/%s/profile" % quoted(name)).json() == want
        assert user.get("/v1/users/me/profile").json() == want
        assert service.get("/v1/users/me/profile", **{"as": name}).json() == want


# -- services


def test_a_service_acts_for_a_user(users, service):
    made = service.call("POST", "/v1/conversations", params={"as": "gil"},
                        json={"type": "group", "client_id": "s", "members": ["hal"]})
    c = result(made, 201)["id"]
    assert users["gil"].members(c)["gil"]["role"] == "owner"
    again = users["gil"].call("POST", "/v1/conversations", json={"type": "group", "client_id": "s", "members": ["hal"]})
    assert result(again, 200, True)["id"] == c  # it is his
    path = "/v1/conversations/%s/messages" % c
    old = {"client_msg_id": "1", "body": "from the archive", "created_at": "2001-02-03T04:05:06Z"}
    sent = result(service.call("POST", path, params={"as": "hal"}, json=old), 201)
    m = users["hal"].history(c).json()["messages"][0]
    assert (m["id"], m["sender"], m["created_at"]) == (sent["id"], "hal", "2001-02-03T04:05:06.000Z")
    result(service.role(c, "hal", "admin", **{"as": "gil"}))
    result(service.add(c, "ida", **{"as": "gil"}), 201)
    result(service.remove(c, "ida", **{"as": "gil"}))
    assert set(users["gil"].members(c)) == {"gil", "hal"}
    assert "role" not in service.get("/v1/conversations/" + c).json()  # it looks, and is no member
    assert service.get("/v1/conversations/" + c, **{"as": "gil"}).json()["role"] == "owner"
    assert code(service.send(c, "as itself")) == NOT_MEMBER
    name = {"client_id": "n", "display_name": "Gil"}
    result(service.call("PUT", "/v1/users/me/profile", params={"as": "gil"}, json=name))
    result(users["gil"].call("PUT", "/v1/users/me/profile", json=name), 200, True)


@pytest.mark.parametrize("method, path", [
    ("GET", "/v1/conversations"), ("POST", "/v1/conversations"), ("GET", "/v1/conversations/" + NOWHERE),
    ("GET", "/v1/conversations/%s/members" % NOWHERE), ("POST", "/v1/conversations/%s/members" % NOWHERE),
    ("PUT", "/v1/conversations/%s/members/x" % NOWHERE), ("DELETE", "/v1/conversations/%s/members/x" % NOWHERE),
    ("GET", "/v1/conversations/%s/messages" % NOWHERE), ("POST", "/v1/conversations/%s/messages" % NOWHERE),
    ("GET", "/v1/conversations/%s/messages/1" % NOWHERE), ("PUT", "/v1/users/me/profile"), ("GET", "/v1/users/x/profile"),
])
def test_nobody_else_acts_for_a_user(users, service, server, method, path):
    assert code(users["ann"].call(method, path, params={"as": "bob"})) == FORBIDDEN
    assert code(users["ann"].call(method, path, params={"as": "ann"})) == FORBIDDEN
    other = User(server, "ann", "--scope", "services service2")
    assert code(other.call(method, path, params={"as": "bob"})) == FORBIDDEN
    assert code(service.call(method, path, params={"as": ""})) == (400, "bad_request")
    assert code(service.call(method, path, params={"as": "x" * 65})) == (413, "too_large")
    assert code(requests.request(method, server.url + path, timeout=10)) == (401, "bad_token")


# -- bad input


BAD_BODIES = [
    (b"", 400, "bad_json"), (b"{", 400, "bad_json"), (b"{}{}", 400, "bad_json"), (b"nonsense", 400, "bad_json"),
    (b"{'a':1}", 400, "bad_json"), (b'{"a":1,}', 400, "bad_json"), (b'{"a":NaN}', 400, "bad_json"),
    (b'{"a":"\\ud800"}', 400, "bad_json"), (b'{"a":"\\u0000"}', 400, "bad_json"), (b'{"a":"\x01"}', 400, "bad_json"),
    (b'{"a":1,"a":2}', 400, "bad_json"), (b'{"a":' + b"[" * 9 + b"]" * 9 + b"}", 400, "bad_json"),
    (b"[" * 100000, 400, "bad_json"), (b'{"a":' * 100000, 400, "bad_json"),
    (b'{"a":"\xff"}', 400, "bad_utf8"), (b'{"\xed\xa0\x80":1}', 400, "bad_utf8"), (b"\xff\xfe{}", 400, "bad_utf8"),
    (b"[]", 400, "bad_request"), (b"{}", 400, "bad_request"), (b"null", 400, "bad_request"), (b"7", 400, "bad_request"),
    (b'{"x":"' + b"y" * (2 << 20) + b'"}', 413, "too_large"),
]


@pytest.mark.parametrize("body, status, name", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_bad_bodies(users, talk, body, status, name):
    for method, path in (("POST", "/v1/conversations"), ("POST", "/v1/conversations/%s/messages" % talk[0]),
                         ("POST", "/v1/conversations/%s/members" % talk[0]),
                         ("PUT", "/v1/conversations/%s/members/bob" % talk[0]), ("PUT", "/v1/users/me/profile")):
        assert code(users["ann"].call(method, path, data=body)) == (status, name), (method, path)


@pytest.mark.parametrize("body, words", [
    (b"", "no JSON"), (b"{", "not valid JSON"), (b"[]", "must be an object"), (b'{"a":1,"a":2}', "key twice"),
    (b'{"a":"\\u0000"}', "U+0000"), (b'{"a":"\\ud800"}', "surrogate"), (b'{"a":"\x01"}', "control character"),
    (b'{"a":' + b"[" * 9 + b"]" * 9 + b"}", "deeper than 8"),
])
def test_what_is_wrong_with_the_json_is_told(users, body, words):
    assert words in users["ann"].call("POST", "/v1/conversations", data=body).json()["error"]["message"]


BAD_FIELDS = [
    ("POST", "", {"type": "group"}, 400, "bad_request", "client_id"),
    ("POST", "", {"client_id": "x"}, 400, "bad_request", "type"),
    ("POST", "", {"type": "party", "client_id": "x"}, 400, "bad_request", "type"),
    ("POST", "", {"type": 2, "client_id": "x"}, 400, "bad_request", "type"),
    ("POST", "", {"type": "group", "client_id": ""}, 400, "bad_request", "client_id"),
    ("POST", "", {"type": "group", "client_id": None}, 400, "bad_request", "client_id"),
    ("POST", "", {"type": "group", "client_id": "x" * 65}, 413, "too_large", "client_id"),
    ("POST", "", {"type": "group", "client_id": "x", "title": "t" * 257}, 413, "too_large", "title"),
    ("POST", "", {"type": "group", "client_id": "x", "title": ["t"]}, 400, "bad_request", "title"),
    ("POST", "", {"type": "group", "client_id": "x", "members": "bob"}, 400, "bad_request", "members"),
    ("POST", "", {"type": "group", "client_id": "x", "members": ["bob", 7]}, 400, "bad_request", "members"),
    ("POST", "", {"type": "group", "client_id": "x", "members": [""]}, 400, "bad_request", "members"),
    ("POST", "", {"type": "group", "client_id": "x", "members": ["m" * 65]}, 413, "too_large", "members"),
    ("POST", "", {"type": "group", "client_id": "x", "members": ["m%d" % n for n in range(2000)]}, 413, "too_large", "members"),
    ("POST", "", {"type": "direct", "client_id": "x"}, 400, "bad_request", "members"),
    ("POST", "", {"type": "direct", "client_id": "x", "members": []}, 400, "bad_request", "members"),
    ("POST", "", {"type": "direct", "client_id": "x", "members": ["a", "b"]}, 400, "bad_request", "members"),
    ("POST", "", {"type": "direct", "client_id": "x", "members": ["ann"]}, 400, "bad_request", "members"),
    ("POST", "", {"type": "direct", "client_id": "x", "members": ["zoe"], "title": "t"}, 400, "bad_request", "title"),
    ("POST", "/ID/messages", {"client_msg_id": "x"}, 400, "bad_request", "body"),
    ("POST", "/ID/messages", {"body": "x"}, 400, "bad_request", "client_msg_id"),
    ("POST", "/ID/messages", {"client_msg_id": "x", "body": ""}, 400, "bad_request", "body"),
    ("POST", "/ID/messages", {"client_msg_id": "", "body": "x"}, 400, "bad_request", "client_msg_id"),
    ("POST", "/ID/messages", {"client_msg_id": "é" * 33, "body": "x"}, 413, "too_large", "client_msg_id"),
    ("POST", "/ID/messages", {"client_msg_id": "x", "body": {"text": "x"}}, 400, "bad_request", "body"),
    ("POST", "/ID/messages", {"client_msg_id": "x", "body": "x", "content_type": "t" * 65}, 413, "too_large", "content_type"),
    ("POST", "/ID/messages", {"client_msg_id": "x", "body": "x", "created_at": "yesterday"}, 400, "bad_request", "created_at"),
    ("POST", "/ID/messages", {"client_msg_id": "x", "body": "x", "created_at": "2020-02-30T00:00:00Z"}, 400, "bad_request", "created_at"),
    ("POST", "/ID/messages", {"client_msg_id": "x", "body": "x", "created_at": "2020-02-03T00:00:00Z"}, 403, "forbidden", None),
    ("POST", "/ID/members", {"client_id": "x"}, 400, "bad_request", "user"),
    ("POST", "/ID/members", {"user": "x"}, 400, "bad_request", "client_id"),
    ("POST", "/ID/members", {"client_id": "x", "user": ""}, 400, "bad_request", "user"),
    ("POST", "/ID/members", {"client_id": "x", "user": "u" * 65}, 413, "too_large", "user"),
    ("POST", "/ID/members", {"client_id": "x" * 65, "user": "u"}, 413, "too_large", "client_id"),
    ("POST", "/ID/members", {"client_id": "x", "user": "u", "role": "king"}, 400, "bad_request", "role"),
    ("POST", "/ID/members", {"client_id": "x", "user": "u", "role": ""}, 400, "bad_request", "role"),
    ("POST", "/ID/members", {"client_id": "x", "user": "u", "role": 4}, 400, "bad_request", "role"),
    ("PUT", "/ID/receipt", {}, 400, "bad_request", "read"),
    ("PUT", "/ID/receipt", {"read": 0}, 400, "bad_request", "read"),
    ("PUT", "/ID/receipt", {"read": 1, "delivered": "1"}, 400, "bad_request", "delivered"),
    ("PUT", "/ID/members/bob", {"client_id": "x"}, 400, "bad_request", "role"),
    ("PUT", "/ID/members/bob", {"role": "admin"}, 400, "bad_request", "client_id"),
    ("PUT", "/ID/members/bob", {"client_id": "x", "role": "Admin"}, 400, "bad_request", "role"),
    ("PUT", "/ID/members/" + "b" * 65, {"client_id": "x", "role": "admin"}, 413, "too_large", "user"),
    ("PUT", "/ID/members/%ff", {"client_id": "x", "role": "admin"}, 400, "bad_utf8", None),
    ("PUT", "/ID/members/%zz", {"client_id": "x", "role": "admin"}, 400, "bad_request", None),
    ("PUT", "/ID/members/a%2fb", {"client_id": "x", "role": "admin"}, 400, "bad_request", None),
    ("PUT", "/ID/members/a%00b", {"client_id": "x", "role": "admin"}, 400, "bad_request", None),
    ("DELETE", "/ID/members/bob", None, 400, "bad_request", "client_id"),
    ("DELETE", "/ID/members/bob?client_id=", None, 400, "bad_request", "client_id"),
    ("DELETE", "/ID/members/bob?client_id=%ff", None, 400, "bad_utf8", None),
    ("DELETE", "/ID/members/bob?client_id=" + "x" * 65, None, 413, "too_large", "client_id"),
    ("GET", "?limit=0", None, 400, "bad_request", "limit"), ("GET", "?limit=201", None, 400, "bad_request", "limit"),
    ("GET", "?limit=", None, 400, "bad_request", "limit"), ("GET", "?after=xyz", None, 400, "bad_request", "after"),
    ("GET", "?after=" + "A" * 32, None, 400, "bad_request", "after"),
    ("GET", "/ID/members?page=-1", None, 400, "bad_request", "page"), ("GET", "/ID/members?page=65536", None, 400, "bad_request", "page"),
    ("GET", "/ID/members?page=7", None, 404, "not_found", None), ("GET", "/ID/members?all=yes", None, 400, "bad_request", "all"),
    ("GET", "/ID/messages?limit=0", None, 400, "bad_request", "limit"), ("GET", "/ID/messages?limit=201", None, 400, "bad_request", "limit"),
    ("GET", "/ID/messages?limit=5&limit=5", None, 400, "bad_request", "limit"),
    ("GET", "/ID/messages?limit=99999999999999999999", None, 400, "bad_request", "limit"),
    ("GET", "/ID/messages?before=1&after=1", None, 400, "bad_request", "after"),
    ("GET", "/ID/messages?before=1&around=1", None, 400, "bad_request", "around"),
    ("GET", "/ID/messages?after=1&around=1", None, 400, "bad_request", "around"),
    ("GET", "/ID/messages?around=x", None, 400, "bad_request", "around"),
    ("GET", "/ID/messages?before=18446744073709551616", None, 400, "bad_request", "before"),
    ("GET", "/ID/messages?client_msg_id=x&before=1", None, 400, "bad_request", "client_msg_id"),
    ("GET", "/ID/messages?client_msg_id=", None, 400, "bad_request", "client_msg_id"),
    ("GET", "/ID/messages?client_msg_id=" + "x" * 65, None, 413, "too_large", "client_msg_id"),
    ("GET", "/ID/messages?%", None, 400, "bad_request", None), ("GET", "/ID/messages?a=%c0%80", None, 400, "bad_utf8", None),
    ("GET", "/ID//messages", None, 400, "bad_request", None), ("GET", "/ID/messages/", None, 400, "bad_request", None),
    ("GET", "/ID/%2e%2e/messages", None, 400, "bad_request", None),
    ("GET", "/" + "a/" * 20 + "b", None, 400, "bad_request", None),
    ("GET", "/ID/nothing", None, 404, "not_found", None), ("GET", "/ID/messages/1/2", None, 404, "not_found", None),
]


@pytest.mark.parametrize("method, path, body, status, name, field", BAD_FIELDS, ids=range(len(BAD_FIELDS)))
def test_bad_fields_and_queries(server, users, talk, method, path, body, status, name, field):
    """The field or parameter at fault is named, with what it must be."""
    path = "/v1/conversations" + path.replace("ID", talk[0], 1)
    text = b"" if body is None else json.dumps(body).encode()
    head = "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n" % (
        method, path, users["ann"].headers["Authorization"], len(text))
    # A library would tidy the path.
    top, answer = raw(server, head.encode() + text).split(b"\r\n\r\n", 1)
    error = json.loads(answer)["error"]
    assert (int(top.split()[1]), error["code"], error.get("field")) == (status, name, field)
    assert field is None or error["message"].startswith(field + " must be ")


def test_unknown_fields_and_parameters_are_ignored(users):
    ann = users["ann"]
    c = ann.create([], extra={"deep": [1, None, {"x": "y"}]}, Type="x")
    assert ann.send(c, "x", extra=[{}]).status_code == 201
    assert len(ann.history(c, colour="blue", _="1").json()["messages"]) == 1
    assert ann.add(c, "bob", unknown="1").status_code == 201


@pytest.mark.parametrize("path, allow", [
    ("/health", "GET, HEAD"), ("/ready", "GET, HEAD"), ("/v1/ws", "GET, HEAD"), ("/test/http-echo", "POST"),
    ("/v1/conversations", "GET, HEAD, POST"), ("/v1/conversations/ID", "GET, HEAD"),
    ("/v1/conversations/ID/members", "GET, HEAD, POST"), ("/v1/conversations/ID/members/x", "PUT, DELETE"),
    ("/v1/conversations/ID/messages", "GET, HEAD, POST"), ("/v1/conversations/ID/messages/1", "GET, HEAD"),
    ("/v1/users/me/profile", "PUT, GET, HEAD"), ("/v1/users/x/profile", "GET, HEAD"),
])
def test_another_method_is_told_which(users, path, allow):
    for method in ("PATCH", "OPTIONS", "BREW"):
        answer = users["ann"].call(method, path.replace("ID", NOWHERE))
        assert code(answer) == (405, "method_not_allowed")
        assert answer.headers["allow"] == allow


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/conversation", "/v2/conversations", "/v1/users", "/v1/users/x",
                                  "/v1/users/x/profiles", "/v1/conversations/x/y/z/w", "/nowhere", "/health/x"])
def test_unknown_paths_are_not_found(server, users, path):
    want = (400, "bad_request") if path == "/v1/" else (404, "not_found")
    assert code(users["ann"].get(path)) == want
    assert code(requests.post(server.url + path, data=b"{", timeout=10)) == want


def test_bad_tokens(server, users):
    def ask(value, **more):
        head = {"Authorization": value} if value is not None else {}
        return code(requests.get(server.url + "/v1/conversations/" + NOWHERE, headers=head, timeout=10, **more))
    good = mint(server, "ann")
    head, payload, signature = good.split(".")
    none = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    for bad in (None, "", "Bearer", "Bearer ", "Basic eDp5", good, "Bearer x", "Bearer x.y.z", "Bearer " + good[:-2],
                "Bearer %s.%s." % (head, payload), "Bearer %s.%s." % (none, payload),
                "Bearer %s.%s.%s" % (none, payload, signature),
                "Bearer %s.%s.%s" % (head, mint(server, "eve").split(".")[1], signature),
                "Bearer " + "a" * 4000, "Bearer " + good + good):
        assert ask(bad) == (401, "bad_token"), bad
    assert ask(None, params={"access_token": good}) == (401, "bad_token")  # for WebSockets only
    assert ask("Bearer " + good) == (404, "not_found")
    brief = mint(server, "ann", "--seconds", "1")
    deadline = time.monotonic() + 30
    while ask("Bearer " + brief) != (401, "token_expired"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_browser_sends_over_a_websocket(server, users):
    """What README writes into a browser's console; a browser adds its Origin."""
    c = users["ann"].create([])

    async def talk():
        url = "ws://127.0.0.1:%d/v1/ws?access_token=%s" % (server.port, mint(server, "ann"))
        async with websockets.connect(url, origin="http://127.0.0.1:%d" % server.port) as ws:
            assert json.loads(await ws.recv())["type"] == "hello"
            await ws.send(json.dumps({"type": "send", "conversation": c, "client_msg_id": "2", "body": "from the browser"}))
            return json.loads(await ws.recv())
    ack = asyncio.run(talk())
    assert (ack["type"], ack["client_msg_id"], ack["seq"]) == ("ack", "2", 1)
    assert users["ann"].history(c, client_msg_id="2").json()["body"] == "from the browser"


# -- h2o's own refusals, and clients that take their time


def test_idle_clients_do_not_keep_the_server_from_stopping(tmp_path):
    server = Server(str(tmp_path), "--server-shutdown-grace", "10m")
    with requests.Session() as used, socket.create_connection(("127.0.0.1", server.port)):
        assert used.get(server.url + "/health", timeout=10).status_code == 200
        assert server.stop() == 0


def test_a_client_that_stays_does_not_make_a_crash_of_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")  # what he holds is left to the end of the process
    server = Server(str(tmp_path), "--server-shutdown-grace", "100ms")
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea")
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0


@pytest.mark.parametrize("head, status, name", [
    (b"Content-Length: 99999999", 413, "too_large"),
    (b"Content-Length: 99999999999999999999999", 400, "bad_request"),
    (b"Content-Length: -1", 400, "bad_request"), (b"Content-Length: x", 400, "bad_request"),
    (b"Transfer-Encoding: chunked", 411, "length_required"),
    (b"X: " + b"y" * 9000, 431, "head_too_large"),
])
def test_what_the_library_refuses_looks_like_all_else(server, head, status, name):
    tail = b"0\r\n\r\n" if b"chunked" in head else b""
    answer = raw(server, b"POST /v1/conversations HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + tail)
    top, body = answer.split(b"\r\n\r\n", 1)
    assert top.split()[1] == b"%d" % status and b"application/json" in top
    assert json.loads(body)["error"]["code"] == name


def test_a_client_that_drips_is_cut_by_age(server):
    """10 s for a head and its body, however regularly a byte comes; a keep-alive's next head too."""
    whole = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    starts = (b"", whole, b"POST /test/http-echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")

    def drip(start):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            s.sendall(start)
            if start == whole:
                assert s.recv(4096).startswith(b"HTTP/1.1 200")
            for n in range(60):
                s.settimeout(0.5)
                try:
                    return s.recv(4096) == b"" and n > 2
                except TimeoutError:
                    s.sendall(b"G"[n:] or b"x")
                except ConnectionError:
                    return True
            return False
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(drip, starts)) == [True] * 3


def test_nothing_of_all_this_was_logged(server):
    """The last one: what strangers send is answered to them, and fills no disk."""
    with open(server.log.name, "rb") as log:  # but for its own start
        own = (b" event=config_in_use ", b" event=shard_opened ", b" event=server_ready ")
        assert [line for line in log if not any(event in line for event in own)] == []
