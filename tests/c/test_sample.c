#include "check.h"
#include "lr_sample.h"
#include "lr_sample_private.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 300000 };

static float logits[MOST];
static lr_candidate scratch[MOST], sorted[MOST];

static const lr_sample_params greedy = {.top_p = 1};

static double normal(uint64_t *chance) {
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += (double)(lr_sample_chance(chance) >> 11) * 0x1p-53;
    return sum - 6;
}

static void fill(uint32_t n, float spread, uint64_t seed) {
    for (uint32_t i = 0; i < n; i++) logits[i] = (float)normal(&seed) * spread;
}

static int by_rank(const void *left, const void *right) {
    const lr_candidate *a = left, *b = right;
    if (a->logit != b->logit) return a->logit > b->logit ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static int by_id(const void *left, const void *right) {
    const lr_candidate *a = left, *b = right;
    return (a->id > b->id) - (a->id < b->id);
}

/* llama.cpp's own way: sort everything, then cut. */
static uint32_t oracle(const lr_sample_params *p, uint32_t n) {
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++)
        if (logits[i] > -INFINITY) sorted[m++] = (lr_candidate){.logit = logits[i], .id = (int32_t)i};
    qsort(sorted, m, sizeof *sorted, by_rank);
    if (p->top_k > 0 && (uint32_t)p->top_k < m) m = (uint32_t)p->top_k;
    double mass = 0, seen = 0;
    for (uint32_t i = 0; i < m; i++) mass += exp((double)sorted[i].logit - (double)sorted[0].logit);
    for (uint32_t i = 0; i < m && p->top_p < 1; i++) {
        seen += exp((double)sorted[i].logit - (double)sorted[0].logit);
        if (seen >= (double)p->top_p * mass) m = i + 1;
    }
    while (p->min_p > 0 && m > 1 && exp((double)sorted[m - 1].logit - (double)sorted[0].logit) < (double)p->min_p) m--;
    return m;
}

/* Single precision decides alike but for one candidate at the border, if at all. */
static void check_keep(const lr_sample_params *p, uint32_t n) {
    const uint32_t wanted = oracle(p, n);
    uint32_t kept = 0;
    CHECK(lr_sample_keep(p, logits, n, scratch, &kept) == LR_OK);
    const uint32_t slack = p->top_p < 1 || p->min_p > 0 ? 1 + wanted / 2000 : 0;
    CHECK(kept >= 1 && kept + slack >= wanted && kept <= wanted + slack);
    qsort(scratch, kept, sizeof *scratch, by_rank);
    bool same = true;
    for (uint32_t i = 0; i < kept; i++) same = same && scratch[i].id == sorted[i].id;
    CHECK(same);
}

static void test_keeps_what_sorting_would(void) {
    static const uint32_t sizes[] = {1, 2, 15, 16, 17, 63, 64, 65, 1000, 2047, 2048, 2049, 4097, 32000, 128256, 262144, 262145, 300000};
    static const lr_sample_params all[] = {
        {1, 1, 0, 40},      {1, 0.95f, 0.05f, 40}, {1, 0.95f, 0, 0},  {1, 0.5f, 0, 0}, {1, 1, 0.05f, 0}, {1, 0.9f, 0.1f, 0},
        {1, 1, 0, 1},       {1, 0, 0, 0},          {1, 1, 1, 0},      {1, 1, 0, 2000}, {1, 0.3f, 0, 100}, {1, 0.999f, 0, 0},
    };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        if (sizes[s] > 33000 && s % 2 == 0) continue; /* some of the long ones: sorting is what takes the time */
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            fill(sizes[s], k % 3 == 0 ? 0.1f : 4, s * 31 + k);
            check_keep(&all[k], sizes[s]);
        }
    }
    /* Rising, falling, all the same. */
    for (uint32_t i = 0; i < 50000; i++) logits[i] = (float)i * 1e-3f;
    check_keep(&all[0], 50000);
    for (uint32_t i = 0; i < 50000; i++) logits[i] = (float)i * -1e-3f;
    check_keep(&all[0], 50000);
    for (uint32_t i = 0; i < 50000; i++) logits[i] = 3;
    check_keep(&all[0], 50000);
    check_keep(&all[3], 50000);
}

