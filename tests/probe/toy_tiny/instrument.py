"""Stands in for `ditproof_probe.taps.instrument`: an ask for each thing that can go wrong."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time

import torch

from ditproof_probe.problems import Stopped, problem


class Instrument:
    def __init__(self, twin):
        self.twin = twin
        self._number = 0

    def forward(self, x):
        self._number += 1
        return {"sum": float(self.twin.port(torch.tensor(x))), "number": self._number}

    def try_(self):
        return {"tried": True}

    def many(self, bytes):
        return {"text": "x" * bytes}

    def length(self, text):
        return {"length": len(text)}

    def wrong(self, what):
        return {"nan": {"value": float("nan")}, "tensor": {"value": torch.ones(1)}, "list": [1]}[what]

    def stopped(self):
        raise Stopped(problem("official", "forward", "ValueError", "no such case"))

    def ends(self, how):
        if how == "exit":
            os._exit(5)
        if how == "crash":
            ctypes.string_at(0)
        if how == "system exit":
            raise SystemExit(3)
        return {}

    def sleep(self, seconds, loner=None):
        if loner is not None:
            subprocess.Popen(loner, start_new_session=True)
        time.sleep(seconds)
        return {}

    def environment(self, name):
        return {"value": os.environ.get(name), "threads": torch.get_num_threads()}
