"""What a recipe may define, as the help of `ditproof trace` tells it; docs/recipes.md says it at length."""

from __future__ import annotations

RECIPE_HELP = """\b
A recipe says which inputs the models take. It is a Python file that imports
nothing of ditproof, in .ditproof/recipes/, and may define:
  OFFICIAL           the official class: diffusers:Class, package.module:Class
                     or path/to/file.py::Class
  PORT               the port's class name, or a tuple of names
  inputs(case)       needed: {argument of the official forward: value}
  config(tiny)       the official configuration to use, made from the small one
  port_inputs(inputs, case)
                     the port's arguments, made from the official ones
  outputs(out), port_outputs(out)
                     the tensors to compare, of what each side returned
  port_config(arch)  sets attributes of the port's arch config
  CASES              {name: settings}, the plainest first
  LIMITS             {setting: the most that the port takes, or (that, "why")}

\b
In them, case has:
  case.config        the small official configuration
  case.batch, case.frames, case.height, case.width, case.text
                     sizes of the inputs
  case.get(name, default)
                     any setting of the case
  case.randn(*shape), case.uniform(low, high, *shape),
  case.randint(low, high, *shape), case.arange(count), case.mask(*shape)
                     values that are the same in every run
"""
