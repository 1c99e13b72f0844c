"""The edits of the contract rules: styles they keep, and what they refuse."""

from __future__ import annotations

import pytest

from analyzers.findings import JsonValue
from analyzers.fixes.base import Refused, find_operation

PATH = "fastvideo/models/dits/echo.py"


def run(operation: str, text: str, **arguments: JsonValue) -> str:
    """The text after the operation."""
    given: dict[str, JsonValue] = {"path": PATH, "class": "Echo", **arguments}
    return find_operation(operation)(given, {PATH: text}.get)[PATH]


def copied(text: str, makers: tuple[str, ...] = ("EchoConfig", "EchoArchConfig")) -> str:
    return run(
        "copy-class-attribute",
        text,
        attribute="param_names_mapping",
        config="EchoConfig",
        module="fastvideo.configs.models.dits.echo",
        makers=list(makers),
    )


IMPORT = "from fastvideo.configs.models.dits.echo import EchoConfig\n"


def test_copy_takes_the_expression_that_the_class_copies_from() -> None:
    head = "from x import EchoArchConfig as Arch, EchoConfig\n\n\n"
    text = f"{head}class Echo(BaseDiT):\n    _compile_conditions = Arch()._compile_conditions  # both\n"
    assert copied(text) == f"{text}    param_names_mapping = Arch().param_names_mapping\n"


def test_copy_leaves_another_configs_instance_alone() -> None:
    head = f"{IMPORT}from x import OtherConfig\n\n\n"
    text = f"{head}class Echo(BaseDiT):\n    _compile_conditions = OtherConfig()._compile_conditions\n"
    assert copied(text) == f"{text}    param_names_mapping = EchoConfig().param_names_mapping\n"


def test_copy_uses_the_modules_constant() -> None:
    text = f"{IMPORT}\n_CFG: EchoConfig = EchoConfig()\n\n\nclass Echo(BaseDiT):\n    pass\n"
    assert copied(text).endswith("class Echo(BaseDiT):\n    param_names_mapping = _CFG.param_names_mapping\n")


def test_copy_adds_the_import_after_the_others() -> None:
    text = (
        '"""Echo."""\nfrom __future__ import annotations\n\nimport torch\nfrom torch import nn\n\n\n'
        'class Echo(nn.Module):\n    """Repeats."""\n\n    def forward(self):\n        return 1\n'
    )
    assert copied(text) == (
        '"""Echo."""\nfrom __future__ import annotations\n\nimport torch\nfrom torch import nn\n'
        f"{IMPORT}\n\n"
        'class Echo(nn.Module):\n    """Repeats."""\n'
        "    param_names_mapping = EchoConfig().param_names_mapping\n\n"
        "    def forward(self):\n        return 1\n"
    )


def test_copy_replaces_a_value_and_keeps_annotation_and_comment() -> None:
    text = f"{IMPORT}\nclass Echo(BaseDiT):\n    param_names_mapping: dict = {{\n    }}  # later\n"
    assert copied(text) == (
        f"{IMPORT}\nclass Echo(BaseDiT):\n"
        "    param_names_mapping: dict = EchoConfig().param_names_mapping  # later\n"
    )


def test_copy_keeps_windows_line_ends() -> None:
    text = f"{IMPORT}\nclass Echo(BaseDiT):\n    _compile_conditions = []\n".replace("\n", "\r\n")
    assert copied(text) == f"{text}    param_names_mapping = EchoConfig().param_names_mapping\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "class Echo(BaseDiT):\n    param_names_mapping = other = {}\n",
        "class Echo(BaseDiT):\n    param_names_mapping = {}; other = {}\n",
        "class Echo(BaseDiT):\n    param_names_mapping = {}\n    param_names_mapping = {}\n",
        "class Echo(BaseDiT):\n    pass\n\n\nclass Echo(BaseDiT):\n    pass\n",
        "EchoConfig = make()\n\n\nclass Echo(BaseDiT):\n    pass\n",
        "def other():\n    pass\n",
        "class Echo(BaseDiT:\n    pass\n",
    ],
)
def test_copy_refuses(text: str) -> None:
    with pytest.raises(Refused):
        copied(text)


# --------------------------------------------------------------------------- __init__


def test_call_comes_last_and_uses_the_instances_name() -> None:
    begin = (
        "class Echo:\n    def __init__(this):\n        def hook():\n            return 1\n\n"
        "        if hook():\n            this.a = 1\n"
    )
    end = "        # done\n\n    def other(self):\n        return 2\n"
    assert run("call-post-init", begin + end) == f"{begin}        this.__post_init__()\n{end}"


@pytest.mark.parametrize(
    "body",
    [
        "        if x:\n            return\n        self.a = 1\n",
        "        return\n",
        "        raise NotImplementedError\n",
    ],
)
def test_call_is_refused_where_it_would_not_run(body: str) -> None:
    with pytest.raises(Refused):
        run("call-post-init", f"class Echo:\n    def __init__(self, x):\n{body}")


def test_call_is_refused_without_an_init() -> None:
    with pytest.raises(Refused):
        run("call-post-init", "class Echo:\n    pass\n")


# --------------------------------------------------------------------------- __post_init__


def test_parent_call_comes_after_the_docstring() -> None:
    text = 'class Echo(A):\n    def __post_init__(self):\n        "Doc."\n        # why\n        self.a = 1\n'
    assert run("call-parent-post-init", text, slots=False) == (
        'class Echo(A):\n    def __post_init__(self):\n        "Doc."\n        super().__post_init__()\n'
        "        # why\n        self.a = 1\n"
    )


def test_parent_call_in_a_one_line_body() -> None:
    text = "class Echo(A):\n    def __post_init__(self): self.a = 1; self.b = 2\n"
    assert run("call-parent-post-init", text) == (
        "class Echo(A):\n    def __post_init__(self):\n        super().__post_init__()\n"
        "        self.a = 1\n        self.b = 2\n"
    )


def test_parent_call_names_the_class_where_slots_or_the_file_do() -> None:
    text = "class Echo(A):\n  def __post_init__(me):\n    me.a = 1\n"
    wanted = "class Echo(A):\n  def __post_init__(me):\n    super(Echo, me).__post_init__()\n    me.a = 1\n"
    assert run("call-parent-post-init", text, slots=True) == wanted
    other = "class B(A):\n  def __post_init__(self):\n    super(B, self).__post_init__()\n"
    assert run("call-parent-post-init", text + other) == wanted + other
