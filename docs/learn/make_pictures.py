"""Draw the pictures of the course: one function for each chapter, the same bytes for the same facts.

    python docs/learn/make_pictures.py [FOLDER]

The pictures go beside this file, or into the folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refnet import build, load
from refnet.alignment.costs import diff_graphs
from refnet.files import shipped
from refnet.files.digits import digits
from refnet.readings.cost import cost
from refnet.report.pictures.svg import NEGATIVE, POSITIVE, svg_document, svg_rect, svg_text
from refnet.report.rows import network_picture
from refnet.report.side_by_side import diff_picture
from refnet.study.rows import layer_rows

INK, FAINT, BLUE, ORANGE, GREEN = "#1c1e21", "#bababa", "#1b6ca8", "#e08214", "#7fbf7b"


def line(points: Sequence[tuple[float, float]], colour: str = INK, *, wide: float = 1.5, dashes: str = "") -> str:
    """A line through points."""
    along = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    more = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{along}" fill="none" stroke="{colour}" stroke-width="{wide:g}"{more}/>'


def diverging(share: float) -> str:
    """Blue below zero, white at it, orange above, for a share from -1 to 1."""
    share = max(-1.0, min(1.0, share))
    end = (179, 88, 6) if share > 0 else (33, 102, 172)
    return "#" + "".join(f"{round(247 + abs(share) * (e - 247)):02x}" for e in end)


def light(text: str, fill: str) -> str:
    """Words in white where what they stand on is dark."""
    dark = sum(int(fill[i : i + 2], 16) for i in (1, 3, 5)) < 360
    return text.replace("<text", '<text style="fill:#fff"') if dark else text


def matrix(
    left: float, top: float, values: Any, side: float, colour: Callable[[float], str], words: bool = True
) -> Iterator[str]:
    """Squares with their numbers."""
    for (h, v), value in np.ndenumerate(values):
        x, y = left + v * side, top + h * side
        fill = colour(float(value))
        yield svg_rect((x, y, side, side), fill, line="#ffffff" if words else "")
        if words:
            yield light(svg_text(x + side / 2, y + side / 2 + 4, f"{value:g}", "middle"), fill)


class Plot:
    """Axes with a box: from numbers to points of the picture."""

    def __init__(
        self, box: tuple[float, float, float, float], across: tuple[float, float], up: tuple[float, float]
    ) -> None:
        self.left, self.top, self.wide, self.tall = box
        self.across, self.up = across, up

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where numbers lie."""
        (a, b), (c, d) = self.across, self.up
        return self.left + (x - a) / (b - a) * self.wide, self.top + self.tall - (y - c) / (d - c) * self.tall

    def curve(self, x: Any, y: Any, colour: str, *, dashes: str = "", wide: float = 2) -> str:
        """A line through numbers."""
        return line([self.at(float(a), float(b)) for a, b in zip(x, y, strict=True)], colour, wide=wide, dashes=dashes)

    def frame(self, across: Sequence[float], up: Sequence[float], form: str = "g") -> Iterator[str]:
        """A box with numbers along two sides."""
        yield svg_rect((self.left, self.top, self.wide, self.tall), "none", line=FAINT)
        for x in across:
            here, below = self.at(x, self.up[0])
            yield line([(here, below), (here, below + 4)], FAINT)
            yield svg_text(here, below + 16, f"{x:{form}}", "middle")
        for y in up:
            beside, here = self.at(self.across[0], y)
            yield line([(beside - 4, here), (beside, here)], FAINT)
            yield svg_text(beside - 7, here + 4, f"{y:{form}}", "end")


