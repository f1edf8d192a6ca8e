"""Commands run in this process: what they say, and whether they say it as they should."""

from __future__ import annotations

import contextlib
import io
import os

from refnet.cli import main

__all__ = ["LONGEST", "said_by"]

LONGEST = 4100  # letters of a line of an error: its text is cut at 2,000, as a name in it, and a path stands before it


def said_by(line: list[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command; raises what it does not foresee, and AssertionError for a finding.

    Findings are another status than 0, 1 and 2, what a terminal obeys, and more than a line on stderr, or none for 2.
    """
    os.environ["REFNET_TRACEBACK"] = "1"  # the unforeseen is raised again
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(line)
    if status not in (0, 1, 2):
        raise AssertionError(f"status {status}")
    for name, text in (("stdout", out.getvalue()), ("stderr", err.getvalue())):
        if any(not each.isprintable() for each in text.split("\n")):
            raise AssertionError(f"{name} has what a terminal obeys")
    if err.getvalue().count("\n") > 1 or (status == 2) != bool(err.getvalue()):
        raise AssertionError(f"status {status} and {err.getvalue().count(chr(10))} lines on stderr")
    return status, out.getvalue(), err.getvalue()
