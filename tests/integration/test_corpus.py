"""The main job: a log of chat comes in through the public interface as the people who wrote it, and reads back the same.

The log is the first conversations of a real one, CORPUS=FILE.jsonl.gz or the one that lies beside the project (a line:
`conversation`, `time`, `sender`, `text`), CORPUS_MESSAGES (6000) at least that many; without any, look_alike.py makes one."""
import gzip
import itertools
import json
import os
import signal

import pytest

import look_alike
from client import Tail, User, code
from conftest import Server
from proxy import Proxy
from test_cli import by_conversation, parley, write

CORES = ("--server-reactors", "2", "--server-shards", "5", "--server-pin-cores", "false")
PAGE = 137
BESIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3, "shared", "corpus", "ubuntu-irc.jsonl.gz")


def whole_conversations(path, messages):
    with gzip.open(path, "rt", encoding="utf-8") as f:
        count = 0
        for _, group in itertools.groupby(map(json.loads, f), lambda line: line["conversation"]):
            if count >= messages:
                return
            for line in group:
                count += 1
                yield line


@pytest.fixture(scope="module")
def lines():
    real = os.environ.get("CORPUS") or (BESIDE if os.path.exists(BESIDE) else None)
    made = list(whole_conversations(real, int(os.environ.get("CORPUS_MESSAGES", 6000))) if real else look_alike.lines())
    assert len(made) >= 5000 and len(by_conversation(made)) > 2
    return made


class Import:
    """A log, the server it goes to, and a tail of its first conversation from the first message on."""

    def __init__(self, tmp_path, lines):
        self.folder, self.lines = str(tmp_path), lines
        self.server = Server(self.folder, *CORES)
        self.path = write(str(tmp_path / "log.jsonl.gz"), lines)
        self.name = lines[0]["conversation"]
        first = self.run(write(str(tmp_path / "first.jsonl"), lines[:1]))
        self.followed = first["conversation_ids"][self.name]
        self.tail = Tail(self.server, self.followed, "--data", self.server.data, "--as", "importer", "--after", "0")
        self.tail.wait_for(1)  # it is connected: what follows comes live

    def run(self, path, url=None, *words):
        done = parley("import", path, "--data", self.server.data, "--json", "--quiet", *words, url=url or self.server.url)
        return json.loads(done.stdout)

    def restart(self, how):
        assert self.server.stop(how) == (0 if how == signal.SIGTERM else -how)
        self.server = Server(self.folder, *CORES, port=self.server.port)

    def end(self):
        """A last message: when the tail has printed it, it has printed all before it, and nothing else."""
        importer = User(self.server, "importer")
        assert importer.send(self.followed, "the end").status_code == 201
        want = [text for _, _, text in by_conversation(self.lines)[self.name]] + ["the end"]
        self.tail.wait_for(len(want))
        printed = self.tail.stop()
        assert [m["body"] for m in printed] == want
        assert [m["seq"] for m in printed] == list(range(1, len(want) + 1))
        assert self.server.stop() == 0, open(self.server.log.name).read()


def read_back(server, conversation):
    """All messages, page by page."""
    importer, after, messages = User(server, "importer"), "0", []
    while True:
        answer = importer.history(conversation, limit=PAGE, after=after)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        messages += page["messages"]
        if not page["more"]:
            return messages
        assert 0 < len(page["messages"]) <= PAGE
        after = page["messages"][-1]["id"]


def assert_equal(server, lines, ids):
    """Every conversation is its source: who, what, when, in order, once; and numbered without a gap. Gives what was read."""
    want, have = by_conversation(lines), {}
    assert set(want) == set(ids)
    for name, source in want.items():
        have[name] = messages = read_back(server, ids[name])
        assert [m["body"] for m in messages] == [text for _, _, text in source], name
        assert [m["sender"] for m in messages] == [sender for _, sender, _ in source], name
        assert [m["created_at"].replace(".000Z", "Z") for m in messages] == [time for time, _, _ in source], name
        assert [m["seq"] for m in messages] == list(range(1, len(source) + 1)), name
        numbers = [int(m["id"]) for m in messages]
        assert all(a < b for a, b in zip(numbers, numbers[1:])), name
    return have


def test_a_log_reads_back_as_it_was_and_importing_again_changes_nothing(tmp_path, lines):
    log = Import(tmp_path, lines)
    first = log.run(log.path)
    assert first["complete"] and (first["messages"], first["duplicates"]) == (len(lines), 1), first
    assert first["conversation_ids"][log.name] == log.followed
    have = assert_equal(log.server, lines, first["conversation_ids"])
    again = log.run(log.path)
    assert (again["messages"], again["duplicates"]) == (len(lines), len(lines)), again
    assert again["conversation_ids"] == first["conversation_ids"]
    assert assert_equal(log.server, lines, again["conversation_ids"]) == have
    log.end()


def test_a_log_whose_server_is_killed_and_stopped_meanwhile_reads_back_as_it_was(tmp_path, lines):
    log = Import(tmp_path, lines)
    proxy = Proxy(log.server.port)
    for share, how in (1 / 3, signal.SIGKILL), (1 / 2, signal.SIGTERM), (2 / 3, signal.SIGKILL):
        proxy.at(int(len(lines) * share), lambda how=how: log.restart(how))
    result = log.run(log.path, proxy.url)
    proxy.stop()
    assert result["complete"] and result["messages"] == len(lines) and result["refused"] == 0, result
    assert result["reconnects"] >= 3 and result["out_of_order"] == 0, result
    have = assert_equal(log.server, lines, result["conversation_ids"])
    log.restart(signal.SIGKILL)
    assert log.run(log.path)["duplicates"] == len(lines)
    assert assert_equal(log.server, lines, result["conversation_ids"]) == have
    log.end()


def test_only_a_service_gives_an_original_time(tmp_path):
    server = Server(str(tmp_path))
    ann, bridge = User(server, "ann"), User(server, "bridge", "--scope", "service")
    c = ann.create([])
    assert code(ann.send(c, "old", created_at="2004-11-15T12:18:00Z")) == (403, "forbidden")
    body = {"client_msg_id": "1", "body": "old", "created_at": "2004-11-15T12:18:00Z"}
    assert bridge.call("POST", "/v1/conversations/%s/messages" % c, json=body, params={"as": "ann"}).status_code == 201
    assert [m["created_at"] for m in ann.history(c).json()["messages"]] == ["2004-11-15T12:18:00.000Z"]
    assert server.stop() == 0
