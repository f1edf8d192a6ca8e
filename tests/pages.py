"""The pages of the docs: their blocks are run from top to bottom, and what they print is held against what is shown.

A block of Python is followed by a block `output` with what it prints; a block `console` has commands, each after `$ `
and followed by what it prints. `...` stands for what is not the same on every machine, and for lines that are left out.
Commands of refnet run in this process, others in a shell; a block that asks for a program that is not there is passed
over, and so is the rest of its page.

    python tests/pages.py docs/learn/*.md     shows every difference
    python tests/pages.py --write PAGE ...    writes what is printed into the pages
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

import refnet
from refnet.cli import main

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n\n```output\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)
_CHECKOUT = Path(__file__).parents[1]
_CHECKER = doctest.OutputChecker()


class Printed(NamedTuple):
    """What a block prints, and what the page shows of it.

    Attributes
    ----------
    line : of the page, where the block begins
    shown, printed : the two
    span : of the page's text, where the block and its output stand
    text : the same with what is printed
    """

    line: int
    shown: str
    printed: str
    span: tuple[int, int]
    text: str

    @property
    def same(self) -> bool:
        """Whether the page shows what is printed."""
        return _CHECKER.check_output(_trimmed(self.shown), _trimmed(self.printed), doctest.ELLIPSIS)


def run_page(page: Path) -> Iterator[Printed]:
    """Run a page's blocks in one namespace, in a folder of their own."""
    names: dict[str, object] = {"__name__": "docs"}
    text = page.read_text(encoding="utf-8")
    for block in _FENCE.finditer(text):
        kind, code, shown = block.groups()
        line = text[: block.start(2)].count("\n")
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile("\n" * line + code, str(page), "exec"), names)
            head = f"```python\n{code}```"
            made = f"{head}\n\n```output\n{_trimmed(out.getvalue())}```" if out.getvalue().strip() else head
            yield Printed(line, shown or "", out.getvalue(), block.span(), made)
        elif kind == "console":
            commands = list(_COMMAND.finditer(code))
            if not all(map(_there, commands)):
                return
            ends = [*(each.start() for each in commands[1:]), len(code)]
            shown = "".join(code[each.end() : end] for each, end in zip(commands, ends, strict=True))
            printed = [_command(each[1].replace("\\\n", " ")) for each in commands]
            made = "".join(each[0] + _trimmed(one) for each, one in zip(commands, printed, strict=True))
            yield Printed(line, shown, "".join(map(_trimmed, printed)), block.span(), f"```console\n{made}```")


def _there(command: re.Match[str]) -> bool:
    program = command[1].split()[0]
    return program == "refnet" or program.startswith("./") or shutil.which(program) is not None


def _command(line: str) -> str:
    """What a command prints."""
    program, *words = shlex.split(line)
    if program != "refnet":
        done = subprocess.run(line, shell=True, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(out),
        contextlib.suppress(SystemExit),
    ):
        main(words)
    return out.getvalue()


@contextlib.contextmanager
def folder_of(page: Path, folder: Path) -> Iterator[None]:
    """Stand in a folder that has the docs' C, and the files that a page takes for its reader's own."""
    (folder / "docs").symlink_to(_CHECKOUT / "docs")
    with contextlib.chdir(folder):
        if page.name == "README.md":
            _readers_files()
        yield


def _readers_files() -> None:
    """A port with one mistake, a trained network and two exports of it, one of which lost a bias."""
    graph = refnet.build("torchvision/mobilenet_v3_small")
    wrong = replace(node := graph["block4.depthwise"], attrs={**node.attrs, "pad": ((1, 2), (1, 2))})
    port = refnet.Network(graph.replaced(node.name, wrong), refnet.random_params(graph))
    Path("my_ports_tensors").mkdir()
    for name, y in port.trace(refnet.probe(graph)).items():
        np.save(f"my_ports_tensors/{name}.npy", y)

    graph = refnet.build("torchvision/mobilenet_v3_small", width=0.25, size=32)
    params = refnet.random_params(graph)
    refnet.write_weights(graph, params, "trained.pth")
    refnet.convert("trained.pth", "exported.onnx", fold=True)
    gate = graph["block1.se.expand"]
    without = replace(gate, params={"w": gate.params["w"]})
    del params["block1.se.expand.b"]
    refnet.write_weights(graph.replaced(gate.name, without), params, "broken.onnx")


def _trimmed(text: str) -> str:
    """Without blanks at the ends of lines, and with one end of line."""
    lines = [line.rstrip() for line in text.rstrip().split("\n")] if text.strip() else []
    return "".join(f"{line}\n" for line in lines)


def _main(words: list[str]) -> int:
    write, pages, different = "--write" in words, [Path(each).resolve() for each in words if each != "--write"], 0
    for page in pages:
        text, made, end = page.read_text(encoding="utf-8"), "", 0
        with tempfile.TemporaryDirectory() as folder, folder_of(page, Path(folder)):
            for each in run_page(page):
                made += text[end : each.span[0]] + (text[slice(*each.span)] if each.same else each.text)
                end = each.span[1]
                if not each.same and not write:
                    different += 1
                    sys.stderr.write(f"{page.name}:{each.line + 1} prints\n{each.printed}")
        if write and made + text[end:] != text:
            page.write_text(made + text[end:], encoding="utf-8")
    return int(different > 0)


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "100")
    raise SystemExit(_main(sys.argv[1:]))