def one_pixel() -> str:
    """The products over a photograph."""
    with np.load(shipped.path("photograph.npz")) as file:
        grey = np.rint(file["pixels"].mean(axis=2)).astype(int)
    top, left, side = 42, 76, 10
    crop = grey[top : top + 24, left : left + 30]
    kernel = np.array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]])
    window = grey[53:56, 91:94]
    products = window * kernel

    def shade(value: float) -> str:
        return f"#{int(value):02x}" + f"{int(value):02x}" * 2

    parts = [*matrix(10, 36, crop, side, shade, words=False)]
    box = (10 + (91 - left) * side, 36 + (53 - top) * side, 3 * side, 3 * side)
    parts.append(svg_rect(box, "none", line="#e08214"))
    parts.append(svg_text(10, 24, "the photograph: a part of 24 x 30 pixels"))
    for x, title, values, colour in (
        (340, "window", window, shade),
        (470, "kernel", kernel, diverging),
        (600, "products", products, lambda value: diverging(value / 255)),
    ):
        parts += [svg_text(x + 57, 60, title, "middle"), *matrix(x, 70, values, 38, colour)]
    parts += [svg_text(462, 131, "x", "middle"), svg_text(592, 131, "=", "middle")]
    parts.append(svg_text(600, 214, f"their sum: {products.sum()}"))
    parts.append(svg_text(340, 250, "9 products, 9 multiply-adds: what one number costs"))
    parts.append(svg_text(340, 270, "blue: below zero, orange: above zero", "faint"))
    return svg_document(730, 290, "One number of a convolution", f"nine products with the sum {products.sum()}", parts)


def separable() -> str:
    """Bars of cost: a full convolution beside the pair, for four layers of MobileNet V1."""
    rows = [(32, 64, 112), (128, 128, 56), (512, 512, 14), (1024, 1024, 7)]
    parts = [svg_text(10, 24, "million multiply-adds of a layer, 3 x 3")]
    most = max(K * C * 9 * side * side for C, K, side in rows) / 1e6
    y = 40.0
    for C, K, side in rows:
        points = side * side
        full, looking, mixing = (each * points / 1e6 for each in (9 * C * K, 9 * C, C * K))
        parts.append(svg_text(10, y + 12, f"{C} to {K} channels, {side} x {side}"))
        scale = 420 / most
        parts += [svg_rect((230, y, full * scale, 14), BLUE), svg_text(236 + full * scale, y + 12, f"full {full:.1f}")]
        y += 18
        parts.append(svg_rect((230, y, looking * scale, 14), ORANGE))
        parts.append(svg_rect((230 + looking * scale, y, mixing * scale, 14), GREEN))
        end = 236 + (looking + mixing) * scale
        share = f"depthwise {looking:.1f} + pointwise {mixing:.1f}: 1/{full / (looking + mixing):.1f} of it"
        parts.append(svg_text(end, y + 12, share))
        y += 32
    return svg_document(
        760, y + 6, "What splitting saves", "the pair costs an eighth to a ninth of a full convolution", parts
    )


def v1() -> str:
    """The network to scale."""
    graph = build("timm/mobilenetv1_100")
    return network_picture(graph, layer_rows(graph), "MobileNet V1 to scale, input 3 x 224 x 224")


def spiral(n: int, turns: float = 2.0, count: int = 160) -> tuple[Any, Any]:
    """A spiral, and what is left of it after n random directions, ReLU, and the way back."""
    angle = np.linspace(0.3, 1, count) * turns * 2 * np.pi
    x = np.stack([angle * np.cos(angle), angle * np.sin(angle)]) / (turns * 2 * np.pi)
    T = np.random.Generator(np.random.PCG64(n)).standard_normal((n, 2))
    return x, np.linalg.pinv(T) @ np.maximum(T @ x, 0)


