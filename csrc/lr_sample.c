#include "lr_sample.h"

#include "lr_sample_private.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* The logits and what one look at all of them told. */
typedef struct {
    const lr_sample_scan *scan;
    const float *x;
    uint32_t n, row, rows;
    float top;
    float groups[LR_ROWS * LR_GROUPS]; /* the greatest of each group */
} view;

static uint32_t row_size(const view *v, uint32_t r) {
    const uint32_t left = v->n - r * v->row;
    return left < v->row ? left : v->row;
}

static lr_status survey(view *v, const float *x, uint32_t n) {
    v->scan = lr_sample_scan_choose(NULL);
    v->x = x;
    v->n = n;
    v->row = LR_ROW_LEAST;
    if (n > LR_ROWS * LR_ROW_LEAST) v->row = (n / LR_ROWS / LR_GROUPS + 1) * LR_GROUPS;
    v->rows = (n - 1) / v->row + 1;
    v->top = -INFINITY;
    for (uint32_t r = 0; r < v->rows; r++) v->scan->row_max(x + r * v->row, row_size(v, r), v->groups + r * LR_GROUPS);
    for (uint32_t g = 0; g < v->rows * LR_GROUPS; g++)
        if (v->groups[g] > v->top) v->top = v->groups[g];
    return v->top > -INFINITY ? LR_OK : LR_E_FORMAT;
}

/* The first logit that is the greatest. */
static int32_t first_of_top(const view *v) {
    uint32_t g = 0;
    while (v->groups[g] != v->top) g++;
    uint32_t i = g / LR_GROUPS * v->row;
    while (v->x[i] != v->top) i++;
    return (int32_t)i;
}

/* All logits that are at least `least`, into `out`; NaN and -infinity never are. */
static uint32_t gather(const view *v, float least, lr_candidate *out) {
    uint32_t m = 0;
    if (!(least >= -FLT_MAX)) least = -FLT_MAX;
    for (uint32_t g = 0; g < v->rows * LR_GROUPS; g++) {
        if (!(v->groups[g] >= least)) continue;
        const uint32_t start = g / LR_GROUPS * v->row, end = start + row_size(v, g / LR_GROUPS);
        for (uint32_t i = start + g % LR_GROUPS; i < end; i += LR_GROUPS)
            if (v->x[i] >= least) out[m++] = (lr_candidate){.logit = v->x[i], .id = (int32_t)i};
    }
    return m;
}

