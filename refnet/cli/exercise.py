"""refnet exercise: what to write, and how a reader's file did."""

from __future__ import annotations

import argparse

from refnet.cli.common import Command, print_json, say, seconds_argument
from refnet.errors import RequestError
from refnet.report.exercises import grade_document, grade_lines, task_lines
from refnet.study.exercises import EXERCISES, exercise_of
from refnet.study.grades import grade
from refnet.study.reader import answers_of_file
from refnet.text import table


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("exercise", nargs="?", help="its name; without one, all are listed")
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE.py",
        help="your file, with a function of that name: it is run as your own code",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random cases (0)")
    seconds_argument(parser, "for how long your function may run, all cases together (60)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """List the exercises, say what one asks for, or grade a file."""
    if options.exercise is None:
        if options.json:
            print_json([{"name": each.name, "call": each.call, "line": each.line} for each in EXERCISES.values()])
            return 0
        say(table(("exercise", "arguments", "what it does"), [(e.name, e.call, e.line) for e in EXERCISES.values()], 3))
        return 0
    chosen = exercise_of(options.exercise)
    if options.seed < 0:
        raise RequestError(f"--seed {options.seed}: take a whole number from 0 on")
    if options.file is None:
        say("\n".join(task_lines(chosen)))
        return 0
    answers = answers_of_file(chosen, options.file, seed=options.seed, seconds=options.seconds)
    found = grade(chosen, chosen.cases(options.seed), answers)
    if options.json:
        print_json(grade_document(found))
    else:
        say("\n".join(grade_lines(found)))
    return 0 if found.passed else 1


COMMAND = Command("exercise", "grade a function that you wrote, and name its mistake", _arguments, _run)
