"""Stands in for `ditproof_probe.tiny.building`: the port's class is the model, on both sides."""

from __future__ import annotations

import importlib
import os
from types import SimpleNamespace

from ditproof_probe.problems import Stopped, problem
from ditproof_probe.tiny import session


def build(request, root, code_base, inside, stage):
    stage("building the port")
    if request["seed"] == -1:
        session.SILENCE = 0.3
    if request["recipe"] is not None:
        raise Stopped(problem("port", "recipe", "NoRecipe", "There is no recipe.", next_step="Write one."))
    module = importlib.import_module(request["port"]["module"])
    return SimpleNamespace(port=getattr(module, request["port"]["class"])(), seed=request["seed"])


def describe(twin):
    return {"seed": twin.seed, "class": type(twin.port).__name__, "pid": os.getpid()}
