"""The mutator makes the mistakes that it says it makes, and says of each whether a test saw it."""

from __future__ import annotations

import ast

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


def test_tests_that_fail_without_a_mutant_are_told(checkout):
    (checkout / "tests" / "test_toy.py").write_text("def test_f():\n    assert False\n")
    with pytest.raises(SystemExit, match="the tests fail without a mutant"):
        mutate.main(["toy", "--sample", "1"], checkout)
