"""Failing writes, syncs and reads below the real server: the part of row 7 that its log alone does not show."""
import os
import random
import shutil
import subprocess
import tempfile
import time

import fault_disk
from bed import Bed, say
from store_damage import ask

FLAGS = ("--store-dirty-max", "1MiB", "--store-write-buffer-max", "1MiB", "--store-objects-max", "1MiB",
         "--commit-log-size-max", "256MiB", "--server-shards", "1")
STOP_WITHIN_S = 10


def an_order(random_):
    """A failure of the log or of the database; of its own journal of what it does, RocksDB says nothing."""
    kind = random_.choice(("fail write", "fail sync", "short write"))
    where = random_.choice(("/log/", "/log/", ".sst", "MANIFEST"))
    return "%s %d %s" % (kind, random_.randint(1, 200 if where == "/log/" else 10), where)


def has_stopped(server):
    try:
        server.process.wait(timeout=STOP_WITHIN_S)
        return True
    except subprocess.TimeoutExpired:
        return False


def start(bed, disk, order):
    """A start that meets the failure is refused; the one after it is clean."""
    try:
        bed.start()
    except AssertionError as e:
        if disk.state()["pending"]:
            bed.ledger.fault("refused starts", "%s was not met: %s" % (order, e))
            return False
        disk.tell("off 1")
        disk.tell("on")
        return bed.restarts()
    return True


def a_round(bed, disk, random_):
    """Whether the failure was met. What was unsynced then is forgotten, so an ack of it would be missed."""
    order = an_order(random_)
    if random_.randrange(4) == 0:
        bed.kill()
        disk.tell(order)
        if not start(bed, disk, order):
            return False
    else:
        disk.tell(order)
    bed.go()
    end = time.monotonic() + STOP_WITHIN_S
    while disk.state()["pending"] and time.monotonic() < end:
        time.sleep(0.01)
    met = not disk.state()["pending"]
    # (A short write of a new segment's zeros is completed.)
    if met and order.startswith("fail") and order.endswith("/log/") and not has_stopped(bed.server):
        bed.ledger.fault("goes on", order)
    time.sleep(random_.uniform(0, 0.3))
    disk.tell("off %d" % random_.getrandbits(32))
    bed.kill()
    disk.tell("on")
    disk.tell("fail write 0")
    disk.tell("fail sync 0")
    disk.tell("short write 0")
    if bed.restarts() and bed.pause():
        bed.check()
    return met


def a_read_round(bed, disk, random_):
    """Whether the failure was met. A start is refused then, or what is answered is right; and afterwards all is answered."""
    where, most = random_.choice((("/log/", 12), (".sst", 40), (".sst", 40), ("MANIFEST", 2), ("CURRENT", 1)))
    order = "fail read %d %s" % (random_.randint(1, most), where)
    bed.go()
    time.sleep(random_.uniform(0.1, 0.5))
    bed.pause()
    bed.kill()
    disk.tell(order)
    if start(bed, disk, order):
        ask(bed, bed.port, random_)
    met = not disk.state()["pending"]
    disk.tell("fail read 0")
    if bed.server.process.poll() is not None and not bed.restarts():
        return met
    if ask(bed, bed.port, random_) < len(bed.ids) + len(bed.ledger.streams):
        bed.ledger.fault("refused", "%s is over, and not all is answered" % order)
    return met


def run(seed, rounds, a_round=a_round):
    """The ledger, how many failures were met."""
    folder, random_, met = tempfile.mkdtemp(prefix="parley-io-"), random.Random(seed), 0
    with fault_disk.mounted(folder, "data") as disk:
        bed = Bed(folder, *FLAGS, body_max=20000)
        for _ in range(rounds):
            met += a_round(bed, disk, random_)
            if bed.ledger.faults:
                break
        bed.close()
    say("%d failures below the real server: %s" % (met, bed.ledger.verdict()))
    if bed.ledger.faults:
        say("the data stays in " + os.path.join(folder, "disk"))
    else:
        shutil.rmtree(folder)
    return bed.ledger, met
