"""The disk of fault_fs.c, mounted."""
import contextlib
import json
import os
import subprocess
import time


def missing():
    """Why there can be no such disk here, or None."""
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse"
    if os.geteuid() != 0:
        return "not root"
    if not os.path.exists(os.path.join(os.environ["BUILD"], "fault_fs")):
        return "built without libfuse3"
    return None


class FaultDisk:
    def __init__(self, backing, mount):
        self.mount, self.control = mount, os.path.join(mount, ".fault")
        os.makedirs(backing)
        os.makedirs(mount)
        self.process = subprocess.Popen([os.path.join(os.environ["BUILD"], "fault_fs"), backing, mount])
        end = time.monotonic() + 10
        while not os.path.exists(self.control):
            assert self.process.poll() is None and time.monotonic() < end, "the disk was not mounted"
            time.sleep(0.01)

    def tell(self, command):
        fd = os.open(self.control, os.O_WRONLY)
        try:
            os.write(fd, (command + "\n").encode())
        finally:
            os.close(fd)

    def state(self):
        with open(self.control) as file:
            return json.loads(file.read())

    def cut(self, seed):
        """The power goes with the next durable write, or a moment later without one."""
        self.tell("cut %d" % seed)
        time.sleep(0.02)
        self.tell("off %d" % seed)

    def close(self):
        subprocess.run(["umount", "--lazy", self.mount], check=True)
        self.process.wait(timeout=30)


@contextlib.contextmanager
def mounted(folder, mount):
    disk = FaultDisk(os.path.join(folder, "disk"), os.path.join(folder, mount))
    try:
        yield disk
    finally:
        disk.close()
