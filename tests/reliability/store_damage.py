"""Damaged files of a real database: the part of row 4 that the log does not show.

A folder is filled and stopped, so that all is in the database. Then, each time from a copy: one file is flipped, zeroed, cut or
removed, the server started, every history read and messages sent again that were answered. Any of these may be refused,
also the start; what is answered must be what the ledger says.
"""
import os
import random
import shutil
import signal
import subprocess
import tempfile

from bed import Bed, say
from conftest import Server
from ledger import Http

FLAGS = ("--server-shards", "1", "--store-write-buffer-max", "1MiB", "--store-dirty-max", "1MiB", "--store-cache-max", "1MiB",
         "--store-objects-max", "1MiB", "--commit-log-size-max", "256MiB")
MESSAGES = 6000


def flip(file, size, random_):
    at = random_.randrange(size)
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ 1 << random_.randrange(8)]))


def zero(file, size, random_):
    file.seek(random_.randrange(size) // 512 * 512)
    file.write(bytes(min(4096, size - file.tell())))


def cut(file, size, random_):
    file.truncate(random_.randrange(size))


def damage(store, random_):
    """What was done."""
    names = sorted(os.listdir(store))
    tables = [n for n in names if n.endswith(".sst")]
    others = [n for n in names if n.startswith(("MANIFEST", "CURRENT"))]
    name = random_.choice(tables if random_.randrange(4) else others)
    path = os.path.join(store, name)
    how = random_.choice((flip, flip, flip, zero, cut, None))
    if how is None:
        os.remove(path)
        return name + " removed"
    with open(path, "r+b") as file:
        how(file, os.path.getsize(path), random_)
    return "%s of %s" % (how.__name__, name)


def ask(bed, port, random_):
    """Everything that may be answered; how much was."""
    answered = 0
    for conversation in bed.ids:
        try:
            history = list(Http(port, bed.tokens["reader"]).history(conversation))
        except (AssertionError, ConnectionError):
            continue
        bed.ledger.compare(conversation, history)
        answered += 1
    for stream in bed.ledger.streams.values():
        n = random_.choice(list(stream.acked))
        try:
            status, answer = Http(port, bed.tokens[stream.user]).send(stream, n)
        except ConnectionError:
            continue
        if status in (200, 201):
            bed.ledger.ack(stream, n, answer)
            answered += 1
    return answered


def a_round(bed, pristine, folder, random_):
    """Whether something was refused."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    subprocess.run(["cp", "-r", "--sparse=always", pristine, os.path.join(folder, "data")], check=True)
    what = damage(os.path.join(folder, "data", "shard-0000", "store"), random_)
    try:
        server = Server(folder, *FLAGS)
    except AssertionError:
        return True
    answered = ask(bed, server.port, random_)
    server.stop(signal.SIGKILL)
    if bed.ledger.faults:
        say("after %s" % what)
    return answered < len(bed.ids) + len(bed.ledger.streams)


def run(seed, rounds):
    """The ledger, and how often something was refused."""
    folder, random_, refused = tempfile.mkdtemp(prefix="parley-damage-"), random.Random(seed), 0
    bed = Bed(folder, *FLAGS, conversations=4, body_max=4000)
    bed.go()
    while bed.ledger.acked_count() < MESSAGES:
        bed.writers[0].join(0.05)
    bed.pause()
    bed.close()
    for _ in range(rounds):
        refused += a_round(bed, bed.server.data, os.path.join(folder, "copy"), random_)
        if bed.ledger.faults:
            break
    say("%d damaged databases, %d seen: %s" % (rounds, refused, bed.ledger.verdict()))
    if bed.ledger.faults:
        say("the copy stays in " + folder)
    else:
        shutil.rmtree(folder)
    return bed.ledger, refused
