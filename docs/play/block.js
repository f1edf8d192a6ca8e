// Block: an inverted residual of the digits network, to be changed, and what the network then says.
const network = (() => {
  const all = floats(data.weights), params = {};
  let place = 0;
  for (const [key, shape] of Object.entries(data.params)) {
    const cut = key.lastIndexOf("."), slot = key.slice(cut + 1), size = shape.reduce((a, b) => a * b, 1);
    params[key.slice(0, cut)] ??= {};
    params[key.slice(0, cut)][slot] = core.tensor(shape, all.subarray(place, (place += size)));
  }
  for (const node of data.nodes) { // filters as (K, C / groups, R, S), whatever they are kept as
    const own = params[node.name];
    if (!own?.w) continue;
    const [K, ...rest] = own.w.shape;
    own.w.shape = { 1: [K, rest[0], 1, 1], 2: [K, 1, ...rest], 3: [K, ...rest] }[rest.length];
  }
  const scans = bytes(data.scans.bytes);

  /** The input of a scan: each of its 8 x 8 points four times four, 0..16 as -1..1, three equal channels. */
  function input(scan) {
    const x = core.tensor([3, 32, 32]);
    for (let i = 0; i < x.data.length; i++) {
      const h = (i >> 5) & 31, v = i & 31;
      x.data[i] = scans[scan * 64 + (h >> 2) * 8 + (v >> 2)] / 8 - 1;
    }
    return x;
  }
  const last = data.nodes[data.nodes.length - 1].name;
  const best = (logits) => logits.data.indexOf(Math.max(...logits.data));

  /** Ten logits as rows of a table, with those of the network as it was trained. */
  function tabulate(body, logits, trained) {
    const most = Math.max(largest(logits.data), largest(trained.data));
    const at = (value) => 33.3 + (value / most) * (value < 0 ? 33.3 : 66.6);
    body.innerHTML = [...logits.data].map((value, k) => {
      const [from, to] = [at(Math.min(0, value)), at(Math.max(0, value))];
      const fill = `left:${from}%;width:${to - from}%;background:var(--${value < 0 ? "minus" : "plus"})`;
      return `<tr class="${k === best(logits) ? "best" : ""}"><th scope="row">${k}</th><td>${shown(value)}</td>
        <td class="faint">${shown(trained.data[k])}</td><td class="track" aria-hidden="true"><span class="fill" style="${fill}"></span>
        <span class="tick" style="left:${at(trained.data[k])}%"></span></td></tr>`;
    }).join("");
  }
  return { nodes: data.nodes, params, input, last, best, tabulate };
})();

