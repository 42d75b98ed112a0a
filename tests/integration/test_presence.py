"""Who is there, over two reactors and four shards: said by devices, told to those who ask, about people they know."""
import asyncio

import pytest

from client import User, code
from conftest import Server
from test_live import CORES, Session, close_all, on_both_cores


def begin(tmp_path, *flags):
    return Server(str(tmp_path), *CORES, *flags)


@pytest.fixture
def server(tmp_path):
    running = begin(tmp_path, "--presence-expiry", "2s")
    yield running
    assert running.stop() == 0, open(running.log.name).read()


async def state(session, user):
    """The next that is told of anybody's presence."""
    while (frame := await session.next())["type"] != "presence":
        assert frame["type"] == "event", frame
    assert frame["user"] == user
    return frame["state"]


def presence(user, conversation, of):
    return user.get("/v1/conversations/%s/members/%s/presence" % (conversation, of))


def test_who_watches_is_told_on_every_core(server):
    ann, names = User(server, "ann"), ["bob%d" % i for i in range(6)]  # on all shards
    c = ann.create(names)

    async def talk():
        anns = await on_both_cores(server, ann.headers)
        for name in names:
            bob = User(server, name)
            for s in anns:
                await s.say(type="watch", conversation=c, user=name)
                assert await state(s, name) == "offline"
            async with Session(server, bob.headers) as b:
                await b.say(type="presence", state="online")
                for s in anns:
                    assert await state(s, name) == "online"
                await b.say(type="presence", state="away")
                for s in anns:
                    assert await state(s, name) == "away"
                assert presence(ann, c, name).json() == {"user": name, "state": "away"}
            for s in anns:  # nothing is said by going, only by staying away
                frame = await s.next()
                assert (frame["type"], frame["user"], frame["state"]) == ("presence", name, "offline")
                assert frame["last_seen"].endswith("Z")
        await close_all(anns)

    asyncio.run(talk())


def test_only_about_members_and_only_while_they_are(server):
    ann, bob, eve = User(server, "ann"), User(server, "bob"), User(server, "eve")
    c, alone = ann.create(["bob"]), eve.create([])
    assert code(presence(eve, c, "bob")) == (403, "not_member")
    assert code(presence(eve, alone, "bob")) == (404, "not_found")
    assert code(ann.call("PUT", "/v1/users/me/presence", json={"state": "here"})) == (400, "bad_request")

    async def talk():
        async with Session(server, ann.headers) as a, Session(server, eve.headers) as e:
            for conversation, why in [(c, "not_member"), (alone, "not_found"), ("0" * 32, "not_found"), ("x", "not_found")]:
                await e.say(type="watch", conversation=conversation, user="bob")
                assert (await e.next())["error"]["code"] == why
            for frame, field in [({"type": "watch", "user": "bob"}, "conversation"), ({"type": "presence"}, "state"),
                                 ({"type": "watch", "conversation": c}, "user"), ({"type": "unwatch"}, "user"),
                                 ({"type": "presence", "state": "here"}, "state")]:
                await e.say(**frame)
                assert (await e.next())["error"]["field"] == field
            await a.say(type="watch", conversation=c, user="bob")
            assert await state(a, "bob") == "offline"
            assert ann.remove(c, "bob").status_code == 200
            assert (await a.next())["kind"] == "removed"
            assert bob.call("PUT", "/v1/users/me/presence", json={"state": "online"}).status_code == 200
            await a.nothing(1)
            assert ann.add(c, "bob").status_code == 201
            assert (await a.next())["kind"] == "added"
            await a.say(type="watch", conversation=c, user="bob")
            assert await state(a, "bob") == "online"
            await a.say(type="unwatch", user="bob")
            await a.say(type="unwatch", user="bob")
            assert bob.call("PUT", "/v1/users/me/presence", json={"state": "offline"}).status_code == 200
            await a.nothing(1)
        async with Session(server, ann.headers, "?live=false") as a:
            await a.say(type="watch", conversation=c, user="bob")
            assert (await a.next())["error"]["code"] == "forbidden"

    asyncio.run(talk())


def test_a_session_watches_so_many(server):
    ann, bridge = User(server, "ann"), User(server, "bridge", "--scope", "service")
    names = ["u%d" % i for i in range(260)]
    c = ann.create(names[:200])
    for name in names[200:]:
        assert ann.add(c, name).status_code == 201

    async def talk():
        async with Session(server, bridge.headers) as b:
            for round in range(2):
                for name in names:
                    await b.say(type="watch", conversation=c, user=name)
                frames = [await b.next() for _ in names]
                kinds = [f["type"] for f in frames]
                assert kinds.count("presence") == 256 and kinds.count("error") == 4
                assert {f["error"]["code"] for f in frames if f["type"] == "error"} == {"overloaded"}

    asyncio.run(talk())


def test_an_operator_switches_it_off(tmp_path):
    running = begin(tmp_path, "--presence-enabled", "false")
    ann = User(running, "ann")
    c = ann.create(["bob"])
    assert code(ann.call("PUT", "/v1/users/me/presence", json={"state": "online"})) == (404, "not_found")
    assert code(presence(ann, c, "bob")) == (404, "not_found")
    assert running.stop() == 0
