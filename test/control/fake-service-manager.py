#!/usr/bin/env python3
"""A service manager for tests: starts a program with a NOTIFY_SOCKET, keeps the descriptors that it sends (FDSTORE=1), and passes them to the next start.

  fake-service-manager.py SOCKET PROGRAM ARGS...

Commands on standard input: "start", "kill" (SIGKILL), "stop" (SIGTERM, then waits), "end". One JSON line for everything that happens.
"""
import array
import json
import os
import selectors
import signal
import socket
import sys

FIRST = 3


def say(**event):
    print(json.dumps(event), flush=True)


class Manager:
    def __init__(self, path, command):
        self.path, self.command = path, command
        self.pid = None
        self.store = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)

    def start(self):
        pid = os.fork()
        if pid == 0:
            self.become_service()
        self.pid = pid
        say(event="started", pid=pid, descriptors=[name for name, _ in self.store])

    def become_service(self):
        # Copies above all of ours first, so that none overwrites another.
        copies = [os.dup2(descriptor, 100 + i) for i, (_, descriptor) in enumerate(self.store)]
        for i, descriptor in enumerate(copies):
            os.dup2(descriptor, FIRST + i, inheritable=True)
        os.closerange(FIRST + len(copies), 200)
        environment = {**os.environ, "NOTIFY_SOCKET": self.path}
        if copies:
            names = ":".join(name for name, _ in self.store)
            environment.update(LISTEN_FDS=str(len(copies)), LISTEN_FDNAMES=names, LISTEN_PID=str(os.getpid()))
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.execvpe(self.command[0], self.command, environment)

    def end(self, number):
        if self.pid is None:
            return
        os.kill(self.pid, number)
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        self.drain()
        say(event="ended", code=os.waitstatus_to_exitcode(status))

    def drain(self):
        while True:
            try:
                self.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return

    def receive(self, flags=0):
        text, ancillary, _, _ = self.socket.recvmsg(4096, 1024, flags)
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data)
        fields = dict(line.split("=", 1) for line in text.decode().splitlines())
        name = fields.get("FDNAME", "stored")
        if "FDSTORE" in fields:
            self.store += [(name, descriptor) for descriptor in descriptors]
        elif "FDSTOREREMOVE" in fields:
            for stored, descriptor in self.store:
                if stored == name:
                    os.close(descriptor)
            self.store = [pair for pair in self.store if pair[0] != name]
        say(event="heard", fields=fields, store=[stored for stored, _ in self.store])


def main():
    manager = Manager(sys.argv[1], sys.argv[2:])
    say(event="ready")
    selector = selectors.DefaultSelector()
    selector.register(manager.socket, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is manager.socket:
                manager.receive()
                continue
            word = sys.stdin.readline().strip()
            if word == "start":
                manager.start()
            elif word == "kill":
                manager.end(signal.SIGKILL)
            elif word == "stop":
                manager.end(signal.SIGTERM)
            else:
                manager.end(signal.SIGTERM)
                return


main()
