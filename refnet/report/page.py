"""The result of a comparison as one page: HTML with its style and pictures inside, no script, nothing fetched."""

from __future__ import annotations

import base64
import itertools
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.judge.verdicts import FAILING
from refnet.report.differences import network_words
from refnet.report.words import causes, figure, origin, summary, systematic
from refnet.text import plain_document

__all__ = ["PAGE_MARK", "comparison_page", "layer_strip", "listed", "page_of", "png"]

Array = npt.NDArray[Any]

PAGE_MARK = b"<!doctype html>"
_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1c1e21; --faint: #666b73; --line: #d9dbdf; --panel: #f4f4f1;
  --exact: #1a8f5a; --rounding: #7cc49a; --inside: #c9ccd2; --suspect: #e0a100; --wrong: #d1342f; --shape: #9b4dca;
  --nonfinite: #5b2a86; --missing: #5a6070; --bar: #3b6fb6; }
@media (prefers-color-scheme: dark) { :root { --paper: #17191c; --ink: #e6e6e3; --faint: #9aa0a8; --line: #363a40;
  --panel: #202327; --exact: #35b57a; --rounding: #2b6e4d; --inside: #43474e; --suspect: #f0b429; --wrong: #f0605a;
  --shape: #bd84e3; --nonfinite: #d6b3f0; --missing: #8b93a5; --bar: #74a5e6; } }
body { margin: 2rem auto; max-width: 68rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; }
.faint, figcaption, small { color: var(--faint); } figcaption, small { font-size: .8rem; } a { color: inherit; }
.verdict { font-weight: 600; } .holds { color: var(--exact); } .fails { color: var(--wrong); }
.cause { border-left: 4px solid var(--wrong); padding: .4rem .8rem; margin: .6rem 0; background: var(--panel); }
.strip { display: flex; flex-wrap: wrap; gap: 6px 5px; } .block { display: flex; flex-direction: column; }
.cells { display: flex; gap: 1px; align-items: flex-end; height: 66px; }
.cells a { display: flex; flex-direction: column; justify-content: flex-end; width: 11px; height: 66px; }
.cells i { display: block; background: var(--line); } .cells b { display: block; height: 24px; }
.block small { text-align: center; white-space: nowrap; font-size: .65rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin-top: .8rem; font-size: .85rem; }
.legend b { display: inline-block; width: .8em; height: .8em; margin-right: .35em; }
.tensor { border-top: 1px solid var(--line); padding: 1rem 0; }
.pictures { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: .6rem 0 0; } figure img { width: 224px; image-rendering: pixelated; border: 1px solid var(--line); }
svg { background: var(--panel); } svg rect { fill: var(--bar); }
table { border-collapse: collapse; font-size: .9rem; margin-top: .4rem; } .scroll { overflow-x: auto; }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; font-weight: 400; } th { color: var(--faint); }
"""
_VERDICTS = ("exact", "rounding", "inside", *FAILING)
_STYLE += "\n".join(f".v-{verdict} {{ background: var(--{verdict}); }}" for verdict in _VERDICTS)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SMALLEST, _TALLEST = 1e-8, 40  # the least relative difference that has a bar in the strip; the pixels of 1 and more
_CELLS = (
    "A cell is a tensor, in order of execution; its colour is the verdict on the tensor by itself, given the "
    "candidate's own inputs. The bar above it is its accumulated difference from the golden tensor, relative, on a "
    f"logarithmic scale from {_SMALLEST:g} to 1."
)


def comparison_page(
    document: Mapping[str, Any],
    maps: Mapping[str, Array] | None = None,
    histograms: Mapping[str, tuple[Array, Array]] | None = None,
) -> str:
    """The report as one self-contained page.

    Parameters
    ----------
    document : as `refnet compare --json` prints it
    maps : a picture of the errors of a tensor by its name, (H, W), drawn by magnitude
    histograms : (counts, edges) of the errors of a tensor by its name, as np.histogram gives them

    Returns
    -------
    str
        a strip of all tensors coloured by verdict, the grey bar over each showing on a logarithmic scale how far it is
        from the golden tensor; the causes; and each tensor that is not fine, with its figures and pictures.
    """
    document, maps, histograms = plain_document(document), maps or {}, histograms or {}
    bad = [tensor for tensor in document["tensors"] if tensor["verdict"] in FAILING]
    head = "{}, {precision}: {candidate} against {pack}".format(network_words(document["model"]), **document)
    parts = [
        *layer_strip(document["tensors"]),
        f"<small>{_CELLS}</small>",
        *_causes(document),
        *listed("Notes", document["notes"]),
        *listed("Matching no node", document["unmatched"]),
        *(["<h2>Not fine</h2>"] if bad else []),
        *(_tensor(tensor, maps.get(tensor["name"]), histograms.get(tensor["name"])) for tensor in bad),
    ]
    return page_of(summary(document), head, parts, holds=document["verdict"] == "holds")


def page_of(title: str, head: str, parts: Iterable[str], *, holds: bool) -> str:
    """A self-contained page of pieces of HTML, under a title that says what came of it."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
            f'content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)} - {escape(head)}</title><style>{_STYLE}</style></head><body>",
            f'<h1 class="{"holds" if holds else "fails"}">{escape(title)}</h1>',
            f'<div class="faint">{escape(head)}</div>',
            *parts,
            "</body></html>\n",
        ]
    )