static int32_t choose(const lr_sample_params *p, uint32_t n, uint64_t *chance) {
    int32_t id = -1;
    CHECK(lr_sample(p, chance, logits, n, scratch, &id) == LR_OK);
    return id;
}

static void test_greedy(void) {
    uint64_t chance = 1;
    for (uint32_t n = 1; n < 5000; n = n * 3 / 2 + 1) {
        fill(n, 3, n);
        int32_t best = 0;
        for (uint32_t i = 0; i < n; i++)
            if (logits[i] > logits[best]) best = (int32_t)i;
        CHECK(choose(&greedy, n, &chance) == best);
        logits[n - 1] = logits[best]; /* of two equal ones the first */
        CHECK(choose(&greedy, n, &chance) == best);
    }
    CHECK(chance == 1); /* nothing was left to chance */
    const lr_sample_params one = {.temperature = 1, .top_p = 1, .top_k = 1};
    CHECK(choose(&one, 100, &chance) == choose(&greedy, 100, &chance));
    const lr_sample_params cold = {.temperature = 1e-44f, .top_p = 1};
    CHECK(choose(&cold, 100, &chance) == choose(&greedy, 100, &chance));
}

static void test_numbers_that_are_none(void) {
    uint64_t chance = 5;
    int32_t id;
    const lr_sample_params warm = {.temperature = 1, .top_p = 0.9f, .min_p = 0.01f, .top_k = 5}, any = {.temperature = 1, .top_p = 1};
    fill(5000, 1, 3);
    for (uint32_t i = 0; i < 5000; i++)
        if (i % 7 != 3) logits[i] = i % 2 ? NAN : -INFINITY;
    for (int i = 0; i < 200; i++) {
        CHECK(choose(&warm, 5000, &chance) % 7 == 3);
        CHECK(choose(&any, 5000, &chance) % 7 == 3);
        CHECK(choose(&greedy, 5000, &chance) % 7 == 3);
    }
    logits[4000] = INFINITY;
    CHECK(choose(&warm, 5000, &chance) == 4000 && choose(&any, 5000, &chance) == 4000 && choose(&greedy, 5000, &chance) == 4000);
    for (uint32_t i = 0; i < 5000; i++) logits[i] = NAN;
    CHECK(lr_sample(&warm, &chance, logits, 5000, scratch, &id) == LR_E_FORMAT);
    CHECK(lr_sample(&greedy, &chance, logits, 5000, scratch, &id) == LR_E_FORMAT);
    for (uint32_t i = 0; i < 5000; i++) logits[i] = -INFINITY;
    CHECK(lr_sample(&any, &chance, logits, 5000, scratch, &id) == LR_E_FORMAT);
}