const block = (() => {
  const blocks = [...new Set(data.nodes.map((node) => node.name.split(".")[0]))].filter((name) => name.startsWith("block"));
  $("which").innerHTML = blocks.map((name, i) => `<option value="${name}">${i + 1}</option>`).join("");
  $("which").value = "block4";
  $("scan").max = data.scans.labels.length - 1;
  let dragged = {}; // gates that the reader has set: {channel: value}
  let found;

  const has = (name) => data.nodes.some((node) => node.name === name);
  const STAGES = [
    ["expand.act", "widened", "by a 1 × 1 convolution"], ["depthwise.act", "looked at", "each channel by itself"],
    ["se.scale", "weighed", "times its gate"], ["project.bn", "narrowed", "no activation"], ["add", "with the shortcut", ""],
  ];

  function compute() {
    const name = $("which").value, act = $("act").value, gate = `${name}.se.gate`;
    const nodes = data.nodes.map((node) => {
      const swapped = act && [`${name}.expand.act`, `${name}.depthwise.act`].includes(node.name);
      return swapped ? { ...node, op: act, attrs: {} } : node;
    });
    const edit = (y) => core.tensor(y.shape, y.data.map((v, c) => dragged[c] ?? ($("se").checked ? v : 1)));
    const x = network.input($("scan").value);
    const trained = core.run(data.nodes, network.params, x);
    const now = core.run(nodes, network.params, x, { [gate]: edit });
    return { name, gate, trained, now, entry: data.nodes.find((node) => node.name.startsWith(`${name}.`)).inputs[0] };
  }

  function drawGates() {
    const box = $("gates"), gates = found.now[found.gate], was = found.trained[found.gate], colours = palette();
    const context = sized(box, 640, 120);
    context.fillStyle = css(colours.zero);
    context.fillRect(0, 0, 640, 120);
    if (!gates) return;
    const wide = 640 / gates.data.length, chosen = Number($("gate-channel").value);
    gates.data.forEach((gate, c) => {
      context.fillStyle = css(c === chosen ? colours.kernel : colours.plus);
      context.fillRect(c * wide + 1, 116 - gate * 110, Math.max(1, wide - 2), gate * 110 + 2);
      context.fillStyle = css(colours.ink);
      context.fillRect(c * wide + 1, 115 - was.data[c] * 110, Math.max(1, wide - 2), 2);
    });
  }

  function update() {
    found = compute();
    const { name, gate, trained, now, entry } = found, gates = now[gate], label = data.scans.labels[$("scan").value];
    for (const id of ["se", "gate", "gate-channel"]) $(id).disabled = !gates;
    $("se-said").textContent = gates ? "" : "(this block has none)";
    if (gates) {
      $("gate-channel").max = gates.data.length - 1;
      const channel = Number($("gate-channel").value);
      $("gate-channel-said").textContent = `${channel} of ${gates.data.length}`;
      document.querySelector(".swatch.chosen").textContent = channel;
      $("gate").value = gates.data[channel];
      $("gate-said").textContent = `${shown(gates.data[channel])}${channel in dragged ? ", yours" : ""}`;
    } else for (const id of ["gate", "gate-channel"]) $(`${id}-said`).textContent = "none";
    drawGates();
    const stages = STAGES.filter(([part]) => has(`${name}.${part}`)).map(([part, title, note]) => ({ title, note, tensor: now[`${name}.${part}`] }));
    drawStrip($("tensors"), [
      { title: "the scan", note: "", tensor: core.tensor([1, 32, 32], now.input.data.subarray(0, 1024)) },
      { title: "enters the block", note: "", tensor: now[entry] }, ...stages,
    ]);
    const said = network.best(now[network.last]), same = said === network.best(trained[network.last]);
    $("scan-said").textContent = `a ${label}`;
    $("answer").textContent = `The scan is a ${label}; the network says ${said}${same ? "" : `, and said ${network.best(trained[network.last])} as trained`}.`;
    network.tabulate($("logits"), now[network.last], trained[network.last]);
  }

  function drag(event) {
    const gates = found.now[found.gate];
    if (!gates || !(event.buttons & 1)) return;
    const box = event.currentTarget.getBoundingClientRect();
    const channel = Math.floor(((event.clientX - box.left) / box.width) * gates.data.length);
    if (channel < 0 || channel >= gates.data.length) return;
    $("gate-channel").value = channel;
    dragged[channel] = Math.fround(Math.max(0, Math.min(1, (116 - ((event.clientY - box.top) / box.height) * 120) / 110)));
    update();
  }
  const restore = () => { dragged = {}; $("gate-channel").value = 0; $("se").checked = true; $("act").value = ""; update(); };
  $("gates").addEventListener("pointerdown", drag);
  $("gates").addEventListener("pointermove", drag);
  $("gate").addEventListener("input", () => { dragged[$("gate-channel").value] = Number($("gate").value); update(); });
  for (const id of ["scan", "act", "se", "gate-channel"]) $(id).addEventListener("input", update);
  $("which").addEventListener("input", () => { dragged = {}; $("gate-channel").value = 0; update(); });
  $("restore").addEventListener("click", restore);
  onColours(update);
  update();
  return { found: () => found };
})();