def relu() -> str:
    """V2's spiral in 2 to 30 dimensions."""
    x, _ = spiral(2)
    shown = [("the input", x), *((f"{n} dimensions", spiral(n)[1]) for n in (2, 3, 5, 15, 30))]
    parts = [svg_text(10, 22, "a spiral, after n random directions, ReLU, and the best way back")]
    for number, (title, y) in enumerate(shown):
        left = 10 + 128 * number
        plot = Plot((left, 54, 118, 118), (-1.1, 1.1), (-1.1, 1.1))
        y = y / np.abs(y).max()
        parts += [svg_text(left, 48, title), svg_rect((left, 54, 118, 118), "none", line=FAINT)]
        for i in range(0, y.shape[1] - 1, 3):  # a run from blue to orange: where on the spiral a point was
            share = 2 * i / y.shape[1] - 1
            last = min(i + 4, y.shape[1])
            parts.append(plot.curve(y[0, i:last], y[1, i:last], POSITIVE if share > 0 else NEGATIVE))
    parts.append(
        svg_text(
            10,
            194,
            "blue: the inner half of the spiral, orange: the outer half; each picture is scaled to its box",
            "faint",
        )
    )
    return svg_document(790, 208, "What ReLU destroys", "few dimensions lose the spiral, thirty keep it", parts)


def gates() -> str:
    """The mean gates of a block, class by class."""
    scans, net = digits(), load()
    x, labels = scans.inputs(np.float64)[scans.held_out], scans.labels[scans.held_out]
    made = net.astype(np.float64).trace(x)["block4.se.gate"][:, :, 0, 0]
    means = np.array([made[labels == digit].mean(axis=0) for digit in range(10)])
    parts = [svg_text(10, 22, "mean gates of block 4: a row for each digit, a column for each of 32 channels")]
    side = 22.0
    for (digit, c), value in np.ndenumerate(means):
        level = round(255 * (1 - float(value)))
        fill = f"#{level:02x}{level:02x}{min(255, level + 30):02x}"
        box = (40 + c * side, 40 + digit * side, side, side)
        parts.append(svg_rect(box, fill, hover=f"digit {digit}, channel {c}: {value:.2f}"))
    parts += [svg_text(30, 56 + digit * side, str(digit), "end") for digit in range(10)]
    parts += [svg_text(51 + c * side, 276, str(c), "middle small") for c in range(32)]
    for number, value in enumerate((0.2, 0.4, 0.6, 0.8)):
        level = round(255 * (1 - value))
        parts.append(svg_rect((40 + 70 * number, 290, 22, 14), f"#{level:02x}{level:02x}{min(255, level + 30):02x}"))
        parts.append(svg_text(66 + 70 * number, 301, f"{value:g}"))
    parts.append(svg_text(340, 301, "light: nearly closed, dark: nearly open", "faint"))
    return svg_document(760, 316, "Gates, class by class", "mean gates from 0.21 to 0.76", parts)


def hard() -> str:
    """Curves of both soft and both hard functions, and how far they are apart."""
    x = np.linspace(-6, 6, 121)
    soft = 1 / (1 + np.exp(-x))
    line_ = np.clip(x / 6 + 0.5, 0, 1)
    parts = []
    for left, title, one, other, up, marks in (
        (50, "sigmoid and hard sigmoid", soft, line_, (-0.2, 1.2), (0, 0.5, 1)),
        (440, "swish and hard swish", x * soft, x * line_, (-1, 6), (0, 2, 4, 6)),
    ):
        plot = Plot((left, 40, 300, 190), (-6, 6), up)
        parts += [svg_text(left, 26, title), *plot.frame((-6, -3, 0, 3, 6), marks)]
        parts += [plot.curve(x, one, BLUE, dashes="6 3"), plot.curve(x, other, ORANGE)]
        apart = Plot((left, 270, 300, 90), (-6, 6), (-0.15, 0.15))
        parts += [*apart.frame((-6, -3, 0, 3, 6), (-0.1, 0, 0.1)), apart.curve(x, other - one, INK)]
        parts.append(apart.curve((-6, 6), (0, 0), FAINT, wide=1))
        parts.append(svg_text(left + 150, 262, "hard minus soft", "middle"))
    parts += [line([(60, 56), (90, 56)], BLUE, dashes="6 3", wide=2), svg_text(96, 60, "soft")]
    parts += [line([(60, 74), (90, 74)], ORANGE, wide=2), svg_text(96, 78, "hard")]
    return svg_document(760, 390, "Soft and hard", "they differ by at most 0.069 and 0.142", parts)


