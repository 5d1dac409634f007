/* What looks at every logit. Written once, over vectors as GCC and Clang have them in C, and compiled for each kind
 * of CPU: a vocabulary of 128k is half a megabyte per token, so this must run at the speed of the cache. */
#include "lr_sample_private.h"

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));

_Static_assert(sizeof(vf) == LR_GROUPS * sizeof(float), "a vector holds one logit of each group");

/* Macros, because a vector as an argument has no fixed way through a call. */
#define LOAD(v, p) memcpy(&(v), (p), sizeof(v))
/* b where it is greater, else a: false for a NaN in b, so that a stays. */
#define KEEP_GREATER(a, b)                                       \
    do {                                                         \
        const vi greater_ = (b) > (a);                           \
        (a) = (vf)(((vi)(b) & greater_) | ((vi)(a) & ~greater_)); \
    } while (0)

INLINE void row_max(const float *x, uint32_t n, float *groups) {
    vf a = {0}, b, c, d, v;
    a = a - INFINITY;
    b = c = d = a;
    uint32_t i = 0;
    for (; i + 4 * LR_GROUPS <= n; i += 4 * LR_GROUPS) {
        LOAD(v, x + i);
        KEEP_GREATER(a, v);
        LOAD(v, x + i + LR_GROUPS);
        KEEP_GREATER(b, v);
        LOAD(v, x + i + 2 * LR_GROUPS);
        KEEP_GREATER(c, v);
        LOAD(v, x + i + 3 * LR_GROUPS);
        KEEP_GREATER(d, v);
    }
    KEEP_GREATER(a, b);
    KEEP_GREATER(c, d);
    KEEP_GREATER(a, c);
    memcpy(groups, &a, sizeof a);
    for (; i < n; i++)
        if (x[i] > groups[i % LR_GROUPS]) groups[i % LR_GROUPS] = x[i];
}

/* e^x = 2^k * e^r, with |r| <= ln(2) / 2 and a Taylor polynomial for e^r. Adding 1.5 * 2^23 rounds to an integer and
 * leaves it in the low bits. */
#define EXP(V, I, e, x)                                                             \
    do {                                                                            \
        const I live_ = (x) >= -87.0f;                                              \
        const V x_ = (V)((I)(x) & live_);                                           \
        const V k_ = x_ * 1.44269504f + 12582912.0f, k = k_ - 12582912.0f;          \
        const V r_ = (x_ - k * 0.693359375f) - k * -2.12194440e-4f;                 \
        V p_ = r_ * 1.3888889e-3f + 8.3333333e-3f;                                  \
        p_ = p_ * r_ + 4.1666667e-2f;                                               \
        p_ = p_ * r_ + 1.6666667e-1f;                                               \
        p_ = p_ * r_ + 0.5f;                                                        \
        p_ = p_ * r_ * r_ + r_ + 1.0f;                                              \
        const I two_ = ((I)k_ - 0x4B400000 + 127) << 23;                            \
        (e) = (V)((I)(p_ * (V)two_) & live_);                                       \
    } while (0)

INLINE double row_mass(const float *x, uint32_t n, float top, float scale) {
    vf sum = {0}, v, e;
    uint32_t i = 0;
    for (; i + LR_GROUPS <= n; i += LR_GROUPS) {
        LOAD(v, x + i);
        v = (v - top) * scale;
        EXP(vf, vi, e, v);
        sum += e;
    }
    double mass = 0;
    for (uint32_t g = 0; g < LR_GROUPS; g++) mass += (double)sum[g];
    for (; i < n; i++) mass += (double)lr_sample_exp((x[i] - top) * scale);
    return mass;
}

typedef float v1 __attribute__((vector_size(4)));
typedef int32_t i1 __attribute__((vector_size(4)));

float lr_sample_exp(float x) {
    const v1 v = {x};
    v1 e;
    EXP(v1, i1, e, v);
    return e[0];
}

static void row_max_plain(const float *x, uint32_t n, float *groups) {
    row_max(x, n, groups);
}

static double row_mass_plain(const float *x, uint32_t n, float top, float scale) {
    return row_mass(x, n, top, scale);
}

static const lr_sample_scan plain = {"plain", row_max_plain, row_mass_plain};

#ifdef __x86_64__
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512dq")))

AVX2 static void row_max_avx2(const float *x, uint32_t n, float *groups) {
    row_max(x, n, groups);
}

AVX2 static double row_mass_avx2(const float *x, uint32_t n, float top, float scale) {
    return row_mass(x, n, top, scale);
}

AVX512 static void row_max_avx512(const float *x, uint32_t n, float *groups) {
    row_max(x, n, groups);
}

AVX512 static double row_mass_avx512(const float *x, uint32_t n, float top, float scale) {
    return row_mass(x, n, top, scale);
}

static const lr_sample_scan avx2 = {"avx2", row_max_avx2, row_mass_avx2};
static const lr_sample_scan avx512 = {"avx512", row_max_avx512, row_mass_avx512};
#endif

#ifdef __x86_64__
static int named(const lr_sample_scan *scan, const char *name) {
    return name == NULL || strcmp(scan->name, name) == 0;
}
#endif

const lr_sample_scan *lr_sample_scan_choose(const char *name) {
#ifdef __x86_64__
    if (named(&avx512, name) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return &avx512;
    if (named(&avx2, name) && __builtin_cpu_supports("avx2")) return &avx2;
#else
    (void)name; /* elsewhere what every CPU has is what there is: NEON on aarch64 */
#endif
    return &plain;
}
