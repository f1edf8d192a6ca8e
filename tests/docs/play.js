// What test_play.py asks of the page, in a frame of each width; the answers stand in <pre id="found"> as JSON.
const frames = [...document.querySelectorAll("iframe")];
const bits = (tensor) => [...new Uint32Array(Float32Array.from(tensor.data).buffer)];
const rest = (page) => new Promise((done) => page.setTimeout(done, 300));

function set(page, id, value) {
  const input = page.document.getElementById(id);
  if (input.type === "checkbox") input.checked = value;
  else input.value = value;
  input.dispatchEvent(new page.Event("input", { bubbles: true }));
}

function press(page, id, key) {
  const target = page.document.getElementById(id);
  target.focus();
  target.dispatchEvent(new page.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
}

async function reader(page) {
  const text = (id) => page.document.getElementById(id).textContent, root = page.document.documentElement;
  const wide = [...page.document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    return !each.closest("pre, .hidden") && box.width && box.right > page.innerWidth + 0.5;
  });
  if (root.scrollWidth > page.innerWidth) wide.push(root);
  const controls = [...page.document.querySelectorAll("input, select, button, nav a, canvas[tabindex]")];
  const named = (each) => each.labels?.length || each.textContent.trim() || each.getAttribute("aria-label");
  const touched = (each) => (each.closest(".choice") ?? each).getBoundingClientRect();
  const name = (each) => each.id || each.outerHTML.slice(0, 60);
  for (const key of ["ArrowRight", "ArrowRight", "ArrowDown", "Enter"]) press(page, "map", key);
  await rest(page);
  const spoken = text("spoken").replace(/ to −?[\d.]+\.$/, " to");
  const pinned = page.document.getElementById("pin").getAttribute("aria-pressed");
  const keyboard = { row: text("row-said"), column: text("column-said"), pinned, spoken, unreachable: [] };
  for (const each of controls) {
    if (each.disabled) continue;
    each.focus();
    if (page.document.activeElement !== each || each.tabIndex < 0) keyboard.unreachable.push(name(each));
  }
  const before = text("logits");
  set(page, "gate-channel", 19);
  set(page, "gate", 0);
  const gates = [before, text("logits")];
  page.document.getElementById("restore").click();
  return {
    inner: page.innerWidth, wide: wide.map(name), controls: controls.length, nameless: controls.filter((each) => !named(each)).map(name),
    small: controls.filter((each) => touched(each).height < 44).map(name), keyboard, gates,
  };
}

function shown(page) {
  const { chosen, attrs, w, y } = page.eval("operation").made(), text = (id) => page.document.getElementById(id).textContent;
  return { attrs, w: w.shape, pointwise: chosen.pointwise, macs: text("macs"), params: text("params"), bits: bits(y), python: text("python") };
}

function settings(page) {
  const found = [], $ = (id) => page.document.getElementById(id);
  for (let i = 0; i < 24; i++) { // every value of each control, in many pairs
    $("groups").value = i % 3;
    $("kernel").value = (i >> 1) % 3;
    $("stride").value = 1 + ((i * 5) % 7) % 3;
    $("dilation").value = 1 + ((i * 3) % 5) % 3;
    $("filter").value = i % 4;
    page.document.querySelector(`[name="pad"][value="${["none", "symmetric", "same"][(i * 2 + (i >> 2)) % 3]}"]`).checked = true;
    set(page, "pointwise", i % 5 < 2);
    found.push(shown(page));
  }
  return found;
}

addEventListener("load", async () => {
  let found;
  try {
    const [narrow, broad] = frames.map((frame) => frame.contentWindow);
    found = { 375: await reader(narrow), 1280: await reader(broad) };
    const all = settings(broad);
    found.counters = all.map(({ bits: _, python: __, ...each }) => each);
    found.codes = all.filter((each) => each.attrs.stride[0] === 3).slice(0, 6);
    set(broad, "scan", 0);
    const { now } = broad.eval("block").found();
    found.logits = bits(now[broad.eval("network").last]);
    const { mistakes } = broad.eval("data"), made = broad.eval("mistakes");
    found.mistakes = mistakes.map((each) => bits(made.compute(each).wrong["block1.project.bn"]));
  } catch (error) {
    found = { error: `${error.stack}` };
  }
  document.getElementById("found").textContent = JSON.stringify(found);
});