static void test_wrong_arguments(void) {
    uint64_t chance = 0;
    int32_t id;
    static const lr_sample_params wrong[] = {{-1, 1, 0, 0},  {NAN, 1, 0, 0}, {INFINITY, 1, 0, 0}, {1, 1.5f, 0, 0}, {1, NAN, 0, 0},
                                             {1, -0.1f, 0, 0}, {1, 1, -1, 0},  {1, 1, 2, 0},        {1, 1, NAN, 0},  {1, 1, 0, -1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(lr_sample(&wrong[i], &chance, logits, 4, scratch, &id) == LR_E_ARGUMENT);
    CHECK(lr_sample(&greedy, &chance, logits, 0, scratch, &id) == LR_E_ARGUMENT);
    CHECK(lr_sample(&greedy, &chance, NULL, 4, scratch, &id) == LR_E_ARGUMENT);
    CHECK(lr_sample(NULL, &chance, logits, 4, scratch, &id) == LR_E_ARGUMENT);
}

/* How often each token comes, against what it should be: a chi-squared that chance exceeds once in 10^6 at most. */
static void check_shares(const lr_sample_params *p, uint32_t n, double scale) {
    enum { DRAWS = 40000 };
    uint32_t count[64] = {0};
    uint64_t chance = 7;
    const uint32_t m = oracle(p, n);
    for (int i = 0; i < DRAWS; i++) count[choose(p, n, &chance)]++;
    double mass = 0, chi = 0;
    for (uint32_t i = 0; i < m; i++) mass += exp((double)sorted[i].logit * scale);
    qsort(sorted, m, sizeof *sorted, by_id);
    uint32_t drawn = 0;
    for (uint32_t i = 0; i < m; i++) {
        const double wanted = (double)DRAWS * exp((double)sorted[i].logit * scale) / mass, off = count[sorted[i].id] - wanted;
        chi += off * off / wanted;
        drawn += count[sorted[i].id];
    }
    CHECK(drawn == DRAWS);
    CHECK(chi < m + 6 * sqrt(2.0 * m) + 20);
}

static void test_shares(void) {
    fill(40, 1, 9);
    check_shares(&(lr_sample_params){.temperature = 1, .top_p = 1}, 40, 1);
    check_shares(&(lr_sample_params){.temperature = 0.5f, .top_p = 1}, 40, 2);
    check_shares(&(lr_sample_params){.temperature = 2, .top_p = 1, .top_k = 10}, 40, 0.5);
    check_shares(&(lr_sample_params){.temperature = 0.8f, .top_p = 0.9f, .min_p = 0.05f, .top_k = 20}, 40, 1.25);
}

static void test_seeds(void) {
    const lr_sample_params p = {.temperature = 1, .top_p = 0.95f, .min_p = 0.05f, .top_k = 40};
    fill(1000, 1, 4);
    uint64_t a = 42, b = 42, c = 43;
    int same = 0, other = 0;
    for (int i = 0; i < 100; i++) {
        const int32_t first = choose(&p, 1000, &a);
        same += first == choose(&p, 1000, &b);
        other += first == choose(&p, 1000, &c);
    }
    CHECK(same == 100 && other < 60);
    uint64_t zero = 0;
    CHECK(lr_sample_chance(&zero) == 0xE220A8397B1DCDAFu); /* splitmix64's published first number of seed 0 */
}

static void test_tiers_agree(void) {
    const lr_sample_scan *plain = lr_sample_scan_choose("plain");
    static const char *const names[] = {"avx2", "avx512"};
    CHECK(strcmp(plain->name, "plain") == 0);
    for (int t = 0; t < 2; t++) {
        const lr_sample_scan *tier = lr_sample_scan_choose(names[t]);
        for (uint32_t n = 1; n <= LR_ROW_LEAST; n += n / 3 + 1) {
            float a[LR_GROUPS], b[LR_GROUPS];
            fill(n, 5, n);
            if (n > 2) logits[n / 2] = NAN;
            plain->row_max(logits, n, a);
            tier->row_max(logits, n, b);
            CHECK(memcmp(a, b, sizeof a) == 0);
            const double x = plain->row_mass(logits, n, 30, 0.9f), y = tier->row_mass(logits, n, 30, 0.9f);
            CHECK(x >= y && x <= y);
        }
    }
    double worst = 0;
    for (float x = 0; x > -87; x -= 0.0137f) {
        const double off = fabs((double)lr_sample_exp(x) / exp((double)x) - 1);
        if (off > worst) worst = off;
    }
    CHECK(worst < 3e-7 && lr_sample_exp(-88) <= 0 && lr_sample_exp(NAN) <= 0 && lr_sample_exp(-INFINITY) <= 0);
}

int main(void) {
    test_greedy();
    test_keeps_what_sorting_would();
    test_numbers_that_are_none();
    test_wrong_arguments();
    test_shares();
    test_seeds();
    test_tiers_agree();
    return lr_report("lr_sample");
}
