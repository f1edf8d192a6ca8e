/* Compares a candidate's float32 tensors with a golden pack: compare PACK CANDIDATE
 *
 * PACK is a folder that `refnet golden` wrote as float32, in the format npy or raw. CANDIDATE is a folder with
 * <tensor>.npy or <tensor>.bin, little-endian float32, C order, in the pack's layout. Prints for each tensor the
 * largest and the rms difference, and at the end the first tensor that differs at all. It guesses no tolerance, so a
 * difference alone fails nothing: `refnet compare` knows how far rounding may go. Exit status: 0 every tensor was
 * compared, 1 one is missing, of another size or holds NaN or infinity, 2 the pack cannot be read.
 *
 *     cc -std=c99 -O2 -o compare compare.c -lm        (docs/pack-format.md specifies the pack)
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 4096 };

/* ---- reading a pack ---- */

/* The numbers of a .npy file, or of a file without a header; NULL if it is not there or is not float32 in C order. */
static float *load(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    size_t dot = strlen(path) - 4, start = 0;
    if (strcmp(path + dot, ".npy") == 0) { /* magic, version, length of the header, the header as text */
        unsigned char head[12] = {0};
        char text[LINE] = "";
        size_t wide = fread(head, 1, 10, file) == 10 && head[6] > 1 ? 4 : 2, length = head[8] | head[9] << 8;
        if (memcmp(head, "\x93NUMPY", 6) != 0 || (wide == 4 && fread(head + 10, 1, 2, file) != 2)
            || length >= sizeof text || fread(text, 1, length, file) != length || !strstr(text, "'<f4'")
            || !strstr(text, "'fortran_order': False")) {
            fclose(file);
            return NULL;
        }
        start = 8 + wide + length;
    }
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file) - start;
    float *numbers = malloc(bytes + 1); /* + 1, so that no bytes are no error */
    fseek(file, (long)start, SEEK_SET);
    if (numbers && (bytes % 4 != 0 || fread(numbers, 1, bytes, file) != bytes)) {
        free(numbers);
        numbers = NULL;
    }
    fclose(file);
    *count = bytes / 4;
    return numbers;
}

/* One line of the manifest's "tensors": the name, the file, and how many numbers its shape holds. */
static int tensor(const char *line, char *name, char *path, size_t *count)
{
    int at = 0;
    if (sscanf(line, " \"%255[^\"]\": {\"file\": \"%255[^\"]\", \"shape\": [%n", name, path, &at) != 2 || at == 0
        || !strstr(line, "\"dtype\": \"float32\""))
        return 0;
    char *rest = (char *)line + at;
    for (*count = 1; *rest != ']'; rest += strspn(rest, ", ")) {
        char *number = rest;
        *count *= strtoul(number, &rest, 10);
        if (rest == number)
            return 0;
    }
    return 1;
}

/* ---- comparing ---- */

struct difference {
    double max, rms;
    int finite;
};

static struct difference difference(const float *golden, const float *candidate, size_t count)
{
    struct difference d = {0, 0, 1};
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)candidate[i] - golden[i]);
        d.max = error > d.max ? error : d.max;
        d.rms += error * error / (double)count;
        d.finite = d.finite && isfinite(candidate[i]);
    }
    d.rms = sqrt(d.rms);
    return d;
}

int main(int argc, char **argv)
{
    char line[LINE], path[LINE], name[256], file[256], first[256] = "";
    int inside = 0, compared = 0, failed = 0;
    if (argc != 3)
        return fprintf(stderr, "usage: compare PACK CANDIDATE\n"), 2;
    snprintf(path, sizeof path, "%s/manifest.json", argv[1]);
    FILE *manifest = fopen(path, "r");
    if (!manifest)
        return fprintf(stderr, "%s: cannot be read\n", path), 2;
    while (fgets(line, sizeof line, manifest)) {
        if (strcmp(line, " \"tensors\": {\n") == 0) {
            inside = 1;
            continue;
        }
        if (!inside || strcmp(line, " }\n") == 0) {
            inside = 0;
            continue;
        }
        size_t size, golden_size = 0, candidate_size = 0;
        if (!tensor(line, name, file, &size))
            return fprintf(stderr, "%s: take a pack of float32 in the format npy or raw\n", path), 2;
        snprintf(path, sizeof path, "%s/%s", argv[1], file);
        float *golden = load(path, &golden_size);
        if (!golden || golden_size != size)
            return fprintf(stderr, "%s: is not the %lu float32 of the manifest\n", path, (unsigned long)size), 2;
        snprintf(path, sizeof path, "%s/%s.npy", argv[2], name);
        float *candidate = load(path, &candidate_size);
        if (!candidate) {
            snprintf(path, sizeof path, "%s/%s.bin", argv[2], name);
            candidate = load(path, &candidate_size);
        }
        if (!candidate && strcmp(name, "input") == 0) {
            free(golden); /* a port need not write down what it was given */
            continue;
        }
        printf("%-28s ", name);
        if (!candidate || candidate_size != size) {
            if (candidate)
                printf("size      %lu numbers, not %lu\n", (unsigned long)candidate_size, (unsigned long)size);
            else
                printf("missing\n");
            failed++;
        } else {
            struct difference d = difference(golden, candidate, size);
            const char *word = !d.finite ? "nonfinite" : d.max > 0 ? "differs" : "exact";
            printf("%-9s max %.3e  rms %.3e\n", word, d.max, d.rms);
            if (*first == 0 && strcmp(word, "exact") != 0)
                strcpy(first, name);
            failed += !d.finite;
            compared++;
        }
        free(golden);
        free(candidate);
    }
    fclose(manifest);
    if (compared + failed == 0)
        return fprintf(stderr, "%s: no golden pack\n", argv[1]), 2;
    printf("%d compared, %d failed; the first that differs: %s\n", compared, failed, *first ? first : "none");
    return failed > 0;
}
