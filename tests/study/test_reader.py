"""A reader's file, run in another process: what it does there is told in a sentence, and nothing of ours breaks."""

from __future__ import annotations

import json

import pytest
from data.exercises.exam import right_code, wrong_code

from refnet.cli import main


@pytest.fixture
def graded(tmp_path, capfd):
    def run(name, code, *options):
        path = tmp_path / "my.py"
        path.write_text(code)
        status = main(["exercise", name, str(path), *options])
        out, err = capfd.readouterr()
        return status, out, err

    return run


def test_a_right_file_passes(graded):
    status, out, err = graded("depthwise", dict(right_code("depthwise"))["taps"])
    assert (status, out, err) == (0, "depthwise: right, in all of 20 cases\n", "")


def test_a_wrong_file_has_its_mistake_named(graded):
    status, out, _ = graded("depthwise", dict(wrong_code("depthwise"))["a true convolution"])
    assert status == 1
    assert "the kernel is turned by 180 degrees [kernel-flip]" in out


def test_programs_read_the_grade_as_json(graded):
    status, out, _ = graded("fold", dict(wrong_code("fold"))["the mean forgotten"], "--json")
    found = json.loads(out)
    assert status == 1
    assert not found["passed"]
    assert found["mistakes"][0][0]["id"] == "bn-fold-bias"


def test_a_file_may_import_what_lies_beside_it(graded, tmp_path):
    (tmp_path / "beside.py").write_text("import numpy as np\n\ndef gate(x):\n    return np.clip(x / 6 + 0.5, 0, 1)\n")
    status, *_ = graded("hard_sigmoid", "from beside import gate as hard_sigmoid\n")
    assert status == 0


BODIES = {
    "while True:\n        pass": "does not end: it was stopped after 1 seconds",
    "import os\n    os._exit(7)": "it ends Python (exit status 7)",
    "import sys\n    sys.exit(7)": "it raises SystemExit: 7, in line 3: sys.exit(7)",
    "y = x + 1\n    return y['a']": "it raises IndexError",
    "return": "it returns nothing: end it with return y",
    "import numpy as np\n    return np.ones(1 << 44)": "it raises",
    "input()": "it raises EOFError",
    "raise KeyboardInterrupt": "it raises KeyboardInterrupt",
    "x[:] = 0\n    return x": "it changes x",
}


@pytest.mark.parametrize("body", BODIES)
def test_what_a_function_does_instead_of_answering_is_told(graded, body):
    status, out, err = graded(
        "hard_swish", f"def hard_swish(x):\n    {body}\n", *(("--seconds", "1") if "while" in body else ())
    )
    assert status == 1
    assert BODIES[body] in out
    assert "Traceback" not in out + err


FILES = {
    "def hard_swish(x)\n    return x\n": "line 1: SyntaxError",
    "import nothing_of_the_kind\n": "line 1: ModuleNotFoundError",
    "x = 1\nx[2]\n": "line 2: TypeError",
    "def swish(x):\n    return x\n": "it has no function hard_swish, but swish",
    "hard_swish = 3\n": "it has no function hard_swish, but none",
    "def hard_swish(x, y):\n    return x\n": "write hard_swish(x)",
    "raise SystemExit(3)\n": "SystemExit: 3",
}


@pytest.mark.parametrize("code", FILES)
def test_a_file_that_cannot_be_graded_is_refused_in_one_line(graded, code):
    status, out, err = graded("hard_swish", code)
    assert (status, out) == (2, "")
    assert FILES[code] in err
    assert err.count("\n") == 1


def test_a_file_that_is_not_there_is_refused(capsys, tmp_path):
    assert main(["exercise", "hard_swish", str(tmp_path / "my.py")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_what_a_file_prints_is_no_part_of_the_answer(graded):
    status, out, err = graded("hard_sigmoid", 'print("here")\n' + dict(right_code("hard_sigmoid"))["clip"])
    assert status == 0
    assert out == "hard_sigmoid: right, in all of 20 cases\n"
    assert "here" in err


def test_exercises_are_listed_and_described(capsys):
    assert main(["exercise"]) == 0
    assert "squeeze_excite" in capsys.readouterr().out
    assert main(["exercise", "same-padding"]) == 0
    assert "def same_padding(size, kernel, stride, dilation):" in capsys.readouterr().out
    assert main(["exercise", "depthwise", "--seed", "-1"]) == 2
