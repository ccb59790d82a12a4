"""What processes have used, as the kernel counts it: CPU seconds, and memory."""
import glob
import os
import re
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")


def stat(pid):
    """The fields of /proc/PID/stat after the name, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return None


def all_pids():
    return [int(path.split("/")[2]) for path in glob.glob("/proc/[0-9]*/stat")]


def server_cpu(server):
    """Seconds that a server has used: its process, and its children, ended or not."""
    pid = server.pid
    while True:
        own = stat(pid)
        children = [fields for fields in map(stat, all_pids()) if fields and fields[1] == str(pid)]
        # Of a child that it has waited for since, the time was in neither, or in both.
        if stat(pid)[13:15] == own[13:15]:
            return (sum(map(int, own[11:15])) + sum(sum(map(int, fields[11:13])) for fields in children)) / TICK


def session(leader):
    """The pids of a session's processes, whoever their parents are by now."""
    return [pid for pid in all_pids() if (stat(pid) or [None] * 4)[3] == str(leader)]


def session_cpu(leader):
    """Seconds that a session's processes have used, and those of their children that have ended."""
    return sum(sum(map(int, (stat(pid) or [0] * 15)[11:15])) for pid in session(leader)) / TICK


def peak_mb(pid):
    """The kernel's own high-water mark, or None. (That of wait4 begins with the size of who forked: ours.)"""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            peak = re.search(r"VmHWM:\s+(\d+)", f.read())
    except OSError:
        return None
    return int(peak[1]) / 1024 if peak else None


def session_mb(leader):
    """The sum of its processes' high-water marks: pages that processes share count once for each."""
    return sum(peak_mb(pid) or 0 for pid in session(leader))


class MemoryWatch(threading.Thread):
    """Notes the high-water marks of processes until each has ended."""

    def __init__(self, pids):
        super().__init__()
        self.pids, self.peaks = set(pids), {}
        self.start()

    def run(self):
        while self.pids:
            for pid in list(self.pids):
                mb = peak_mb(pid)
                if mb:
                    self.peaks[pid] = mb
                else:
                    self.pids.discard(pid)
            time.sleep(0.02)

    def sum(self):
        self.join()
        return sum(self.peaks.values())
