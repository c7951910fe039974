"""Memory that cannot be given back to the file system, as /proc/self/status has it."""

import threading
import time


def memory(name):
    """A line of /proc/self/status, in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name + ":"))


class AnonymousPeak(threading.Thread):
    """The kernel keeps a peak of resident memory, not of its anonymous part."""

    peak = 0

    def __init__(self):
        super().__init__(daemon=True)
        self.start()

    def run(self):
        while True:
            self.peak = max(self.peak, memory("RssAnon"))
            time.sleep(0.01)
