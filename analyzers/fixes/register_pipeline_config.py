"""`register-pipeline-config`: one more registration at the end of the registry's others.

Arguments: `path`, `function` (what registers), `module` and `config` (what to register), `folder`
(the package whose imports the new one joins), `detector` (the lowercased pipeline class), and, where
they are known, `workload`, `family`, `preset`.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.exports import Exports
from analyzers.fixes.texts import open_module

_WORKLOADS = "WorkloadType"


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the registrations do not stand in one function."""
    path, function = text_argument(arguments, "path"), text_argument(arguments, "function")
    config, module = text_argument(arguments, "config"), text_argument(arguments, "module")
    source, tree = open_module(read, path)
    holders = [
        node
        for node in tree.body
        if isinstance(node, cst.FunctionDef)
        and node.name.value != function
        and isinstance(node.body, cst.IndentedBlock)
        and any(_registers(line, function) for line in node.body.body)
    ]
    if len(holders) != 1:
        raise Refused(f"the registrations of {path} do not stand in one function")
    holder = holders[0]
    if m.findall(holder, m.Name(config)):
        raise Refused(f"'{config}' is registered already")
    parameters = _parameters(tree, function)
    text = _call(arguments, function, config, parameters, m.findall(tree, m.Name(_WORKLOADS)) != [])
    statement = cst.parse_statement(text, config=tree.config_for_parsing)
    body = list(holder.body.body)
    last = max(i for i, line in enumerate(body) if _registers(line, function))
    assert isinstance(statement, cst.SimpleStatementLine)
    body.insert(last + 1, statement)
    changed = tree.deep_replace(holder, holder.with_changes(body=holder.body.with_changes(body=body)))
    exports = Exports(path, text_argument(arguments, "folder"), cst.ensure_type(changed, cst.Module))
    return {path: source.restored(exports.with_import(module, config).tree.code)}


def _registers(line: cst.CSTNode, function: str) -> bool:
    return m.matches(line, m.SimpleStatementLine(body=[m.Expr(value=m.Call(func=m.Name(function)))]))


def _parameters(tree: cst.Module, function: str) -> dict[str, bool]:
    """The parameters of the registering function, and whether each has a default."""
    for node in tree.body:
        if isinstance(node, cst.FunctionDef) and node.name.value == function:
            given = [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]
            return {p.name.value: p.default is not None for p in given}
    raise Refused(f"'{function}' is not defined in the registry")


def _call(
    arguments: Mapping[str, JsonValue],
    function: str,
    config: str,
    parameters: Mapping[str, bool],
    workloads: bool,
) -> str:
    workload = arguments.get("workload")
    known = isinstance(workload, str) and workload.isidentifier() and workloads
    given = {
        "sampling_param_cls": "None",
        "pipeline_config_cls": config,
        "workload_types": f"({_WORKLOADS}.{str(workload).upper()}, )" if known else "()",
    }
    lines = [f"    {name}={value},\n" for name, value in given.items() if name in parameters]
    detector = text_argument(arguments, "detector")
    lines.append(f'    model_detectors=[\n        lambda path: "{detector}" in path.lower(),\n    ],\n')
    for name, key in (("model_family", "family"), ("default_preset", "preset")):
        value = arguments.get(key)
        if name in parameters and isinstance(value, str):
            lines.append(f'    {name}="{value}",\n')
    missing = [n for n, default in parameters.items() if not default and n not in given]
    if "model_detectors" not in parameters or missing:
        raise Refused(f"'{function}' takes other arguments than are known here")
    return f"{function}(\n{''.join(lines)})\n"
