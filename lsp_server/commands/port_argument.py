"""PORT on the command line: a class name, a file, or `file::Class`."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from analyzers.project.index import Project
from analyzers.project.ports import Port
from lsp_server.commands.exits import CommandError
from lsp_server.commands.workspace import inside_root


def paths_in(argument: str) -> tuple[str, ...]:
    """The path that an argument names, to find the tree by; none where it is a class name."""
    named = argument.partition("::")[0]
    return () if named.isidentifier() and not Path(named).exists() else (named,)


def port_called(ports: Sequence[Port], name: str) -> Port | None:
    """The port of that class name, None where there is none.

    Raises `CommandError` where several files have one.
    """
    found = [port for port in ports if port.name == name]
    if len(found) > 1:
        places = ", ".join(port.location.path for port in found)
        raise CommandError(f"several ports are called {name}: {places}.", f"name one as FILE::{name}.")
    return found[0] if found else None


def find_port(project: Project, argument: str) -> Port:
    """The port that an argument names.

    Raises `CommandError` where there is none, or where a file has several.
    """
    named, _, cls = argument.partition("::")
    ports = project.ports
    if not paths_in(argument):
        port = port_called(ports, named)
        if port is None:
            raise unknown_port(ports, named)
        return port
    path = inside_root(project.root, named)
    inside = [
        port for port in ports if port.location.path == path or port.location.path.startswith(path + "/")
    ]
    if cls:
        chosen = [port for port in inside if port.name == cls]
        if not chosen:
            raise CommandError(f"{path} has no port called {cls}.", _named_there(inside))
        inside = chosen
    if len(inside) == 1:
        return inside[0]
    if not inside:
        raise CommandError(
            f"{path} defines no port.",
            f"a port is a class that derives from {project.profile.base_dit.rpartition('.')[2]} and has a "
            "forward; `ditproof ports` lists them.",
        )
    raise CommandError(f"{path} defines several ports.", _named_there(inside))


def unknown_port(ports: Sequence[Port], name: str) -> CommandError:
    """No file and no port is called like that."""
    names = [port.name for port in ports]
    close = [own for own in names if name.casefold() in own.casefold()] if len(name) > 2 else []
    close = close if len(close) == 1 else get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return CommandError(
        f"'{name}' is neither a file nor a port of this tree.", f"{hint}`ditproof ports` lists the ports."
    )


def _named_there(ports: Sequence[Port]) -> str:
    if not ports:
        return "`ditproof ports` lists the ports."
    names = ", ".join(f"{port.location.path}::{port.name}" for port in ports)
    return f"name one: {names}."
