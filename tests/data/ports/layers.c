/* The three filters of a MobileNet as a C programmer writes them (NCHW, one image), honest and with one mistake each.
 * Compiled and called by make_ports.py; no part of refnet. */
#include <stdlib.h>

#define X(c, i, j) x[((c) * h + (i)) * wd + (j)]

static int clamp(int i, int n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

void pointwise(const float *x, const float *w, const float *b, float *y, int c, int k, int hw)
{
    for (int o = 0; o < k; o++)
        for (int p = 0; p < hw; p++) {
            float s = b ? b[o] : 0.0f;
            for (int i = 0; i < c; i++) s += x[i * hw + p] * w[o * c + i];
            y[o * hw + p] = s;
        }
}

/* mistake: walks the matrix as (C, K); reads no further than it should only because C == K */
void pointwise_ck(const float *x, const float *w, const float *b, float *y, int c, int k, int hw)
{
    for (int p = 0; p < hw; p++)
        for (int o = 0; o < k; o++) {
            float s = b ? b[o] : 0.0f;
            for (int i = 0; i < c; i++) s += x[i * hw + p] * w[i * k + o];
            y[o * hw + p] = s;
        }
}

void depthwise(const float *x, const float *w, const float *b, float *y, int c, int h, int wd, int n, int stride,
               int pad, int oh, int ow)
{
    for (int ch = 0; ch < c; ch++)
        for (int i = 0; i < oh; i++)
            for (int j = 0; j < ow; j++) {
                float s = b ? b[ch] : 0.0f;
                for (int r = 0; r < n; r++)
                    for (int q = 0; q < n; q++) {
                        int ii = i * stride - pad + r, jj = j * stride - pad + q;
                        if (ii >= 0 && ii < h && jj >= 0 && jj < wd) s += X(ch, ii, jj) * w[(ch * n + r) * n + q];
                    }
                y[(ch * oh + i) * ow + j] = s;
            }
}

/* mistake: clamps the index instead of skipping what lies outside */
void depthwise_clamp(const float *x, const float *w, const float *b, float *y, int c, int h, int wd, int n, int stride,
                     int pad, int oh, int ow)
{
    for (int ch = 0; ch < c; ch++)
        for (int i = 0; i < oh; i++)
            for (int j = 0; j < ow; j++) {
                float s = b ? b[ch] : 0.0f;
                for (int r = 0; r < n; r++)
                    for (int q = 0; q < n; q++) {
                        int ii = clamp(i * stride - pad + r, h), jj = clamp(j * stride - pad + q, wd);
                        s += X(ch, ii, jj) * w[(ch * n + r) * n + q];
                    }
                y[(ch * oh + i) * ow + j] = s;
            }
}

/* mistake: the window's centre is at i * stride + stride / 2 */
void depthwise_phase(const float *x, const float *w, const float *b, float *y, int c, int h, int wd, int n, int stride,
                     int pad, int oh, int ow)
{
    for (int ch = 0; ch < c; ch++)
        for (int i = 0; i < oh; i++)
            for (int j = 0; j < ow; j++) {
                float s = b ? b[ch] : 0.0f;
                for (int r = -pad; r <= pad; r++)
                    for (int q = -pad; q <= pad; q++) {
                        int ii = i * stride + stride / 2 + r, jj = j * stride + stride / 2 + q;
                        if (ii < 0 || ii >= h || jj < 0 || jj >= wd) continue;
                        s += X(ch, ii, jj) * w[(ch * n + r + pad) * n + q + pad];
                    }
                y[(ch * oh + i) * ow + j] = s;
            }
}

/* mistake: a true convolution, x[i - r] * w[r] as the textbook on signals has it */
void depthwise_signal(const float *x, const float *w, const float *b, float *y, int c, int h, int wd, int n, int stride,
                      int pad, int oh, int ow)
{
    for (int ch = 0; ch < c; ch++)
        for (int i = 0; i < oh; i++)
            for (int j = 0; j < ow; j++) {
                float s = b ? b[ch] : 0.0f;
                for (int r = 0; r < n; r++)
                    for (int q = 0; q < n; q++) {
                        int ii = i * stride + pad - r, jj = j * stride + pad - q;
                        if (ii >= 0 && ii < h && jj >= 0 && jj < wd) s += X(ch, ii, jj) * w[(ch * n + r) * n + q];
                    }
                y[(ch * oh + i) * ow + j] = s;
            }
}

void hard_swish(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++) {
        float t = x[i] + 3.0f;
        y[i] = x[i] * (t < 0.0f ? 0.0f : t > 6.0f ? 6.0f : t) / 6.0f;
    }
}

/* mistake: the sixth has four digits */
void hard_swish_1667(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++) {
        float t = x[i] + 3.0f;
        y[i] = x[i] * (t < 0.0f ? 0.0f : t > 6.0f ? 6.0f : t) * 0.1667f;
    }
}