def layer_strip(tensors: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A cell for each tensor, coloured by its verdict, and how many have which."""
    yield '<h2>Layers</h2><div class="strip">'
    for block, members in itertools.groupby(tensors, key=lambda tensor: str(tensor["name"]).split(".")[0]):
        cells = "".join(_cell(tensor) for tensor in members)
        label = escape(block.removeprefix("block"))
        yield f'<div class="block"><div class="cells">{cells}</div><small>{label}</small></div>'
    counts = Counter(tensor["verdict"] for tensor in tensors)
    shown = "".join(f'<span><b class="v-{v}"></b>{counts[v]} {v}</span>' for v in _VERDICTS if counts[v])
    yield f'</div><div class="legend">{shown}</div>'


def _cell(tensor: Mapping[str, Any]) -> str:
    accumulated = tensor.get("accumulated") or {}
    relative = accumulated.get("relative")
    height = 0
    if relative is not None:
        value = float(relative)
        scale = 1.0 if not value < 1 else 1 - math.log(max(value, _SMALLEST)) / math.log(_SMALLEST)
        height = round(_TALLEST * scale)
    title = [f"{tensor['name']}: {tensor['verdict']}"]
    title += [f"{key} {figure(tensor[key])}" for key in ("worst", "expected", "rms") if tensor.get(key) is not None]
    title += [f"accumulated {figure(relative)}"] if relative is not None else []
    link = f' href="#{_anchor(tensor)}"' if tensor["verdict"] in FAILING else ""
    known = tensor["verdict"] if tensor["verdict"] in _VERDICTS else "missing"
    text = escape(", ".join(title))
    return f'<a{link} title="{text}"><i style="height:{height}px"></i><b class="v-{known}"></b></a>'


def _anchor(tensor: Mapping[str, Any]) -> str:
    return escape(f"tensor-{tensor['name']}").replace(" ", "-")


def _causes(document: Mapping[str, Any]) -> Iterator[str]:
    found = [*systematic(document), *causes(document, brief=True)]
    if found:
        yield "<h2>Why</h2>"
    for sentence, more in found:
        lines = [f'<span class="verdict">{escape(sentence)}</span>']
        for line in more:
            text = escape(line)
            if line.startswith(("https://", "http://")) and " " not in line:
                text = f'<a href="{text}">{text}</a>'
            lines.append(f"<small>{text}</small>")
        yield f'<div class="cause">{"<br>".join(lines)}</div>'


def listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines under a title; nothing where there are none."""
    if lines:
        yield f"<h2>{title}</h2><ul>{''.join(f'<li>{escape(str(line))}</li>' for line in lines)}</ul>"


def _tensor(tensor: Mapping[str, Any], errors: Array | None, histogram: tuple[Array, Array] | None) -> str:
    accumulated = tensor.get("accumulated") or {}
    figures = {"worst": "of worst case", "expected": "of expected", "rms": "of rms", "error": "largest error"}
    cells = [(label, figure(tensor.get(key))) for key, label in figures.items()]
    cells += [(key, figure(accumulated.get(key))) for key in ("relative", "border", "interior") if accumulated]
    rows = [
        f"<tr>{''.join(f'<{tag}>{escape(cell[i])}</{tag}>' for cell in cells)}</tr>"
        for i, tag in enumerate(("th", "td"))
    ]
    segment = ", ".join(map(str, tensor.get("segment") or []))
    lines = [
        f'<div class="tensor" id="{_anchor(tensor)}">',
        f"<h3>{escape(tensor['name'])}: {escape(tensor['verdict'])}</h3>",
        f"<small>segment: {escape(segment)}</small><br>" if segment else "",
        f"<small>found as {escape(origin(tensor))}</small>" if origin(tensor) else "",
        f'<div class="scroll"><table>{"".join(rows)}</table></div><div class="pictures">',
    ]
    if errors is not None and errors.size:
        finite = np.abs(errors[np.isfinite(errors)])
        caption = f"errors, {errors.shape[0]} x {errors.shape[1]}; brightest: {figure(finite.max(initial=0.0))}"
        data = base64.b64encode(png(errors)).decode("ascii")
        lines.append(_figure(f'<img alt="{caption}" src="data:image/png;base64,{data}">', caption))
    if histogram is not None:
        counts, edges = (np.asarray(array, np.float64) for array in histogram)
        caption = f"errors from {figure(edges[0])} to {figure(edges[-1])}; tallest bar: {int(counts.max(initial=0))}"
        lines.append(_figure(_bars(np.log1p(counts)), caption + " (logarithmic)"))
    if tensor.get("channels"):
        values = np.array([math.nan if value is None else float(value) for value in tensor["channels"]])
        largest = figure(np.where(np.isfinite(values), values, 0).max())
        lines.append(_figure(_bars(values), f"relative rms difference of {len(values)} channels; largest: {largest}"))
    return "\n".join([line for line in lines if line] + ["</div></div>"])


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _bars(values: Array) -> str:
    """A bar chart; what is not finite has a full bar."""
    width, height = 300, 150
    finite = np.isfinite(values)
    most = float(values[finite].max(initial=0.0)) or 1.0
    tall = np.where(finite, np.clip(np.where(finite, values, 0) / most, 0, 1), 1) * (height - 4)
    step = width / max(len(values), 1)
    bars = "".join(
        f'<rect x="{index * step:.1f}" y="{height - bar:.1f}" width="{max(step - 1, 1):.1f}" height="{bar:.1f}"/>'
        for index, bar in enumerate(tall)
        if bar > 0
    )
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">{bars}</svg>'


# Dark to bright, evenly in lightness, so that it reads in grey too; the last colour is for what is not finite.
_COLOURS = ((8, 6, 30), (70, 18, 105), (150, 40, 100), (220, 80, 55), (250, 160, 40), (252, 250, 200))
_NONFINITE = (0, 255, 255)


def png(errors: Array) -> bytes:
    """A PNG image of a 2-D map by magnitude: black is 0, the brightest is the largest; cyan is not finite."""
    finite = np.isfinite(errors)
    size = np.abs(np.where(finite, errors, 0)).astype(np.float64)
    most = size.max(initial=0.0) or 1.0
    pixels = np.where(finite, np.rint(size / most * 254), 255).astype(np.uint8)
    knots = np.linspace(0, 254, len(_COLOURS))
    palette = [np.interp(np.arange(255), knots, [colour[channel] for colour in _COLOURS]) for channel in range(3)]
    colours = np.concatenate([np.stack(palette, axis=1).round().astype(np.uint8), np.array([_NONFINITE], np.uint8)])
    rows = np.concatenate(
        [np.zeros((len(pixels), 1), np.uint8), pixels], axis=1
    )  # each row starts with its filter: none
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
