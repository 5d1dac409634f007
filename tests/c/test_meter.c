#include "check.h"
#include "lr_meter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MS ((uint64_t)1000000)

static lr_meter *fresh(void) {
    lr_meter *m = NULL;
    void *memory = malloc(lr_meter_bytes());
    CHECK(lr_meter_init(memory, lr_meter_bytes(), &m) == LR_OK);
    if (m == NULL) abort();
    return m;
}

static lr_meter_reading read_at(const lr_meter *m, uint64_t now) {
    lr_meter_reading r;
    CHECK(lr_meter_read(m, now, 2000 * MS, &r) == LR_OK);
    return r;
}

static bool near(double value, double wanted, double part) {
    return value > wanted * (1 - part) && value < wanted * (1 + part);
}

static void test_one_request(void) {
    lr_meter *m = fresh();
    lr_meter_reading r = read_at(m, 5 * MS);
    CHECK(r.requests == 0 && r.tokens == 0 && r.waiting == 0 && r.first_ns == 0 && r.rate_now == 0);
    lr_meter_prompt(m, 1000 * MS, 100);
    r = read_at(m, 1150 * MS);
    CHECK(r.waiting == 1 && r.first_ns == 150 * MS && r.requests == 1);
    for (uint64_t i = 0; i < 50; i++) lr_meter_token(m, (1200 + 20 * i) * MS);
    r = read_at(m, (1200 + 20 * 49) * MS);
    CHECK(r.first_ns == 200 * MS && near(r.rate_prompt, 500, 1e-9));
    CHECK(near(r.rate_average, 50, 1e-9) && near(r.rate_now, 50, 1e-9));
    CHECK(r.min_ns == 20 * MS && r.max_ns == 20 * MS && r.p50_ns == 20 * MS && r.p99_ns == 20 * MS);
    CHECK(r.tokens == 50 && r.tokens_total == 50 && r.waiting == 0);
    lr_meter_prompt(m, 9000 * MS, 3);
    r = read_at(m, 9000 * MS);
    CHECK(r.tokens == 0 && r.tokens_total == 50 && r.requests == 2 && r.max_ns == 0 && r.rate_average == 0);
    free(m);
}

static void test_rates(void) {
    lr_meter *m = fresh();
    lr_meter_prompt(m, 0, 1);
    for (uint64_t i = 0; i < 10; i++) lr_meter_token(m, 5000 * MS * i);
    /* One token in five seconds, a window of two: the rate is exact all the same. */
    CHECK(near(read_at(m, 45001 * MS).rate_now, 0.2, 1e-9));
    CHECK(near(read_at(m, 46999 * MS).rate_now, 0.2, 1e-9));
    CHECK(read_at(m, 60000 * MS).rate_now == 0);
    lr_meter_prompt(m, 0, 1);
    for (uint64_t i = 0; i < 5000; i++) lr_meter_token(m, i * MS / 10);
    CHECK(near(read_at(m, 500 * MS).rate_now, 10000, 0.01)); /* more in the window than the ring holds */
    lr_meter_prompt(m, 0, 1);
    for (uint64_t i = 0; i < 100; i++) lr_meter_token(m, i * 10 * MS);
    for (uint64_t i = 0; i < 100; i++) lr_meter_token(m, 1000 * MS + i * 100 * MS);
    lr_meter_reading r = read_at(m, 10900 * MS);
    CHECK(near(r.rate_now, 10, 0.01) && near(r.rate_average, 199 / 10.9, 1e-6));
    CHECK(read_at(m, 11900 * MS).rate_now < 8); /* silent for a second */
    free(m);
}

static void test_batches(void) {
    lr_meter *m = fresh();
    lr_meter_prompt(m, 0, 1);
    lr_meter_tokens(m, 100 * MS, 4);
    lr_meter_tokens(m, 200 * MS, 4);
    lr_meter_tokens(m, 150 * MS, 4); /* a clock that steps back */
    lr_meter_tokens(m, 300 * MS, 0);
    lr_meter_reading r = read_at(m, 200 * MS);
    CHECK(r.tokens == 12 && r.max_ns == 25 * MS && r.min_ns == 0 && near(r.rate_average, 80, 1e-9));
    lr_meter_prompt(m, 0, 1);
    lr_meter_push(m, (const uint64_t[]){10 * MS, 20 * MS, 50 * MS}, 3);
    lr_meter_push(m, NULL, 0);
    r = read_at(m, 50 * MS);
    CHECK(r.tokens == 3 && r.first_ns == 10 * MS && r.min_ns == 10 * MS && r.max_ns == 30 * MS);
    free(m);
}