static bool before(const lr_candidate *a, const lr_candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void swap(lr_candidate *a, lr_candidate *b) {
    const lr_candidate t = *a;
    *a = *b, *b = t;
}

/* Puts what comes before some pivot of c[low..high) in front of it and says where the pivot stands. */
static uint32_t partition(lr_candidate *c, uint32_t low, uint32_t high, uint64_t *chance) {
    swap(&c[low + lr_sample_chance(chance) % (high - low)], &c[high - 1]);
    uint32_t p = low;
    for (uint32_t i = low; i < high - 1; i++)
        if (before(&c[i], &c[high - 1])) swap(&c[i], &c[p++]);
    swap(&c[p], &c[high - 1]);
    return p;
}

/* The first `k` of `m` to the front. */
static void select_count(lr_candidate *c, uint32_t m, uint32_t k) {
    uint64_t chance = m;
    for (uint32_t low = 0, high = m; high - low > 1;) {
        const uint32_t p = partition(c, low, high, &chance);
        if (p == k) return;
        if (p > k)
            high = p;
        else
            low = p + 1;
        if (low >= high) return;
    }
}

/* The shortest beginning of the sorted candidates whose weights reach `wanted`, to the front; returns its length. */
static uint32_t select_mass(lr_candidate *c, uint32_t m, double wanted) {
    uint64_t chance = m;
    uint32_t low = 0, high = m;
    double mass = 0;
    while (low < high) {
        const uint32_t p = partition(c, low, high, &chance);
        double more = 0;
        for (uint32_t i = low; i < p; i++) more += (double)c[i].weight;
        if (p > low && mass + more >= wanted) {
            high = p;
            continue;
        }
        mass += more + (double)c[p].weight;
        if (mass >= wanted) return p + 1;
        low = p + 1;
    }
    return high;
}

/* The `k`th greatest of the groups' greatest: `k` logits at least are no less. */
static float bound_for(const view *v, uint32_t k, lr_candidate *scratch) {
    const uint32_t groups = v->rows * LR_GROUPS;
    if (k > groups || groups > v->n) return -FLT_MAX;
    for (uint32_t g = 0; g < groups; g++) scratch[g] = (lr_candidate){.logit = v->groups[g], .id = (int32_t)g};
    select_count(scratch, groups, k - 1);
    return scratch[k - 1].logit;
}

static double weigh(const view *v, lr_candidate *c, uint32_t m) {
    double mass = 0;
    for (uint32_t i = 0; i < m; i++) {
        c[i].weight = lr_sample_exp(c[i].logit - v->top);
        mass += (double)c[i].weight;
    }
    return mass;
}

static double mass_of_all(const view *v) {
    double mass = 0;
    for (uint32_t r = 0; r < v->rows; r++) mass += v->scan->row_mass(v->x + r * v->row, row_size(v, r), v->top, 1);
    return mass;
}

/* Every candidate that top_k and min_p allow, and that top_p may. *mass is that of all that top_p counts. */
static uint32_t allowed(const view *v, const lr_sample_params *p, lr_candidate *c, double *mass) {
    const float floor = p->min_p > 0 ? v->top + logf(p->min_p) - 1e-3f : -FLT_MAX;
    uint32_t m;
    if (p->top_k > 0 && (uint32_t)p->top_k < v->n) {
        m = gather(v, bound_for(v, (uint32_t)p->top_k, c), c);
        if (m > (uint32_t)p->top_k) {
            select_count(c, m, (uint32_t)p->top_k);
            m = (uint32_t)p->top_k;
        }
        *mass = weigh(v, c, m);
        return m;
    }
    if (p->top_p >= 1) {
        m = gather(v, floor, c);
        *mass = weigh(v, c, m);
        return m;
    }
    *mass = mass_of_all(v);
    /* Few tokens hold most of the mass: look for them from the top. */
    for (float least = v->top - 12;; least = least > v->top - 80 ? least - 24 : -FLT_MAX) {
        if (least < floor) least = floor;
        m = gather(v, least, c);
        if (weigh(v, c, m) >= (double)p->top_p * *mass || least <= floor) return m;
    }
}

static uint32_t keep(const view *v, const lr_sample_params *p, lr_candidate *c) {
    double mass = 0;
    uint32_t m = allowed(v, p, c, &mass), kept = 0;
    if (p->top_p < 1) m = select_mass(c, m, (double)p->top_p * mass);
    if (p->min_p <= 0) return m;
    for (uint32_t i = 0; i < m; i++)
        if (c[i].weight >= p->min_p) c[kept++] = c[i];
    return kept;
}

uint64_t lr_sample_chance(uint64_t *chance) {
    uint64_t z = *chance += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double between_0_and_1(uint64_t *chance) {
    return (double)(lr_sample_chance(chance) >> 11) * 0x1p-53;
}

static int32_t draw(const view *v, const lr_candidate *c, uint32_t m, float scale, uint64_t *chance) {
    double mass = 0;
    for (uint32_t i = 0; i < m; i++) mass += (double)lr_sample_exp((c[i].logit - v->top) * scale);
    double at = between_0_and_1(chance) * mass;
    for (uint32_t i = 0; i < m; i++)
        if ((at -= (double)lr_sample_exp((c[i].logit - v->top) * scale)) < 0) return c[i].id;
    return first_of_top(v); /* rounding */
}

/* Of all tokens: the row first, then the one in it. */
static int32_t draw_any(const view *v, float scale, uint64_t *chance) {
    double rows[LR_ROWS], mass = 0;
    for (uint32_t r = 0; r < v->rows; r++)
        mass += rows[r] = v->scan->row_mass(v->x + r * v->row, row_size(v, r), v->top, scale);
    double at = between_0_and_1(chance) * mass;
    uint32_t r = 0;
    while (r + 1 < v->rows && at >= rows[r]) at -= rows[r++];
    for (uint32_t i = 0, n = row_size(v, r); i < n; i++)
        if ((at -= (double)lr_sample_exp((v->x[r * v->row + i] - v->top) * scale)) < 0) return (int32_t)(r * v->row + i);
    return first_of_top(v);
}

lr_status lr_sample_check(const lr_sample_params *p) {
    if (p == NULL || p->top_k < 0) return LR_E_ARGUMENT;
    /* Asked so that a NaN is out of range too. */
    const bool fine = p->temperature >= 0 && p->temperature <= FLT_MAX && p->top_p >= 0 && p->top_p <= 1 &&
                      p->min_p >= 0 && p->min_p <= 1;
    return fine ? LR_OK : LR_E_ARGUMENT;
}

lr_status lr_sample_keep(const lr_sample_params *p, const float *logits, uint32_t n, lr_candidate *scratch,
                         uint32_t *kept) {
    view v;
    if (logits == NULL || scratch == NULL || kept == NULL || n == 0 || n > INT32_MAX || lr_sample_check(p) != LR_OK)
        return LR_E_ARGUMENT;
    const lr_status status = survey(&v, logits, n);
    if (status == LR_OK) *kept = keep(&v, p, scratch);
    return status;
}

lr_status lr_sample(const lr_sample_params *p, uint64_t *chance, const float *logits, uint32_t n,
                    lr_candidate *scratch, int32_t *id) {
    view v;
    if (chance == NULL || logits == NULL || scratch == NULL || id == NULL || n == 0 || n > INT32_MAX ||
        lr_sample_check(p) != LR_OK)
        return LR_E_ARGUMENT;
    const lr_status status = survey(&v, logits, n);
    if (status != LR_OK) return status;
    const float scale = p->temperature > 0 ? 1 / p->temperature : 0;
    /* A temperature so small that its inverse is none is no chance either. */
    if (p->temperature <= 0 || scale > FLT_MAX || v.top > FLT_MAX || p->top_k == 1)
        *id = first_of_top(&v);
    else if (p->top_p >= 1 && p->min_p <= 0 && (p->top_k == 0 || (uint32_t)p->top_k >= n))
        *id = draw_any(&v, scale, chance);
    else
        *id = draw(&v, scratch, keep(&v, p, scratch), scale, chance);
    return LR_OK;
}
