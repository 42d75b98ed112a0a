"""A hundred thousand conversations, written back under a small and a large limit, evicted, killed and read back."""
import json
import os
import signal
import subprocess

import pytest

from conftest import PARLEYD, Server

PARLEY = os.environ.get("PARLEY", "build/release/parley")
# A build with sanitizers is many times slower: there it is the code that is tested, not the number.
COUNT = 100000 if "/release/" in PARLEYD else 3000


def parley(server, *words):
    done = subprocess.run([PARLEY, *words, "--url", server.url, "--data", server.data, "--quiet"],
                          capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, (words, done.stdout, done.stderr)


def lines(part):
    for n in range(COUNT):
        yield {"conversation": "room %d" % n, "time": "2004-11-15T12:0%d:00Z" % part, "sender": "user-%d" % (n % 1000),
               "text": "part %d of room %d" % (part, n)}


@pytest.mark.parametrize("dirty,objects", [("16MiB", "64MiB"), ("256MiB", "1GiB")])
def test_many_conversations(tmp_path, dirty, objects):
    flags = ("--store-dirty-max", dirty, "--store-objects-max", objects)
    server = Server(str(tmp_path), *flags)
    paths = [str(tmp_path / ("part-%d.jsonl" % part)) for part in range(2)]
    for last, path in enumerate(paths):
        with open(path, "w") as file:
            for part in range(last + 1):  # a file that grew at its end
                file.writelines(json.dumps(line) + "\n" for line in lines(part))
        parley(server, "import", path)
        server.stop(signal.SIGKILL)
        server = Server(str(tmp_path), *flags)
    out = str(tmp_path / "out.jsonl")
    parley(server, "export", "--as", "importer", "--all", "--output", out)
    found = {}
    with open(out) as file:
        for line in map(json.loads, file):
            found.setdefault(line["conversation"], []).append(line["text"])
    assert len(found) == COUNT
    for n in range(COUNT):
        assert found["room %d" % n] == ["part %d of room %d" % (part, n) for part in range(2)]
    assert server.stop() == 0
