// refnet's operations, in the order of its loops (refnet/readings/loops), rounded to float32 after every step: the same
// bits. A tensor is {shape, data}: [C, H, W] or [F], and a Float32Array. Nothing here touches the page.
const core = (() => {
  const round = Math.fround;
  const tensor = (shape, data) => ({ shape, data: data ?? new Float32Array(shape.reduce((a, b) => a * b, 1)) });

  /** How many places a kernel fits in along one axis. */
  const places = (size, kernel, stride, pad, dilation) =>
    Math.max(0, Math.ceil((size + pad[0] + pad[1] - (kernel - 1) * dilation) / stride));

  /** TensorFlow's SAME: as many places as size / stride, rounded up; the odd one of the border comes after. */
  function same(size, kernel, stride, dilation) {
    const total = Math.max(0, (Math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size);
    return [Math.floor(total / 2), total - Math.floor(total / 2)];
  }

  /** The products of one output, in the order in which they are summed; h, v outside of the image count as nothing. */
  function* taps(x, w, { stride, pad, dilation, groups }, k, p, q) {
    const [, H, W] = x.shape, [K, C, R, S] = w.shape;
    const first = Math.floor(k / (K / groups)) * C;
    for (let c = 0; c < C; c++)
      for (let r = 0; r < R; r++)
        for (let s = 0; s < S; s++) {
          const h = p * stride[0] - pad[0][0] + r * dilation[0], v = q * stride[1] - pad[1][0] + s * dilation[1];
          const inside = h >= 0 && h < H && v >= 0 && v < W;
          const weight = w.data[((k * C + c) * R + r) * S + s];
          const value = inside ? x.data[((first + c) * H + h) * W + v] : 0;
          yield { c: first + c, r, s, h, v, inside, x: value, w: weight, product: round(value * weight) };
        }
  }

  /** conv2d, grouped_conv2d, depthwise_conv2d and pointwise_conv2d: w is (K, C / groups, R, S), b is (K,) or null. */
  function convolve(x, w, b, { stride, pad, dilation, groups }) {
    const [, H, W] = x.shape, [K, C, R, S] = w.shape;
    const P = places(H, R, stride[0], pad[0], dilation[0]), Q = places(W, S, stride[1], pad[1], dilation[1]);
    const y = tensor([K, P, Q]);
    for (let k = 0; k < K; k++) {
      const first = Math.floor(k / (K / groups)) * C;
      for (let p = 0; p < P; p++)
        for (let q = 0; q < Q; q++) {
          let total = 0;
          for (let c = 0; c < C; c++)
            for (let r = 0; r < R; r++) {
              const h = p * stride[0] - pad[0][0] + r * dilation[0];
              if (h < 0 || h >= H) continue;
              for (let s = 0; s < S; s++) {
                const v = q * stride[1] - pad[1][0] + s * dilation[1];
                if (v < 0 || v >= W) continue;
                total = round(total + round(x.data[((first + c) * H + h) * W + v] * w.data[((k * C + c) * R + r) * S + s]));
              }
            }
          y.data[(k * P + p) * Q + q] = b ? round(total + b.data[k]) : total;
        }
    }
    return y;
  }

  /** gamma * ((x - mean) * (1 / sqrt(var + eps))) + beta */
  function batch_norm(x, [gamma, beta, mean, variance], { eps }) {
    const y = tensor(x.shape), area = x.data.length / x.shape[0];
    for (let c = 0; c < x.shape[0]; c++) {
      const root = round(1 / round(Math.sqrt(round(variance.data[c] + round(eps)))));
      for (let i = c * area; i < (c + 1) * area; i++) {
        const centred = round(round(x.data[i] - mean.data[c]) * root);
        y.data[i] = round(round(gamma.data[c] * centred) + beta.data[c]);
      }
    }
    return y;
  }

  // As Python's max and min have them: of equal ones the first. That decides the sign of a zero.
  const most = (a, b) => (b > a ? b : a), least = (a, b) => (b < a ? b : a);
  const each = (x, formula) => tensor(x.shape, x.data.map((v) => (Number.isNaN(v) ? v : formula(v))));

  const relu = (x) => each(x, (v) => most(v, 0));
  const relu6 = (x) => each(x, (v) => least(most(v, 0), 6));
  const hard_sigmoid = (x, { slope, offset }) =>
    each(x, (v) => least(most(round(round(round(slope) * v) + round(offset)), 0), 1));
  const hard_swish = (x) => each(x, (v) => round(round(v * least(most(round(v + 3), 0), 6)) / 6));

  /** The mean of each channel: the global pool. */
  function avg_pool2d(x) {
    const area = x.data.length / x.shape[0], y = tensor([x.shape[0], 1, 1]);
    for (let c = 0; c < x.shape[0]; c++) {
      let total = 0;
      for (let i = c * area; i < (c + 1) * area; i++) total = round(total + x.data[i]);
      y.data[c] = round(total / area);
    }
    return y;
  }

  /** Each channel times its gate. */
  function scale(x, gate) {
    const area = x.data.length / x.shape[0];
    return tensor(x.shape, x.data.map((v, i) => round(v * gate.data[Math.floor(i / area)])));
  }

  const add = (x, y) => tensor(x.shape, x.data.map((v, i) => round(v + y.data[i])));
  const flatten = (x) => tensor([x.data.length], x.data);

  const CONVOLUTIONS = ["conv2d", "grouped_conv2d", "depthwise_conv2d", "pointwise_conv2d"];
  const ACTIVATIONS = { relu, relu6, hard_swish, hard_sigmoid };

  /** One node of a graph on its inputs. */
  function step({ op, attrs }, inputs, params) {
    const [x] = inputs;
    if (CONVOLUTIONS.includes(op)) {
      const one = { stride: [1, 1], pad: [[0, 0], [0, 0]], dilation: [1, 1], groups: 1 };
      const groups = op === "depthwise_conv2d" ? x.shape[0] : 1;
      return convolve(x, params.w, params.b ?? null, { ...one, groups, ...attrs });
    }
    if (op === "batch_norm") return batch_norm(x, [params.gamma, params.beta, params.mean, params.var], attrs);
    if (op in ACTIVATIONS) return ACTIVATIONS[op](x, attrs);
    if (op === "identity") return x;
    return { avg_pool2d, scale, add, flatten }[op](...inputs);
  }

  /**
   * Every tensor of a graph by name.
   * nodes: [{name, op, inputs, attrs}]; params: {name: {slot: tensor}}; edit: {name: tensor => tensor}, after that node.
   */
  function run(nodes, params, x, edit = {}) {
    const tensors = { input: x };
    for (const node of nodes) {
      const y = step(node, node.inputs.map((name) => tensors[name]), params[node.name] ?? {});
      tensors[node.name] = edit[node.name] ? edit[node.name](y) : y;
    }
    return tensors;
  }

  /** What refnet's cost counts of a convolution: multiply-adds and stored numbers. */
  function cost(w, P, Q, bias = false) {
    const [K, C, R, S] = w.shape;
    return { macs: K * P * Q * C * R * S, params: K * C * R * S + (bias ? K : 0) };
  }

  return { tensor, places, same, taps, convolve, batch_norm, ...ACTIVATIONS, avg_pool2d, scale, add, run, cost };
})();