def folding() -> str:
    """The weights of a layer before and after the fold."""
    net, name = load(), "block4.depthwise.w"
    parts = []
    for row, (title, network) in enumerate((("before the fold", net), ("after the fold", net.fold()))):
        w = network.params[name].astype(np.float64).reshape(32, -1)
        plot = Plot((50, 40 + 190 * row, 690, 140), (-0.5, 31.5), (-2.7, 2.7))
        parts += [svg_text(50, 30 + 190 * row, f"{title}: {name}, each channel from its least to its largest weight")]
        parts += plot.frame(range(0, 32, 4), (-2, -1, 0, 1, 2))
        parts.append(plot.curve((-0.5, 31.5), (0, 0), FAINT, wide=1))
        for c in range(32):
            (x, top), (_, bottom) = plot.at(c - 0.35, w[c].max()), plot.at(c, w[c].min())
            parts.append(svg_rect((x, top, 0.7 * 690 / 32, bottom - top), ORANGE if row else BLUE))
    parts.append(svg_text(395, 400, "channel", "middle faint"))
    return svg_document(760, 412, "Where batch norm goes", "after the fold each channel has a scale of its own", parts)


def padding() -> str:
    """Windows of both rules over six columns."""
    parts, side = [], 52.0
    for row, (title, before, after) in enumerate(
        (("symmetric: 1 before, 1 after", 1, 1), ("SAME: 0 before, 1 after", 0, 1))
    ):
        top = 46 + 170 * row
        parts.append(svg_text(20, top - 12, f"{title}; kernel 3, stride 2, six columns"))
        for v in range(-before, 6 + after):
            x, inside = 90 + v * side, 0 <= v < 6
            parts.append(svg_rect((x, top, side, 30), "#dfe8f1" if inside else "#ffffff", line=INK, dashed=not inside))
            parts.append(
                svg_text(x + side / 2, top + 20, str(v) if inside else "0", "middle" if inside else "middle faint")
            )
        for p in range(3):
            x, y = 90 + (2 * p - before) * side, top + 40 + 24 * p
            parts.append(svg_rect((x + 2, y, 3 * side - 4, 18), (BLUE, ORANGE)[row]))
            parts.append(svg_text(x + 3 * side + 6, y + 13, f"result {p}: its middle is column {2 * p - before + 1}"))
    parts.append(
        svg_text(
            20, 366, "dashed: the border of zeros. Each window of SAME begins one column further to the right.", "faint"
        )
    )
    return svg_document(760, 380, "The one-pixel shift", "both rules make three results from other columns", parts)


def v3() -> str:
    """The table to scale."""
    graph = build("paper/mobilenet_v3_small")
    return network_picture(graph, layer_rows(graph), "MobileNet V3 Small to scale, input 3 x 224 x 224")


def ends() -> str:
    """Both ends before and after, to scale: a bar of multiply-adds for each layer."""
    shown = (
        ("last stage, before", "paper/mobilenet_v3_large@original_last_stage", ("block16", "head")),
        ("last stage, after", "paper/mobilenet_v3_large", ("head",)),
        ("stem, before", "paper/mobilenet_v3_large@wide_stem", ("stem", "block1")),
        ("stem, after", "paper/mobilenet_v3_large", ("stem", "block1")),
    )
    parts, y = [svg_text(10, 24, "million multiply-adds of both ends of MobileNet V3 Large")], 40.0
    for title, name, starts in shown:
        rows = [row for row in cost(build(name)) if row.macs and row.node.name.split(".")[0] in starts]
        rows = [row for row in rows if row.node.name != "head.logits"]  # the same in both
        total = sum(row.macs for row in rows) / 1e6
        parts.append(svg_text(10, y + 12, f"{title}: {total:.1f}"))
        x = 190.0
        for row in rows:
            wide = row.macs / 1e6 * 9.0
            colour = {"conv2d": BLUE, "depthwise_conv2d": ORANGE}.get(row.node.op, GREEN)
            hover = f"{row.node.name}: {row.macs:,} multiply-adds"
            parts.append(svg_rect((x, y, wide, 18), colour, line="#ffffff", hover=hover))
            if wide > 80:
                words = f"{row.node.name.split('.', 1)[-1]} {row.macs / 1e6:.1f}"
                parts.append(light(svg_text(x + 4, y + 13, words, "small"), colour))
            x += wide
        y += 30 if "before" in title else 50
    for left, colour, words in ((190, BLUE, "full"), (270, ORANGE, "depthwise"), (390, GREEN, "pointwise")):
        parts += [svg_rect((left, y - 12, 11, 11), colour), svg_text(left + 16, y - 2, words)]
    return svg_document(760, y + 10, "Both ends, before and after", "34.3 and 10.4 million multiply-adds less", parts)


