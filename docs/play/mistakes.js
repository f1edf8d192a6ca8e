// Mistakes: what a port gets wrong in block 1, where it shows, and what refnet says of it.
const mistakes = (() => {
  const NAMES = { "kernel-flip": "the kernel flipped", "bn-eps": "another eps", "hsigmoid-slope": "a slope of 0.2", "pad-same": "SAME padding" };
  const END = "block1.project.bn";
  $("bugs").insertAdjacentHTML("beforeend", data.mistakes.map((each, i) =>
    `<label class="choice"><input type="radio" name="bug" value="${i}" ${i ? "" : "checked"}> ${NAMES[each.bug]}</label>`).join(""));

  /** The network with a mistake in it. */
  function compute(mistake) {
    const nodes = data.nodes.map((node) => mistake.nodes[node.name] ?? node), params = { ...network.params };
    for (const [key, values] of Object.entries(mistake.params)) {
      const cut = key.lastIndexOf("."), name = key.slice(0, cut), slot = key.slice(cut + 1);
      params[name] = { ...params[name], [slot]: core.tensor(params[name][slot].shape, Float32Array.from(values)) };
    }
    const x = network.input(0); // the scan that refnet was shown
    return { right: core.run(data.nodes, network.params, x), wrong: core.run(nodes, params, x) };
  }

  function update() {
    const mistake = data.mistakes[document.querySelector('input[name="bug"]:checked').value];
    const { right, wrong } = compute(mistake), [y, z] = [right[END], wrong[END]];
    const error = core.tensor(y.shape, z.data.map((v, i) => v - y.data[i])), most = largest(y.data);
    $("sentence").textContent = mistake.sentence;
    drawStrip($("errors"), [
      { title: "block 1, right", tensor: y, most }, { title: "block 1, with the mistake", tensor: z, most },
      { title: "the error", note: "in the same colours", tensor: error, most }, { title: "the error", note: "magnified", tensor: error },
    ]);
    const worst = error.data.reduce((at, v, i) => (Math.abs(v) > Math.abs(error.data[at]) ? i : at), 0);
    const [, H, W] = error.shape, place = [Math.floor(worst / H / W), Math.floor(worst / W) % H, worst % W];
    const [was, is] = [right, wrong].map((tensors) => network.best(tensors[network.last]));
    $("error-said").textContent = `The largest error is ${error.data[worst].toPrecision(3).replace("-", "−")}, in channel ${place[0]} at row ${place[1]}, `
      + `column ${place[2]}. The network says ${is}${is === was ? ", as before: the answer alone does not show this mistake" : ` instead of ${was}`}.`;
  }
  for (const choice of document.querySelectorAll('input[name="bug"]')) choice.addEventListener("input", update);
  onColours(update);
  update();
  return { compute };
})();
