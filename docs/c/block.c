/* One inverted residual of MobileNetV3-Small, ported to C: block PACK OUT
 *
 * Block 4 of torchvision/mobilenet_v3_small at width 0.35 for an image of 48 x 64: expand, depthwise 5x5 with stride 2,
 * squeeze-and-excite, project, in float32. PACK is a folder that `refnet golden --format raw` wrote, and gives the
 * weights and the tensor that the block reads, block3.add. OUT is a folder that exists; every tensor that the block
 * makes is written there as OUT/<node>.bin, and so is the one that it reads. No error is handled beyond saying which
 * file is at fault, and nothing is fast. docs/02-port.md tells how to find out that it is right.
 *
 *     cc -std=c99 -O2 -o block block.c -lm
 *
 * Two mistakes that ports make can be compiled in:
 *     -DSAME_PADDING   the depthwise convolution is padded as TensorFlow does, the odd pixel below and on the right
 *     -DKERAS_GATE     the gate is 0.2 x + 0.5, as Keras once defined the hard sigmoid, and not x / 6 + 0.5
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    C = 8, H = 6, W = 8,           /* what the block reads: (C, H, W) */
    E = 32,                        /* expanded channels */
    R = 5, STRIDE = 2,             /* the depthwise convolution: R x R */
    P = 3, Q = 4,                  /* what it makes: (E, P, Q) */
    S = 8,                         /* squeezed channels */
    K = 16,                        /* what the block makes: (K, P, Q) */
#ifdef SAME_PADDING
    PAD = ((P - 1) * STRIDE + R - H) / 2, /* 3 pixels are missing: 1 above and 2 below */
#else
    PAD = R / 2,
#endif
};

static const char *pack, *out;

/* ---- files: little-endian float32 and nothing else ---- */

static float *read(const char *folder, const char *name, size_t count)
{
    char path[4096];
    float *numbers = malloc(count * sizeof *numbers);
    snprintf(path, sizeof path, "%s/%s/%s.bin", pack, folder, name);
    FILE *file = fopen(path, "rb");
    if (!numbers || !file || fread(numbers, sizeof *numbers, count, file) != count || fgetc(file) != EOF) {
        fprintf(stderr, "%s: is not there or is not %lu float32\n", path, (unsigned long)count);
        exit(2);
    }
    fclose(file);
    return numbers;
}

static const float *param(const char *node, const char *slot, size_t count)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", node, slot);
    return read("params", name, count); /* read once and never freed: the program is over soon */
}

static void dump(const char *name, const float *x, size_t count)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.bin", out, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(x, sizeof *x, count, file) != count || fclose(file) != 0) {
        fprintf(stderr, "%s: cannot be written\n", path);
        exit(2);
    }
}

/* ---- layers: each works on one image, (channels, pixels), and dumps what it makes ---- */

/* y[k] = b[k] + sum over c of w[k][c] x[c], at every pixel; a convolution before a batch norm has no bias */
static void pointwise(const char *name, float *y, const float *x, int from, int to, int pixels, int bias)
{
    const float *w = param(name, "w", (size_t)to * from), *b = bias ? param(name, "b", to) : NULL;
    for (int k = 0; k < to; k++)
        for (int i = 0; i < pixels; i++) {
            float sum = b ? b[k] : 0;
            for (int c = 0; c < from; c++)
                sum += w[k * from + c] * x[c * pixels + i];
            y[k * pixels + i] = sum;
        }
    dump(name, y, (size_t)to * pixels);
}