def search() -> str:
    """Lines of equal reward, and the proposals of one step."""
    plot = Plot((60, 50, 280, 200), (40, 160), (0.66, 0.84))
    parts = [svg_text(60, 22, "lines of equal reward: accuracy against time (ms)")]
    parts += plot.frame((40, 80, 120, 160), (0.7, 0.75, 0.8))
    latency = np.linspace(40, 160, 61)
    for w, colour, dashes in ((-0.07, BLUE, ""), (-0.15, ORANGE, "6 3")):
        parts.append(plot.curve(latency, 0.75 * (latency / 80) ** -w, colour, dashes=dashes))
        down = 66.0 if w == -0.07 else 86.0
        parts += [line([(76, down), (106, down)], colour, dashes=dashes, wide=2), svg_text(112, down + 4, f"w = {w:g}")]
    x, y = plot.at(80, 0.75)
    parts += [svg_rect((x - 3, y - 3, 6, 6), INK), svg_text(x + 8, y + 16, "0.75 in 80 ms")]
    other = Plot((450, 50, 280, 200), (0, 12), (-0.08, 0))
    parts.append(svg_text(450, 22, "one step: change of accuracy, time saved"))
    parts += other.frame((0, 2, 4, 6, 8, 10, 12), (-0.08, -0.06, -0.04, -0.02, 0))
    points = ((0.5, -0.01), (10.0, -0.05), (2.0, -0.03))  # the chapter's three proposals
    parts.append(other.curve((0, 12), (0, -0.06), ORANGE, dashes="6 3"))
    parts.append(other.curve((1, 1), (-0.08, 0), FAINT, wide=1))
    parts.append(svg_text(other.at(1, -0.08)[0] + 4, 246, "delta", "faint"))
    for number, (saved, change) in enumerate(points):
        x, y = other.at(saved, change)
        parts += [svg_rect((x - 4, y - 4, 8, 8), ORANGE if number == 1 else INK), svg_text(x + 8, y + 4, str(number))]
    parts.append(svg_text(330, 290, "dashed: the best exchange, which 1 has; 0 saves too little"))
    return svg_document(760, 304, "What search optimises", "lines of equal reward, and one choice of NetAdapt", parts)


def article() -> str:
    """What differs in the listing, layer by layer: as `refnet diff --svg` draws it."""
    listing, paper = build("article/torch_large"), build("paper/mobilenet_v3_large")
    return diff_picture(listing, paper, diff_graphs(listing, paper))


PICTURES: dict[str, Callable[[], str]] = {
    "01-one-pixel": one_pixel,
    "02-separable": separable,
    "03-mobilenet-v1": v1,
    "04-relu": relu,
    "05-squeeze-excite": gates,
    "06-hard": hard,
    "07-fold": folding,
    "08-padding": padding,
    "09-rows": v3,
    "10-ends": ends,
    "11-search": search,
    "12-article": article,
}


def main(folder: Path) -> None:
    """Write every picture."""
    for name, picture in PICTURES.items():
        (folder / f"{name}.svg").write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
