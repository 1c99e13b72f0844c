"""Both models of one tiny comparison, and how each is run.

The official class is built from a small configuration (`shrinking`), every parameter gets random values
(`randomising`). The port is configured and constructed as FastVideo's `TransformerLoader` does it, on the
meta device, and takes the official weights through its own mapping (`loading`). What cannot be derived, a
recipe says (`recipe`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ditproof_probe import official_side, port_side
from ditproof_probe.meta_request import loaded_files
from ditproof_probe.problems import (
    Inside,
    Problem,
    Side,
    Stage,
    Stopped,
    from_exception,
    problem,
)
from ditproof_probe.tensors import copied, mapped
from ditproof_probe.tiny import construction, loading, recipe, shrinking
from ditproof_probe.tiny.randomising import randomise

OFFICIAL = "building the official model"
IMPORTING = "importing both models"
PORT = "building the port"
LOADING = "loading the weights"

_LONGEST_SETTING = 80


@dataclass(frozen=True)
class Model:
    """One side as it was built. `sites`: id of a module -> the frames that constructed it, innermost
    first."""

    module: torch.nn.Module
    config: dict[str, Any]
    sites: Mapping[int, tuple[construction.Frame, ...]]


@dataclass(frozen=True)
class _Plan:
    """All that both models are made from."""

    found: official_side.OfficialClass
    config: Mapping[str, Any]
    port: type[torch.nn.Module]
    module_name: str
    recipe: recipe.Recipe
    seed: int
    device: str
    inside: Inside


@dataclass(frozen=True)
class Twin:
    """Both models, with equal weights, ready to be run on equal inputs.

    `cases`: the names of the inputs, the plainest first; those that the port cannot take are in `problems`.
    Nothing is kept between runs: `inputs` gives fresh tensors each time, and equal ones.
    """

    plan: _Plan
    dtype: torch.dtype
    official_model: Model
    native_model: Model
    loaded: loading.Loaded
    dropped: list[list[str]]
    cases: tuple[str, ...]
    problems: tuple[Problem, ...]
    seconds: float

    @property
    def official(self) -> torch.nn.Module:
        """The model that is ported."""
        return self.official_model.module

    @property
    def port(self) -> torch.nn.Module:
        """The port."""
        return self.native_model.module

    @property
    def inside(self) -> Inside:
        """Whose files are the user's."""
        return self.plan.inside

    def inputs(self, case: str, dtype: torch.dtype | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of both forwards: fresh tensors, equal for equal arguments.

        Floating inputs have values that bfloat16 holds, so that runs in other dtypes have the same ones.
        `dtype`: of every floating tensor (None: the models' own); integers stay. Raises Stopped where the
        recipe fails, or names an argument that a forward does not take; KeyError for an unknown case.
        """
        plan = self.plan
        given = plan.recipe.call("inputs", None, self._case(case))
        official = mapped(_arguments(plan, self.official, given, "inputs"), _rounded)
        given = plan.recipe.call("port_inputs", official, mapped(official, copied), self._case(case))
        native = _arguments(plan, self.port, given, "port_inputs")
        dtype = self.dtype if dtype is None else dtype

        def placed(value: torch.Tensor) -> torch.Tensor:
            to = dtype if value.is_floating_point() else value.dtype
            return value.detach().clone().to(device=plan.device, dtype=to)

        return mapped(official, placed), mapped(native, placed)

    def run_official(self, kwargs: Mapping[str, Any], model: torch.nn.Module | None = None) -> Any:
        """A forward of the official model, or of a copy of it, without gradients. Raises what its code
        raises."""
        torch.manual_seed(self.plan.seed)
        with torch.no_grad():
            return (self.official if model is None else model)(**kwargs)

    def run_native(self, kwargs: Mapping[str, Any]) -> Any:
        """A forward of the port without gradients, within what FastVideo's stages set up. Raises what its
        code raises."""
        context: Any = importlib.import_module("fastvideo.forward_context")
        torch.manual_seed(self.plan.seed)
        with torch.no_grad(), context.set_forward_context(current_timestep=0, attn_metadata=None):
            return self.port(**kwargs)

    def outputs(self, official: Any, native: Any) -> tuple[Any, Any]:
        """What is to be compared of two results: as the recipe's `outputs` and `port_outputs` give it, the
        same objects where it has none.

        Raises Stopped for a container that is not known, or one without a tensor.
        """
        found = []
        for name, result in (("outputs", official), ("port_outputs", native)):
            given = self.plan.recipe.call(name, result, result)
            leaves = list(_leaves(given))
            unknown = [value for value in leaves if not isinstance(value, torch.Tensor)]
            if unknown or not leaves:
                side = "official" if name == "outputs" else "port's"
                what = type(unknown[0] if unknown else given).__name__
                raise self.plan.recipe.wrong(
                    f"What of the {side} result is to be compared is not known: it has "
                    + (f"a {what} in it." if unknown else f"no tensor (a {what})."),
                    name,
                    f"Define {name}(out) in the recipe: it returns a tensor, a tuple or a dict of tensors.",
                )
            found.append(given)
        return found[0], found[1]

    def to(self, dtype: torch.dtype) -> Twin:
        """Fresh copies of both models, constructed and loaded in another dtype; this one stays as it is.

        Both are wholly in it where their forwards run so, since what is compared is their code. Else what
        diffusers keeps in float32 stays so: on both sides, or, where the port does not run so, in the
        official model alone. A port that raises as FastVideo's own loader makes it is given back as that,
        so that whoever runs it hears of it. Raises Stopped as `build` does.
        """
        state = self.official.state_dict()
        cases = [case for case in self.cases if self._official_runs(case)]

        def made(official: tuple[str, ...], native: tuple[str, ...] | None) -> Twin:
            return _assembled(self.plan, dtype, state, lambda _: None, official, native)

        whole = made((), None)
        if whole._runs(cases):
            return whole
        kept = float32_modules(self.plan.found.cls)
        loaded = made(kept, ())
        if not kept or not loaded._runs(cases):
            return loaded
        alike = made(kept, kept)
        return alike if alike._runs(cases) else loaded

    def _runs(self, cases: Iterable[str]) -> bool:
        """Whether both forwards end; what they raise is told by whoever runs them for its result."""
        return all(self._official_runs(case) and self._native_runs(case) for case in cases)

    def _official_runs(self, case: str) -> bool:
        try:
            self.run_official(self.inputs(case)[0])
        except Exception:  # noqa: BLE001 - the user's code may raise anything
            return False
        return True

    def _native_runs(self, case: str) -> bool:
        try:
            self.run_native(self.inputs(case)[1])
        except Exception:  # noqa: BLE001 - the user's code may raise anything
            return False
        return True

    def _case(self, name: str) -> recipe.Case:
        return self.plan.recipe.case(name, self.official_model.config, self.plan.seed)


def build(
    request: Mapping[str, Any], root: str, code_base: str, inside: Inside, stage: Callable[[str], None]
) -> Twin:
    """Build both models of a request. `stage` is told what begins.

    The code base must be importable, and a world of one started (`fastvideo_side`). Raises Stopped.
    """
    name = request["port"]
    found_recipe = recipe.find(request.get("recipe"), name["class"])
    own = request.get("official") or {}
    ref = own.get("ref") or found_recipe.official
    if code_base != "fastvideo":
        raise Stopped(
            problem(
                "code base",
                "import",
                "UnknownCodeBase",
                f"How ports of {code_base} are built is not known.",
                next_step="Run the port's own parity test.",
            )
        )
    if ref is None:
        raise Stopped(
            problem(
                "official",
                "config",
                "NoOracle",
                f"Which official class {name['class']} is to be compared with is not known.",
                next_step="Name it: --official REF, [tool.ditproof.oracles], or OFFICIAL in the recipe.",
            )
        )
    stage(IMPORTING)
    path = list(sys.path)
    with _blamed("official", "import", inside):
        found = official_side.find_class(ref, root)
    sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
    config = _tiny_config(found, own.get("config"), found_recipe, inside)
    with _blamed("port", "import", inside):
        port = port_side.find_class(name["module"], name["class"])
    plan = _Plan(
        found,
        config,
        port,
        name["module"],
        found_recipe,
        int(request.get("seed") or 0),
        str(request.get("device") or "cpu"),
        inside,
    )
    return _assembled(plan, torch.float32, None, stage)


def describe(twin: Twin) -> dict[str, Any]:
    """The twin as JSON. Paths are absolute, lines count from 0."""
    return {
        "official": side_json(twin.official_model),
        "native": side_json(twin.native_model),
        "fillings": [[native, list(sources)] for native, sources in twin.loaded.fillings],
        "missing": list(twin.loaded.missing),
        "unexpected": list(twin.loaded.unexpected),
        "shapes": [[name, list(own), list(came)] for name, own, came in twin.loaded.shapes],
        "filled": list(twin.loaded.filled),
        "float32": list(float32_modules(twin.plan.found.cls)),
        "cases": list(twin.cases),
        "dropped": twin.dropped,
        "recipe": twin.plan.recipe.source,
        "problems": list(twin.problems),
        "files": sorted({*loaded_files(twin.inside), twin.plan.recipe.path}),
        "seconds": round(twin.seconds, 3),
    }


def _tiny_config(
    found: official_side.OfficialClass,
    given: Mapping[str, Any] | None,
    own: recipe.Recipe,
    inside: Inside,
) -> dict[str, Any]:
    with _blamed("official", "config", inside):
        start = {key: value for key, value in (given or {}).items() if not key.startswith("_")}
        tiny = shrinking.shrink({**official_side.defaults_of(found), **start})
    changed = own.call("config", tiny, tiny)
    if not isinstance(changed, Mapping) or not all(isinstance(key, str) for key in changed):
        raise own.wrong("config(tiny) returns no dict.", "config", "Return the dict: `return tiny`.")
    return dict(changed)


def _assembled(
    plan: _Plan,
    dtype: torch.dtype,
    state: Mapping[str, torch.Tensor] | None,
    stage: Callable[[str], None],
    official_kept: tuple[str, ...] = (),
    native_kept: tuple[str, ...] | None = None,
) -> Twin:
    """Both models in a dtype. `state`: the official values; None for random ones. `official_kept`,
    `native_kept`: parts of official names whose values stay in float32, in the official model and in the
    port, which also keeps what it selects itself; None: nothing of the port stays."""
    began = time.monotonic()
    stage(OFFICIAL)
    official = _official(plan, dtype, state, official_kept)
    stage(PORT)
    with _blamed("port", "config", plan.inside):
        made = port_side.configure(
            plan.port, plan.module_name, official.config, list(official.module.state_dict())
        )
        arch = made.config.arch_config
        plan.recipe.call("port_config", None, arch)
        if "port_config" in plan.recipe.functions and callable(getattr(arch, "__post_init__", None)):
            arch.__post_init__()
    with (
        _blamed("port", "build", plan.inside),
        construction.recorded() as sites,
        _default(dtype),
        torch.device("meta"),
    ):
        port = plan.port(config=made.config, hf_config=made.hf_config)
    stage(LOADING)
    with _blamed("port", "load", plan.inside):
        ignored = getattr(plan.found.cls, "_keys_to_ignore_on_load_unexpected", None) or ()
        source = state or official.module.state_dict()
        in_float32 = None if native_kept is None else [name for name in source if _is_kept(name, native_kept)]
        loaded = loading.load(port, source, tuple(ignored), dtype, plan.seed, in_float32)
        port.eval().to(plan.device)
    official.module.to(plan.device)
    fields: dict[str, Any] = port_side.as_json(vars(arch))
    refused = {case: plan.recipe.refused(case) for case in plan.recipe.cases}
    cases = tuple(case for case, reason in refused.items() if reason is None)
    if not cases:
        raise plan.recipe.wrong("LIMITS leaves no case.", None, "Add a case that the port takes to CASES.")
    return Twin(
        plan,
        dtype,
        official,
        Model(port, fields, sites),
        loaded,
        made.dropped,
        cases,
        tuple(_told(loaded, refused, plan)),
        time.monotonic() - began,
    )


def float32_modules(cls: type) -> tuple[str, ...]:
    """What diffusers keeps in float32 of an official class (`_keep_in_fp32_modules`): parts of names."""
    found = getattr(cls, "_keep_in_fp32_modules", None) or ()
    return (found,) if isinstance(found, str) else tuple(found)


def _official(
    plan: _Plan, dtype: torch.dtype, state: Mapping[str, torch.Tensor] | None, kept: tuple[str, ...]
) -> Model:
    with (
        _blamed("official", "build", plan.inside),
        construction.recorded() as sites,
        _default(dtype),
        torch.no_grad(),
    ):
        model = official_side.build(plan.found, plan.config, "cpu")
        if state is None:
            randomise(model, plan.seed)
        else:
            copied = {
                name: tensor.detach().to(
                    dtype if tensor.is_floating_point() and not _is_kept(name, kept) else tensor.dtype,
                    copy=True,
                )
                for name, tensor in state.items()
            }
            model.load_state_dict(copied, assign=True)
        model.eval().requires_grad_(False)
        config = official_side.config_of(model, plan.found, plan.config)
    return Model(model, config, sites)


def _is_kept(name: str, kept: tuple[str, ...]) -> bool:
    """As diffusers compares them (`models/model_loading_utils.py`)."""
    return any(part in kept for part in name.split("."))


def _told(loaded: loading.Loaded, refused: Mapping[str, str | None], plan: _Plan) -> Iterator[Problem]:
    path, line = _class_place(plan.port)
    for names, text in (
        (loaded.missing, "FastVideo's strict load refuses the port: nothing fills {}."),
        (loaded.unexpected, "FastVideo's strict load refuses the port: it has no {}."),
        (
            [f"{name} ({list(own)}, and {list(came)} comes)" for name, own, came in loaded.shapes],
            "FastVideo's strict load refuses the port: the shape differs of {}.",
        ),
    ):
        if names:
            yield problem(
                "port",
                "load",
                "StrictLoad",
                text.format(_few(names)) + " What could be loaded was, the rest has random values.",
                path=path,
                line=line,
                next_step="Mend param_names_mapping first: `ditproof weights` names the rule.",
            )
    for case, reason in refused.items():
        if reason is not None:
            yield problem(
                "port",
                "recipe",
                "CaseRefused",
                f"The case {case} was not run: {reason}",
                path=plan.recipe.path,
            )


def _few(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _blamed(side: Side, stage: Stage, inside: Inside) -> Iterator[None]:
    """What the user's code raises inside is Stopped, with its record."""
    try:
        yield
    except Stopped:
        raise
    except BaseException as error:
        raise Stopped(from_exception(error, side, stage, inside)) from error


def _arguments(plan: _Plan, model: torch.nn.Module, given: Any, name: str) -> dict[str, Any]:
    """The arguments of a forward, checked against its signature. Raises Stopped."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise plan.recipe.wrong(
            f"{name} returns no dict from argument names to tensors, but a {type(given).__name__}.", name
        )
    parameters = inspect.signature(model.forward).parameters
    kinds = {key: each.kind for key, each in parameters.items()}
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    takes = [key for key, kind in kinds.items() if kind not in starred]
    side = "official" if name == "inputs" else "port's"
    # What a port's **kwargs would swallow unread is only passed where the recipe says so itself.
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds.values() and name in plan.recipe.functions
    unknown = [] if takes_any else [key for key in given if key not in takes]
    if unknown:
        raise plan.recipe.wrong(
            f"The {side} forward takes no {', '.join(unknown)}; it takes {', '.join(takes)}.",
            name,
            f"Return in {name} what that forward takes; port_inputs(inputs, case) gives the port its own.",
        )
    lacking = [
        key for key in takes if key not in given and parameters[key].default is inspect.Parameter.empty
    ]
    if lacking:
        raise plan.recipe.wrong(
            f"The {side} forward asks for {', '.join(lacking)} too.",
            name,
            f"Return {' and '.join(lacking)} in {name}.",
        )
    return dict(given)


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.bfloat16).to(tensor.dtype) if tensor.is_floating_point() else tensor


def _leaves(value: Any) -> Iterator[Any]:
    """Tensors below a value, and what is neither one nor a container."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _leaves(getattr(value, field.name))
    elif value is not None:
        yield value


def side_json(model: Model) -> dict[str, Any]:
    """One side of what was built. Paths are absolute, lines count from 0."""
    path, line = _class_place(type(model.module))
    return {
        "modules": [
            {
                "name": name,
                "cls": type(module).__name__,
                "path": place[0],
                "line": place[1],
                "built_at": [list(frame) for frame in model.sites.get(id(module), ())],
                "parameters": [own for own, _ in module.named_parameters(recurse=False)],
                "settings": _settings(module),
            }
            for name, module in model.module.named_modules()
            for place in [_forward_place(type(module))]
        ],
        "class": type(model.module).__name__,
        "path": path,
        "line": line,
        "config": port_side.as_json(model.config),
    }


def _class_place(cls: type) -> tuple[str | None, int | None]:
    """File and line of a class. Asking `inspect` parses the whole file, which takes longer than building
    the model; it is asked where the line is not plain."""
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if path is not None:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = Path(path).read_text(encoding="utf-8")
            found = list(re.finditer(rf"^class {re.escape(cls.__name__)}\b", text, re.MULTILINE))
            if len(found) == 1:
                return os.path.abspath(path), text.count("\n", 0, found[0].start())  # noqa: PTH100
    return port_side.place(cls)


def _forward_place(cls: type[torch.nn.Module]) -> tuple[str | None, int | None]:
    """Where a class defines `forward`; nothing for one that has none."""
    forward = inspect.unwrap(cls.forward)
    code = getattr(forward, "__code__", None)
    if code is None or forward is torch.nn.Module.forward:
        return None, None
    return os.path.abspath(code.co_filename), code.co_firstlineno - 1  # noqa: PTH100


def _settings(module: torch.nn.Module) -> dict[str, str]:
    """Plain attributes of a module as text."""
    return {
        name: text
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and _is_plain(value)
        for text in [repr(value)]
        if len(text) <= _LONGEST_SETTING
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str, torch.dtype))
