"""Reports: every renderer takes every document, says the verdict and the causes, and escapes what it is given."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from refnet.judge.verdicts import FAILING
from refnet.report.page import comparison_page, png
from refnet.report.table import comparison_junit, comparison_table

VERDICTS = ("exact", "rounding", "inside", *FAILING)
FIGURES = st.none() | st.floats(min_value=0) | st.sampled_from([np.inf, np.nan, "inf"])
TEXT = st.text(max_size=12)


def tensor(name="stem.conv", verdict="exact", **more):
    figures = dict.fromkeys(("worst", "expected", "rms", "error", "accumulated", "channels"))
    return {"name": name, "verdict": verdict, "segment": [name], "source": name, "layout": "nchw", **figures, **more}


def document(*tensors, **more):
    bad = any(tensor["verdict"] in FAILING for tensor in tensors)
    head = {"verdict": "fails" if bad else "holds", "candidate": "port", "pack": "gold", "model": "m"}
    lists = {"causes": [], "notes": [], "unmatched": []}
    return {**head, "precision": "float32", "tensors": list(tensors), **lists, **more}


def cause(node="block4.depthwise", **more):
    sentence = "the padding is TF SAME (0,1) instead of (1,1)"
    return {"id": "pad-same", "node": node, "sentence": sentence, "detail": "", "link": "", "tie": False, **more}


ACCUMULATED = st.fixed_dictionaries(dict.fromkeys(("rms", "max", "relative", "border", "interior"), FIGURES))
TENSORS = st.builds(
    lambda **fields: tensor(**fields),
    name=TEXT,
    verdict=st.sampled_from(VERDICTS),
    worst=FIGURES,
    expected=FIGURES,
    rms=FIGURES,
    error=FIGURES,
    accumulated=st.none() | ACCUMULATED,
    source=st.none() | TEXT,
    layout=st.none() | TEXT,
    channels=st.none() | st.lists(FIGURES, max_size=9),
)
CAUSES = st.builds(cause, node=TEXT, id=TEXT, sentence=TEXT, detail=TEXT, link=TEXT, tie=st.booleans())
DOCUMENTS = st.builds(
    lambda tensors, **more: document(*tensors, **more),
    st.lists(TENSORS, max_size=5),
    causes=st.lists(CAUSES, max_size=3),
    notes=st.lists(TEXT, max_size=2),
    unmatched=st.lists(TEXT, max_size=2),
    candidate=TEXT,
    model=TEXT,
)


class Tags(HTMLParser):
    """Every tag that a page opens, all of them closed in order."""

    def __init__(self, page):
        super().__init__()
        self.seen, self.open = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag == "rect" or self.open.pop() == tag


def one_wrong():
    wrong = tensor("block4.depthwise", "wrong", worst=312.0, expected=4e4, rms=np.inf, error=1.25, source="dw4")
    wrong |= {"accumulated": {"rms": 1.0, "max": 2.0, "relative": 0.5, "border": 0.9, "interior": 1e-7}}
    wrong |= {"layout": "nhwc", "channels": [1e-4] * 15 + [0.7]}
    return document(tensor(), tensor("stem.bn", "inside"), wrong, causes=[cause()], notes=["one note"])


def test_the_table_says_what_is_wrong_and_why():
    lines = comparison_table(one_wrong()).splitlines()
    row = next(line for line in lines if line.startswith("block4.depthwise  wrong"))
    assert row.split()[:4] == ["block4.depthwise", "wrong", "dw4,", "nhwc"]
    assert row.endswith("312     4e+04  inf       1.25          0.5     0.9     1e-07")
    assert "fine: 1 exact, 1 inside" in lines
    assert "  block4.depthwise: 15 (0.7); the others at most 0.0001" in lines
    sentence = "It equals the reference when the padding is TF SAME (0,1) instead of (1,1) [pad-same]."
    assert f"block4.depthwise: wrong. {sentence}" in lines
    assert "one note" in lines
    assert lines[-1] == "fails: 1 wrong"
    assert not any(line.startswith("stem.conv") for line in lines)


def test_a_verbose_table_has_a_row_for_each():
    text = comparison_table(one_wrong(), verbose=True)
    for name in ("stem.conv", "stem.bn", "block4.depthwise"):
        assert re.search(rf"^{re.escape(name)} ", text, re.MULTILINE)
    assert "fine:" not in text


def test_what_holds_is_short():
    assert comparison_table(document(tensor(), tensor("b", "rounding"))).splitlines()[2:] == [
        "fine: 1 exact, 1 rounding",
        "",
        "holds",
    ]


def test_causes_speak_in_sentences():
    said = comparison_table(
        document(
            tensor("a", "suspect"),
            causes=[cause("a"), cause("a", id="b", tie=True), cause("a", id="", sentence="Nothing explains it.")],
        )
    )
    assert "a: suspect. It equals the reference just as well when the padding" in said
    assert "a: suspect. Nothing explains it.\n" in said


def test_a_cause_before_the_end_of_its_segment_is_said_with_its_place():
    far = cause("a", place="b, c", sentence="the gate is the true sigmoid, and eps is 0", id="x+y")
    said = comparison_table(document(tensor("a", "wrong"), causes=[far, cause("a", place="a")]))
    assert "when the gate is the true sigmoid, and eps is 0, at b and c [x+y]." in said
    assert "at a" not in said


def test_unmatched_fail_in_every_report():
    doc = document(tensor(), verdict="fails", unmatched=["debug"])
    assert comparison_table(doc).endswith("match nothing: debug\n\nfails: 1 unmatched")
    assert ElementTree.fromstring(comparison_junit(doc)).find("testsuite").get("failures") == "1"
    assert "debug" in comparison_page(doc)


def test_junit_has_a_case_for_each():
    suite = ElementTree.fromstring(comparison_junit(one_wrong())).find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert [case.get("name") for case in suite] == ["stem.conv", "stem.bn", "block4.depthwise"]
    (failure,) = suite.iter("failure")
    assert failure.get("type") == "wrong"
    assert "worst 312" in failure.get("message")
    assert "[pad-same]" in failure.text


def test_the_page_shows_strip_pictures_and_causes():
    errors = np.zeros((5, 7))
    errors[0] = np.nan
    histogram = np.histogram(np.arange(9.0), 4)
    page = comparison_page(one_wrong(), {"block4.depthwise": errors}, {"block4.depthwise": histogram})
    tags = Tags(page).seen
    cells = [attrs for tag, attrs in tags if tag == "a"]
    assert [attrs["title"].split(",")[0] for attrs in cells] == [
        "stem.conv: exact",
        "stem.bn: inside",
        "block4.depthwise: wrong",
    ]
    assert [attrs.get("href") for attrs in cells] == [None, None, "#tensor-block4.depthwise"]
    assert sum(tag == "img" for tag, _ in tags) == 1
    assert sum(tag == "svg" for tag, _ in tags) == 2  # the histogram and the channels
    assert "[pad-same]" in page


@pytest.mark.parametrize("link", ["javascript:alert(1)", "docs/bugs.md", 'https://x/"onclick="y'])
def test_only_web_addresses_become_links(link):
    tags = Tags(comparison_page(document(causes=[cause(link=link)]))).seen
    assert [attrs["href"] for tag, attrs in tags if tag == "a"] == ([link] if link.startswith("https") else [])


@settings(max_examples=60)
@given(DOCUMENTS)
def test_every_document_is_rendered(doc):
    for verbose in (False, True):
        assert doc["verdict"] in comparison_table(doc, verbose=verbose).splitlines()[-1]
    cases = ElementTree.fromstring(comparison_junit(doc)).iter("testcase")
    assert len(list(cases)) == len(doc["tensors"]) + len(doc["unmatched"])
    rows = {tensor["name"]: np.ones((2, 3)) for tensor in doc["tensors"]}
    for tag, attrs in Tags(comparison_page(doc, rows)).seen:
        assert tag != "script"
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:").startswith("data:")


def test_hostile_names_are_escaped():
    name = "<script>alert('1')</script>\x00\"&"
    doc = document(tensor(name, "wrong", segment=[name], source=name + "x"), causes=[cause(name)], unmatched=[name])
    page = comparison_page(doc | {"candidate": name, "model": name}, {name: np.ones((2, 2))})
    assert not any(tag == "script" for tag, _ in Tags(page).seen)
    assert ElementTree.fromstring(comparison_junit(doc)).find("testsuite/testcase").get("name").startswith("<script>")


@given(nps.arrays(np.float32, nps.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_a_map_becomes_a_picture(errors):
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png(errors)))
    pixels = np.asarray(image.convert("RGB"), int)
    assert pixels.shape == (*errors.shape, 3)
    finite = np.isfinite(errors)
    assert (pixels[~finite] == (0, 255, 255)).all()
    light = pixels.sum(axis=2)[finite]
    order = np.argsort(np.abs(errors[finite].astype(np.float64)), kind="stable")
    assert (np.diff(light[order]) >= -1).all()  # larger errors are brighter
