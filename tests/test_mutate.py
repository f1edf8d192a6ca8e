"""The mutator makes the mistakes that it says it makes, and says of each whether a test saw it."""

from __future__ import annotations

import ast
import sys

import executed
import mutate
import pytest
from mutations import mutants


def changes(source: str) -> set[tuple[str, str]]:
    """(before, after) of every mutant, each of which compiles and is the module but for that."""
    found = mutants(source, "toy.py")
    for mutant in found:
        assert mutant.source != ast.unparse(ast.parse(source))
        compile(mutant.source, "toy.py", "exec")
    return {(mutant.before, mutant.after) for mutant in found}


def afters(source: str) -> set[str]:
    """What a function's only statement becomes."""
    return {after for _, after in changes(f"def f(a, b, c):\n    {source}")}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("y = a < b", {"y = a <= b", "y = a >= b"}),
        ("y = a == b", {"y = a != b"}),
        ("y = a < b <= c", {"y = a <= b <= c", "y = a >= b <= c", "y = a < b < c", "y = a < b > c"}),
        ("y = a * b + c", {"y = a / b + c", "y = a * b - c"}),
        ("y = (a + b) * c", {"y = (a - b) * c", "y = (a + b) / c"}),
        ("y = a and b", {"y = a or b", "y = a", "y = b"}),
        ("y = not a", {"y = a"}),
        ("y = [3, 0.5, True]", {"y = [4, 0.5, True]", "y = [3, 1.0, True]", "y = [3, 0.5, False]"}),
        ("y = np.maximum(a, b)", {"y = np.minimum(a, b)"}),
        ("y = abs(a)", {"y = a"}),
        ("y = f(a, b, key=c)", {"y = f(b, a, key=c)", "y = f(a, b)"}),
        ("y = a if b else c", {"y = a if not b else c"}),
        ("y = [x for x in a if x]", {"y = [x for x in a if not x]", "y = [x for x in a if True]"}),
        ("a += b", {"pass", "a -= b"}),
        ("a = b", {"pass"}),
        ("a.x = b", {"pass"}),
        ("a.append(b)", {"pass"}),
        ("return a", {"return None"}),
        ("raise ValueError(1 + 1)", {"pass"}),
        ("if a > b: f(c)", {"if a >= b:", "if a <= b:", "pass"}),
        ("while a: break", {"while not a:", "pass"}),
    ],
)
def test_a_statement_becomes(before, after):
    assert afters(before) == after


def test_defaults_are_changed():
    assert changes("def f(a, b=1, *, c=True): ...") == {
        ("def f(a, b=1, *, c=True):", "def f(a, b=2, *, c=True):"),
        ("def f(a, b=1, *, c=True):", "def f(a, b=1, *, c=False):"),
    }


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring of 1 + 1."""',
        "__all__ = ['a', *[1 + 1]]",
        "x: Literal[1] = y",
        "def f(x: Literal[1]) -> Literal[1]: ...",
        "@cache(maxsize=1)\ndef f(): ...",
        "y = {'a': x['b']}",
        "y = 'a' + x",
        "y = int | None",
        "Step = Stem | Pointwise",
        "y = zip(x, z, strict=True)",
        "assert x > 1",
        "if TYPE_CHECKING:\n    x = 1 + 1",
        "from x import y",
        "z = x.reshape(-1)",
        "with np.errstate(over='ignore'): ...",
        "x = y",
    ],
)
def test_what_is_no_behaviour_is_left_alone(source):
    assert changes(source) - {("y = zip(x, z, strict=True)", "y = zip(z, x, strict=True)")} == set()


def test_a_mutant_says_where_it_is():
    source = "x = y\n\nclass A:\n    def f(self, a):\n        if a:\n            return 1\n"
    place = {(m.line, m.scope, m.before, m.after) for m in mutants(source, "toy.py")}
    assert place == {
        (5, "A.f", "if a:", "if not a:"),
        (6, "A.f", "return 1", "return 2"),
        (6, "A.f", "return 1", "return None"),
    }


@pytest.fixture
def checkout(tmp_path):
    """A package of one module, and tests that see some of its mutants."""
    (tmp_path / "refnet").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "refnet" / "__init__.py").write_text("")
    (tmp_path / "refnet" / "toy.py").write_text("def f(a, b=1):\n    while a:\n        a = a[1:]\n    return a\n")
    (tmp_path / "tests" / "test_toy.py").write_text(
        "from refnet.toy import f\n\n\ndef test_f():\n    assert f([1, 2]) == []\n"
    )
    (tmp_path / "tests" / "mutants.txt").write_text(
        "# both end at nothing\nrefnet/toy.py f\n- a = a[1:]\n+ a = a[2:]\n"
    )
    return tmp_path


def test_killed_survivors_equivalents_and_mutants_that_never_end_are_told_apart(checkout, capsys, monkeypatch):
    monkeypatch.setattr(mutate, "GRACE", 0)
    before = sorted((path, path.read_bytes()) for path in checkout.rglob("*") if path.is_file())
    assert mutate.main(["toy"], checkout) == 1
    said = capsys.readouterr().out
    assert sorted((path, path.read_bytes()) for path in checkout.rglob("*") if path.is_file()) == before
    assert "survived refnet/toy.py:1 f\n- def f(a, b=1):\n+ def f(a, b=2):\n" in said
    assert "undecided refnet/toy.py:3 f\n- a = a[1:]\n+ pass\n" in said
    row = next(line.split() for line in said.splitlines() if line.startswith("refnet/toy.py "))
    assert row[:6] == ["refnet/toy.py", "5", "2", "1", "1", "1"]


def test_a_sample_is_the_same_for_the_same_seed(checkout, capsys):
    def listed(*options):
        assert mutate.main(["toy", "--list", *options], checkout) == 0
        return capsys.readouterr().out

    assert listed("--sample", "3", "--seed", "1") == listed("--sample", "3", "--seed", "1")
    assert len(listed("--sample", "3").splitlines()) == 9


def test_a_place_that_is_none_is_refused(checkout, capsys):
    with pytest.raises(SystemExit) as ended:
        mutate.main(["nowhere"], checkout)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "nowhere: neither a folder nor a module of refnet\n"


def test_a_test_that_fails_without_a_mutant_is_left_out_and_told(checkout, capsys):
    with (checkout / "tests" / "test_toy.py").open("a") as file:
        file.write("\n\ndef test_g():\n    assert not f([1])[0]\n")
    mutate.main(["toy", "--sample", "1"], checkout)
    assert "left out, for it fails without a mutant: tests/test_toy.py::test_g\n" in capsys.readouterr().out


def test_survivors_are_tested_again_by_the_tests_that_they_asked_for(checkout, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(mutate, "GRACE", 0)
    record, output = str(tmp_path / "record.json"), tmp_path / "output.txt"
    mutate.main(["toy", "--record", record], checkout)
    said = capsys.readouterr().out
    output.write_text(said[: said.index("undecided")])
    with (checkout / "tests" / "test_toy.py").open("a") as file:
        file.write("\n\ndef test_default():\n    f([])\n    assert f.__defaults__ == (1,)\n")
    assert mutate.main(["toy", "--record", record, "--again", str(output)], checkout) == 0
    assert "1 tested of 1 chosen of 5; killed 1 of 1" in capsys.readouterr().out


RECORDED = """
import subprocess, sys
import pytest
from refnet.toy import g