/* Percentiles against a sorted list of what was pushed, over ten powers of ten. */
static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_percentiles(void) {
    enum { N = 2000 };
    static uint64_t ns[N];
    uint64_t random = 88172645463325252u;
    for (uint64_t scale = 1; scale < 10000000000u; scale *= 10) {
        lr_meter *m = fresh();
        uint64_t now = 0;
        lr_meter_prompt(m, now, 1);
        lr_meter_token(m, now);
        for (int i = 0; i < N; i++) {
            random ^= random << 13; random ^= random >> 7; random ^= random << 17;
            ns[i] = scale + random % (scale * 9);
            now += ns[i];
            lr_meter_token(m, now);
        }
        qsort(ns, N, sizeof *ns, by_value);
        lr_meter_reading r = read_at(m, now);
        double error = (double)LR_METER_ERROR_PPM / 1e6 + 1e-9;
        CHECK(r.min_ns == ns[0] && r.max_ns == ns[N - 1]);
        CHECK(near((double)r.p50_ns, (double)ns[N / 2 - 1], error) || r.p50_ns == ns[N / 2 - 1]);
        CHECK(near((double)r.p90_ns, (double)ns[N * 9 / 10 - 1], error) || r.p90_ns == ns[N * 9 / 10 - 1]);
        CHECK(near((double)r.p99_ns, (double)ns[N * 99 / 100 - 1], error) || r.p99_ns == ns[N * 99 / 100 - 1]);
        free(m);
    }
}

static void test_extremes(void) {
    lr_meter *m = fresh();
    lr_meter_prompt(m, 0, 0);
    lr_meter_token(m, 0);
    lr_meter_token(m, UINT64_MAX);
    lr_meter_reading r = read_at(m, UINT64_MAX);
    CHECK(r.max_ns == UINT64_MAX && r.p50_ns == UINT64_MAX && r.tokens == 2);
    lr_meter_read(m, 0, UINT64_MAX, &r);
    CHECK(r.tokens == 2);
    lr_meter *none;
    CHECK(lr_meter_init(m, lr_meter_bytes() - 1, &none) == LR_E_ARGUMENT);
    CHECK(lr_meter_init(NULL, lr_meter_bytes(), &none) == LR_E_ARGUMENT);
    CHECK(lr_meter_init((char *)m + 1, lr_meter_bytes(), &none) == LR_E_ARGUMENT);
    CHECK(lr_meter_read(m, 0, 0, NULL) == LR_E_ARGUMENT);
    *(uint64_t *)(void *)m += 1; /* the first word, odd: a writer that was stopped in the middle */
    CHECK(lr_meter_read(m, 0, 0, &r) == LR_AGAIN);
    free(m);
}

static atomic_bool enough;

/* The writer keeps last - first = 10 ns a token, whatever the moment: a torn reading would show. It pauses for
 * uneven whiles, as engines do: a reader needs a microsecond to itself. */
static void *write_many(void *meter) {
    uint64_t request = 0;
    for (; !atomic_load(&enough); request++) {
        lr_meter_prompt(meter, request * 1000000, 7);
        for (uint64_t i = 0; i < 500; i++) {
            lr_meter_token(meter, request * 1000000 + 100 + i * 10);
            for (volatile uint64_t spin = request * 7919 % 97 * i % 20011; spin > 0; spin--) {}
        }
    }
    return NULL;
}

static void test_reader_beside_writer(void) {
    lr_meter *m = fresh();
    pthread_t writer;
    CHECK(pthread_create(&writer, NULL, write_many, m) == 0);
    for (int found = 0; found < 200;) {
        lr_meter_reading r;
        if (lr_meter_read(m, UINT64_MAX / 2, 1000, &r) != LR_OK) continue;
        if (r.tokens > 1) CHECK(near(r.rate_average, 1e8, 1e-6) && r.first_ns == 100 && r.max_ns == 10);
        if (r.requests > 0) CHECK(r.tokens_total == (r.requests - 1) * 500 + r.tokens && r.prompt_tokens == 7);
        found += r.requests > 0;
    }
    atomic_store(&enough, true);
    pthread_join(writer, NULL);
    free(m);
}

int main(void) {
    test_one_request();
    test_rates();
    test_batches();
    test_percentiles();
    test_extremes();
    test_reader_beside_writer();
    return lr_report("lr_meter");
}
