"""The pages of the docs: their blocks are run from top to bottom, and what they print is held against what is shown.

A block of Python is followed by a block `output` with what it prints; a block `console` has commands, `$ refnet ...`,
each followed by what it prints. `...` stands for what is not the same on every machine.

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
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from refnet.cli import main

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n\n```output\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ refnet ?(.*(?:\\\n.*)*)\n", re.MULTILINE)
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
            ends = [*(each.start() for each in commands[1:]), len(code)]
            shown = "".join(code[each.end() : end] for each, end in zip(commands, ends, strict=True))
            printed = [_command(shlex.split(each[1].replace("\\\n", " "))) for each in commands]
            made = "".join(each[0] + _trimmed(one) for each, one in zip(commands, printed, strict=True))
            yield Printed(line, shown, "".join(map(_trimmed, printed)), block.span(), f"```console\n{made}```")


def _command(words: list[str]) -> str:
    """What a command prints."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(out),
        contextlib.suppress(SystemExit),
    ):
        main(words)
    return out.getvalue()


def _trimmed(text: str) -> str:
    """Without blanks at the ends of lines, and with one end of line."""
    lines = [line.rstrip() for line in text.rstrip().split("\n")] if text.strip() else []
    return "".join(f"{line}\n" for line in lines)


def _main(words: list[str]) -> int:
    write, pages, different = "--write" in words, [Path(each).resolve() for each in words if each != "--write"], 0
    for page in pages:
        text, made, end = page.read_text(encoding="utf-8"), "", 0
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
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