@pytest.fixture(scope="module")
def made():
    return g(2)

def test_short():
    assert g(1) == 1

def test_long():
    assert g(-1) == 1

def test_of_what_is_made(made):
    assert made == 2

def test_again(made):
    assert made == 2

def test_in_another_process():
    subprocess.run([sys.executable, "-c", "from refnet.toy import g; assert g(1) == 1"], check=True)
"""


@pytest.fixture
def trial(checkout, tmp_path_factory):
    (checkout / "refnet" / "toy.py").write_text("def g(a):\n    if a < 0:\n        a = -a\n    return a\n\nK = 1 + 1\n")
    (checkout / "tests" / "test_toy.py").write_text(RECORDED)
    trial = mutate.Trial(checkout, tmp_path_factory.mktemp("trial"))
    trial.watch(["tests/test_toy.py"])
    return trial


def chosen(trial, before):
    """The tests that are run on the mutants of a statement, in groups."""
    source = (trial.copy / "refnet" / "toy.py").read_text()
    mutant = next(each for each in mutants(source, "refnet/toy.py") if each.before == before)
    groups = trial.record.chosen(trial.copy, mutant, ["tests/test_toy.py"])
    return [sorted(name.partition("::test_")[2] for name in group.tests) for group in groups]


ALL = ["again", "in_another_process", "long", "of_what_is_made", "short"]


def test_a_mutant_is_tested_by_what_executes_its_line(trial):
    assert chosen(trial, "a = -a") == [["long"]]


def test_what_a_shared_fixture_executes_counts_for_all_who_ask_for_it(trial):
    assert chosen(trial, "return a") == [["again", "long", "of_what_is_made", "short"]]


@pytest.mark.parametrize("edit", ["", "\n"])
def test_a_line_that_is_executed_on_import_or_was_changed_is_tested_by_all_that_may(trial, edit):
    path = trial.copy / "refnet" / "toy.py"
    path.write_text(edit + path.read_text())
    assert chosen(trial, "K = 1 + 1") == [ALL]
    assert chosen(trial, "a = -a") == [ALL if edit else ["long"]]


def test_the_quickest_tests_are_run_as_long_as_there_is_time(trial, monkeypatch):
    for place, name in enumerate(("long", "short", "again")):
        test = f"tests/test_toy.py::test_{name}"
        trial.record.tests[test] = trial.record.tests[test]._replace(seconds=2.0**-place)
    monkeypatch.setattr(executed, "MOST", 0.8)
    assert chosen(trial, "if a < 0:") == [["again", "of_what_is_made", "short"]]
    monkeypatch.setattr(executed, "MOST", 0)
    assert [len(group) for group in chosen(trial, "if a < 0:")] == [1]


def test_only_what_is_new_is_recorded(trial):
    assert trial.record.unknown(trial.copy, ["tests/test_toy.py"]) == []
    (trial.copy / "tests" / "test_toy.py").write_text("def test_other(): ...\n")
    trial.watch(["tests/test_toy.py"])
    assert list(trial.record.tests) == ["tests/test_toy.py::test_other"]


def test_a_test_that_takes_long_may_execute_more_than_was_seen(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(executed, "LONG", 0)
    recorder = executed.Recorder(checkout, tmp_path / "record.json")
    assert recorder._enter(sys._getframe(), "call", None) is None
    assert recorder._more
