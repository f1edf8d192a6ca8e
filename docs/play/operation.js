// Operation, Look, Counters and Code: four filters over the photograph.
const operation = (() => {
  const photo = (() => {
    const [C, H, W] = data.photo.shape, pixels = bytes(data.photo.bytes);
    return { pixels, x: core.tensor([C, H, W], Float32Array.from(pixels, (value) => value / 255)) };
  })();
  const [CHANNELS, H, W] = photo.x.shape;
  const POINT = 8, MARGIN = 6; // of the canvas: points a pixel, pixels around the photograph where padding shows
  const sides = [1, 3, 5];
  const state = { p: 18, q: 30, pinned: false };
  let made; // what the settings make: weights, tensors, sizes

  /** What the controls say. */
  function settings() {
    const side = sides[$("kernel").value], stride = Number($("stride").value), dilation = Number($("dilation").value);
    const how = document.querySelector('input[name="pad"]:checked').value;
    const reach = ((side - 1) * dilation) / 2;
    const pads = {
      none: [[0, 0], [0, 0]],
      symmetric: [[reach, reach], [reach, reach]],
      same: [core.same(H, side, stride, dilation), core.same(W, side, stride, dilation)],
    };
    return {
      side, how, groups: 2 ** $("groups").value, pointwise: $("pointwise").checked, filter: Number($("filter").value),
      attrs: { stride: [stride, stride], pad: pads[how], dilation: [dilation, dilation] },
    };
  }

  /** (K, C / groups, R, S): how much of each channel of its group a filter takes, in its own pattern. */
  function weights(side, groups) {
    const C = CHANNELS / groups, w = core.tensor([CHANNELS, C, side, side]), area = side * side;
    for (let k = 0; k < CHANNELS; k++)
      for (let c = 0; c < C; c++) {
        const mix = data.mix[k][Math.floor(k / C) * C + c], pattern = data.patterns[side][k].flat();
        pattern.forEach((value, i) => { w.data[(k * C + c) * area + i] = mix * value; });
      }
    return w;
  }

  const mixing = core.tensor([CHANNELS, CHANNELS, 1, 1], Float32Array.from(data.mix.flat()));
  const alone = { stride: [1, 1], pad: [[0, 0], [0, 0]], dilation: [1, 1], groups: 1 };

  /** Everything that the settings make. */
  function compute(chosen) {
    const w = weights(chosen.side, chosen.groups), attrs = { ...chosen.attrs, groups: chosen.groups };
    const looked = core.convolve(photo.x, w, null, attrs), [, P, Q] = looked.shape;
    const y = chosen.pointwise ? core.convolve(looked, mixing, null, alone) : looked;
    const counts = [core.cost(w, P, Q), ...(chosen.pointwise ? [core.cost(mixing, P, Q)] : [])];
    const total = (what) => counts.reduce((sum, each) => sum + each[what], 0);
    const dense = core.cost(weights(chosen.side, 1), P, Q);
    return { chosen, attrs, w, looked, y, P, Q, macs: total("macs"), params: total("params"), dense };
  }

  // ------------------------------------------------------------ pictures

  function drawPhoto() {
    const context = sized($("photo"), (W + 2 * MARGIN) * POINT, (H + 2 * MARGIN) * POINT), colours = palette();
    context.fillStyle = css(colours.outside);
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    for (let h = 0; h < H; h++)
      for (let v = 0; v < W; v++) {
        context.fillStyle = css([0, 1, 2].map((c) => photo.pixels[(c * H + h) * W + v]));
        context.fillRect((v + MARGIN) * POINT, (h + MARGIN) * POINT, POINT, POINT);
      }
    const { pad } = made.attrs; // its border: a dashed frame
    context.setLineDash([6, 4]);
    context.strokeStyle = css(colours.ink);
    context.lineWidth = 1.5;
    const [[top, bottom], [left, right]] = pad;
    const box = [MARGIN - left, MARGIN - top, W + left + right, H + top + bottom].map((n) => n * POINT);
    if (made.chosen.how !== "none") context.strokeRect(...box);
    context.setLineDash([]);
    for (const tap of core.taps(photo.x, made.w, made.attrs, made.chosen.filter, state.p, state.q)) {
      if (tap.c !== firstChannel()) break; // each channel of the group is read at the same places
      const at = [(tap.v + MARGIN) * POINT, (tap.h + MARGIN) * POINT];
      context.lineWidth = 4;
      context.strokeStyle = "#fff";
      context.strokeRect(at[0], at[1], POINT, POINT);
      context.lineWidth = 2.5;
      context.strokeStyle = css(colours.kernel);
      context.strokeRect(at[0], at[1], POINT, POINT);
    }
  }

  const firstChannel = () => Math.floor(made.chosen.filter / made.w.shape[1]) * made.w.shape[1];

  function drawOutput() {
    const { P, Q, y, chosen } = made, colours = palette(), side = Math.max(4, Math.floor(696 / Q));
    const values = y.data.subarray(chosen.filter * P * Q, (chosen.filter + 1) * P * Q), most = largest(values);
    const context = sized($("map"), Q * side, P * side);
    drawMap(context, values, P, Q, { side, most, colours });
    context.lineWidth = 3;
    context.strokeStyle = css(colours.kernel);
    context.strokeRect(state.q * side, state.p * side, side, side);
    $("map-title").textContent = `Output of filter ${chosen.filter + 1}${chosen.pointwise ? ", mixed" : ""}`;
    $("map-size").textContent = `${P} × ${Q}`;
    $("map-scale").textContent = `full colour at ±${shown(most)}`;
  }

  function drawKernels() {
    const { w, chosen } = made, [K, C, R, S] = w.shape, colours = palette(), most = largest(w.data);
    $("kernels").innerHTML = data.looks.map((look, k) => {
      const cells = data.channels.map((channel, c) => {
        const own = Math.floor(c / C) === Math.floor(k / (K / chosen.groups));
        return own ? `<td><canvas role="img" aria-label="filter ${k + 1}, ${channel}"></canvas></td>`
          : '<td class="none" aria-label="not read">·</td>';
      });
      return `<tr class="${k === chosen.filter ? "chosen" : ""}"><th scope="row">${k + 1} ${look}</th>${cells.join("")}</tr>`;
    }).join("");
    let place = 0;
    for (const canvas of $("kernels").querySelectorAll("canvas")) {
      const context = sized(canvas, S * 12, R * 12), values = w.data.subarray(place, (place += R * S));
      drawMap(context, values, R, S, { side: 12, most, colours });
    }
  }

  // ------------------------------------------------------------ words and numbers

  function tell() {
    const { chosen, attrs, P, Q, macs, params, dense } = made, { side, groups } = chosen;
    const [name, read] = { 1: ["dense", "4 channels"], 2: ["2 groups", "2 channels"], 4: ["depthwise", "1 channel"] }[groups];
    $("groups-said").textContent = `${name}, ${read} each`;
    $("kernel-said").textContent = `${side} × ${side}`;
    $("stride-said").textContent = attrs.stride[0];
    $("dilation-said").textContent = attrs.dilation[0];
    $("filter-said").textContent = `${chosen.filter + 1} ${data.looks[chosen.filter]}`;
    const [[top, bottom], [left, right]] = attrs.pad;
    $("pad-said").textContent = `((${top}, ${bottom}), (${left}, ${right}))`;
    $("macs").textContent = counted(macs);
    $("params").textContent = counted(params);
    const share = macs / dense.macs;
    $("ratio").textContent = `${(100 * share).toFixed(1)} %`;
    $("ratio-bar").style.width = `${Math.min(100, 100 * share)}%`;
    const pair = chosen.pointwise ? ` + ${P} × ${Q} pixels × 4 filters × 4 channels` : "";
    $("formula").textContent =
      `${P} × ${Q} pixels × 4 filters × ${made.w.shape[1]} ${made.w.shape[1] > 1 ? "channels" : "channel"} × ${side} × ${side} points${pair}`;
    $("pair-said").textContent = chosen.pointwise && groups === 4
      ? `1/4 + 1/${side * side} of dense: four filters, ${side * side} points. With 512 filters it is 1/512 + 1/${side * side}.` : "";
    $("python").textContent = python();
  }

  /** The NumPy call of what is shown. */
  function python() {
    const { chosen, attrs } = made, pad = $("pad-said").textContent;
    const row = (numbers) => JSON.stringify(numbers).replaceAll(",", ", ");
    const literal = (name, rows) => [`${name} = np.array(`, "    [", ...rows.map((each) => `        ${row(each)},`), "    ],", "    np.float32,", ")"];
    const pair = (numbers) => `(${numbers.join(", ")})`;
    return [
      "import numpy as np",
      "from refnet.files import shipped",
      "from refnet.readings import loops",
      "",
      'photo = np.load(shipped.path("photograph.npz"))["pixels"]  # (150, 225, 3)',
      "small = np.rint(photo.reshape(50, 3, 75, 3, 3).mean(axis=(1, 3)))",
      "pixels = np.concatenate([small, np.rint(small.mean(axis=2, keepdims=True))], axis=2)",
      "x = (pixels / 255).astype(np.float32).transpose(2, 0, 1)[None]  # (1, 4, 50, 75)",
      "",
      ...literal("mix", data.mix),
      ...literal("patterns", data.patterns[chosen.side]),
      "w = mix[:, :, None, None] * patterns[:, None]  # (filters, channels, height, width)",
      ...(chosen.groups > 1
        ? [`n = 4 // ${chosen.groups}  # channels of a group: a filter reads those of its own`,
          "w = np.stack([w[k, k // n * n : k // n * n + n] for k in range(4)])"]
        : []),
      "",
      `y = loops.grouped_conv2d(\n    x, w, None, stride=${pair(attrs.stride)}, pad=${pad}, dilation=${pair(attrs.dilation)},`
        + ` groups=${chosen.groups}\n)  # (1, 4, ${made.P}, ${made.Q})`,
      ...(chosen.pointwise ? ["y = loops.pointwise_conv2d(y, mix, None)"] : []),
      `print(y[0, ${chosen.filter}, ${state.p}, ${state.q}])  # ${number(made.y, chosen.filter)}`,
      "",
    ].join("\n");
  }

  const number = (tensor, k) => shown(tensor.data[(k * made.P + state.p) * made.Q + state.q], 6).replace("−", "-");

  function look() {
    const { chosen, attrs, w, looked, P, Q } = made, [, , R, S] = w.shape, channels = new Map();
    let total = 0;
    for (const tap of core.taps(photo.x, w, attrs, chosen.filter, state.p, state.q)) {
      if (!channels.has(tap.c)) channels.set(tap.c, { taps: [] });
      if (tap.inside) total = Math.fround(total + tap.product);
      const channel = channels.get(tap.c);
      channel.taps.push(tap);
      channel.total = total;
    }
    const rows = (taps, of) => Array.from({ length: R }, (_, r) => taps.slice(r * S, (r + 1) * S).map(of));
    const most = largest(w.data);
    const parts = [...channels].map(([c, { taps, total: so }]) => `<div class="channel"><h3>${data.channels[c]}</h3>
      <div class="equation">${numbers("inputs", rows(taps, (t) => (t.inside ? t.x : null)), 1)}<span>×</span>
      ${numbers("weights", rows(taps, (t) => t.w), most)}<span>=</span>
      ${numbers("products", rows(taps, (t) => (t.inside ? t.product : null)), most)}
      <span class="running">sum so far <strong>${shown(so, 4)}</strong></span></div></div>`);
    if (chosen.pointwise) parts.push(mixed());
    $("products").innerHTML = parts.join("");
    $("products").classList.toggle("beside", R <= 3);
    const all = [...channels.values()].flatMap((channel) => channel.taps), outside = all.filter((t) => !t.inside).length;
    const words = [`Filter ${chosen.filter + 1}, row ${state.p}, column ${state.q}: ${all.length - outside} products sum to `
      + `${shown(total, 4)}`];
    if (outside) words.push(`${outside} points lie outside and count as nothing`);
    if (chosen.pointwise) words.push(`mixed with the other filters: ${shown(made.y.data[(chosen.filter * P + state.p) * Q + state.q], 4)}`);
    speak(`${words.join("; ")}.`);
    $("row").max = P - 1;
    $("column").max = Q - 1;
    $("row").value = state.p;
    $("column").value = state.q;
    $("row-said").textContent = `${state.p} of ${P}`;
    $("column-said").textContent = `${state.q} of ${Q}`;
    $("pin").setAttribute("aria-pressed", state.pinned);
    $("pin").textContent = state.pinned ? "Unpin this place" : "Pin this place";
    $("python").textContent = python();

    function mixed() {
      const values = data.looks.map((_, k) => looked.data[(k * P + state.p) * Q + state.q]), factors = data.mix[chosen.filter];
      let sum = 0;
      const products = values.map((value, k) => Math.fround(value * factors[k]));
      products.forEach((product) => { sum = Math.fround(sum + product); });
      return `<div class="channel"><h3>pointwise: the four filters at this place</h3><div class="equation">
        ${numbers("filters", [values], largest(values))}<span>×</span>${numbers("weights", [factors], 1)}<span>=</span>
        ${numbers("products", [products], largest(products))}<span class="running">sum <strong>${shown(sum, 4)}</strong></span></div></div>`;
    }
  }

  let waiting;
  function speak(sentence) { // the live region follows when the reader rests
    clearTimeout(waiting);
    waiting = setTimeout(() => { $("spoken").textContent = sentence; }, 120);
  }

  // ------------------------------------------------------------ the reader's hands

  function place() {
    drawPhoto();
    drawOutput();
    look();
  }

  function update() {
    made = compute(settings());
    state.p = Math.min(state.p, made.P - 1);
    state.q = Math.min(state.q, made.Q - 1);
    drawKernels();
    tell();
    place();
  }

  function move(p, q) {
    const next = [Math.max(0, Math.min(made.P - 1, p)), Math.max(0, Math.min(made.Q - 1, q))];
    if (next[0] === state.p && next[1] === state.q) return;
    [state.p, state.q] = next;
    place();
  }

  /** The output that a pointer means, on either picture. */
  function meant(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const v = (event.clientX - box.left) / box.width, h = (event.clientY - box.top) / box.height;
    if (event.currentTarget.id === "map") return [Math.floor(h * made.P), Math.floor(v * made.Q)];
    const { stride, pad, dilation } = made.attrs, reach = ((made.chosen.side - 1) * dilation[0]) / 2;
    const of = (share, size, axis) => Math.round((share * (size + 2 * MARGIN) - MARGIN - 0.5 + pad[axis][0] - reach) / stride[axis]);
    return [of(h, H, 0), of(v, W, 1)];
  }

  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const pin = (pinned) => { state.pinned = pinned; look(); };

  for (const id of ["photo", "map"]) {
    const canvas = $(id);
    let down = false;
    canvas.addEventListener("pointerdown", (event) => {
      down = true;
      canvas.setPointerCapture(event.pointerId);
      move(...meant(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (down || (!state.pinned && event.pointerType === "mouse" && id === "map")) move(...meant(event));
    });
    canvas.addEventListener("pointerup", () => { down = false; });
    canvas.addEventListener("pointercancel", () => { down = false; });
    canvas.addEventListener("click", () => { if (id === "map") pin(!state.pinned); });
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") pin(!state.pinned);
      else if (event.key in STEPS) move(state.p + STEPS[event.key][0], state.q + STEPS[event.key][1]);
      else return;
      event.preventDefault();
    });
  }
  for (const id of ["groups", "kernel", "stride", "dilation", "filter", "pointwise"]) $(id).addEventListener("input", update);
  for (const choice of document.querySelectorAll('input[name="pad"]')) choice.addEventListener("input", update);
  for (const id of ["row", "column"])
    $(id).addEventListener("input", () => move(Number($("row").value), Number($("column").value)));
  $("pin").addEventListener("click", () => pin(!state.pinned));
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("python").textContent);
      $("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren($("python"));
      $("copied").textContent = "Selected: copy it with your keyboard.";
    }
  });
  onColours(update);
  update();
  return { made: () => made, python };
})();