/* (E, H, W) -> (E, P, Q): each channel with a kernel of its own; pixels outside the image are zero */
static void depthwise(const char *name, float *y, const float *x)
{
    const float *w = param(name, "w", E * R * R);
    for (int c = 0; c < E; c++)
        for (int p = 0; p < P; p++)
            for (int q = 0; q < Q; q++) {
                float sum = 0;
                for (int r = 0; r < R; r++)
                    for (int s = 0; s < R; s++) {
                        int h = p * STRIDE - PAD + r, v = q * STRIDE - PAD + s;
                        if (h >= 0 && h < H && v >= 0 && v < W)
                            sum += w[(c * R + r) * R + s] * x[(c * H + h) * W + v];
                    }
                y[(c * P + p) * Q + q] = sum;
            }
    dump(name, y, E * P * Q);
}

/* gamma (x - mean) / sqrt(var + eps) + beta, by channel */
static void batch_norm(const char *name, float *y, const float *x, int channels, int pixels)
{
    const float *gamma = param(name, "gamma", channels), *beta = param(name, "beta", channels);
    const float *mean = param(name, "mean", channels), *var = param(name, "var", channels);
    for (int c = 0; c < channels; c++)
        for (int i = c * pixels; i < (c + 1) * pixels; i++)
            y[i] = gamma[c] * (x[i] - mean[c]) / sqrtf(var[c] + 0.001f) + beta[c];
    dump(name, y, (size_t)channels * pixels);
}

static float cut(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static float hard_swish(float x) { return x * (cut(x + 3, 0, 6) / 6); }

static float relu(float x) { return x > 0 ? x : 0; }

#ifdef KERAS_GATE
static float hard_sigmoid(float x) { return cut(0.2f * x + 0.5f, 0, 1); }
#else
static float hard_sigmoid(float x) { return cut(x + 3, 0, 6) / 6; }
#endif

static void activate(const char *name, float *y, const float *x, size_t count, float (*f)(float))
{
    for (size_t i = 0; i < count; i++)
        y[i] = f(x[i]);
    dump(name, y, count);
}

static void average(const char *name, float *y, const float *x, int channels, int pixels)
{
    for (int c = 0; c < channels; c++) {
        float sum = 0;
        for (int i = 0; i < pixels; i++)
            sum += x[c * pixels + i];
        y[c] = sum / (float)pixels;
    }
    dump(name, y, channels);
}

static void scale(const char *name, float *y, const float *x, const float *gate, int channels, int pixels)
{
    for (int c = 0; c < channels; c++)
        for (int i = c * pixels; i < (c + 1) * pixels; i++)
            y[i] = x[i] * gate[c];
    dump(name, y, (size_t)channels * pixels);
}

/* ---- the block ---- */

int main(int argc, char **argv)
{
    static float a[E * H * W], b[E * H * W]; /* before the stride */
    static float x[E * P * Q], y[E * P * Q], gate[E], squeezed[S]; /* after it */
    if (argc != 3)
        return fprintf(stderr, "usage: block PACK OUT\n"), 2;
    pack = argv[1], out = argv[2];

    const float *input = read("tensors", "block3.add", C * H * W);
    dump("block3.add", input, C * H * W); /* what the port was given belongs to what it made of it */

    pointwise("block4.expand", a, input, C, E, H * W, 0);
    batch_norm("block4.expand.bn", b, a, E, H * W);
    activate("block4.expand.act", a, b, E * H * W, hard_swish);

    depthwise("block4.depthwise", x, a);
    batch_norm("block4.depthwise.bn", y, x, E, P * Q);
    activate("block4.depthwise.act", x, y, E * P * Q, hard_swish);

    average("block4.se.pool", gate, x, E, P * Q);
    pointwise("block4.se.reduce", squeezed, gate, E, S, 1, 1);
    activate("block4.se.reduce.act", squeezed, squeezed, S, relu);
    pointwise("block4.se.expand", gate, squeezed, S, E, 1, 1);
    activate("block4.se.gate", gate, gate, E, hard_sigmoid);
    scale("block4.se.scale", y, x, gate, E, P * Q);

    pointwise("block4.project", x, y, E, K, P * Q, 0);
    batch_norm("block4.project.bn", y, x, K, P * Q);
    return 0;
}
