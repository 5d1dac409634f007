/* What the loop generates, and what stays in the cache and the ledger when something goes wrong. */
#include "fake_llama.h"

static fake f;
static const uint32_t ALL = UINT32_MAX;

static int32_t prompt[80];

static void set_prompt(uint32_t n, int32_t first) {
    for (uint32_t i = 0; i < n; i++) prompt[i] = (first + (int32_t)i * 3) % 250;
}

static lr_loop_request asks(uint32_t n, uint32_t max) {
    return (lr_loop_request){.tokens = prompt, .n_tokens = n, .max_tokens = max, .sample = {.top_p = 1}, .keep = ALL};
}

/* What the fake model says after a prompt, greedy. */
static void foretell(uint32_t n, int32_t *ids, uint32_t made) {
    int32_t before = n > 1 ? prompt[n - 2] : 0, last = prompt[n - 1];
    for (uint32_t i = 0; i < made; i++) {
        ids[i] = fake_next(last, before);
        before = last;
        last = ids[i];
    }
}

static uint32_t begin(lr_loop *l, const lr_loop_request *r) {
    uint32_t seq = ALL;
    CHECK(lr_loop_begin(l, r, &seq) == LR_OK);
    return seq;
}

static lr_loop_state state_of(lr_loop *l, uint32_t seq) {
    lr_loop_state state = {0};
    size_t n = 0;
    CHECK(lr_loop_read(l, seq, NULL, 0, 0, &n, &state) == LR_OK && n == 0);
    return state;
}

static void run(lr_loop *l) {
    for (int i = 0; lr_loop_step(l) == LR_OK; i++) {
        CHECK(i < 1000);
        if (i >= 1000) abort();
    }
}

/* Ledger, our memory and the cache itself say the same. */
static void check_cache(const lr_loop *l, uint32_t n_seq) {
    uint64_t all = 0;
    lr_ledger_reading r;
    for (uint32_t s = 0; s < n_seq; s++) {
        const uint64_t held = (uint64_t)(fake_max(&f, (int32_t)s) + 1);
        CHECK(lr_loop_held(l, s) == held);
        all += held;
    }
    CHECK(lr_loop_ledger(l, &r) == LR_OK && r.tokens == all && r.bytes == all * 100);
}

static bool made(lr_loop *l, uint32_t seq, const int32_t *wanted, size_t n) {
    int32_t ids[80];
    size_t got = 0;
    CHECK(lr_loop_ids(l, seq, ids, 80, &got) == LR_OK);
    return got == n && memcmp(ids, wanted, n * sizeof *ids) == 0;
}

static void test_one(void) {
    int32_t wanted[10];
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 1);
    CHECK(lr_loop_step(l) == LR_END);
    set_prompt(20, 5);
    foretell(20, wanted, 10);
    const lr_loop_request r = asks(20, 10);
    const uint32_t seq = begin(l, &r);
    CHECK(lr_loop_step(l) == LR_OK && state_of(l, seq).n_read == 8 && lr_loop_end(l, seq) == LR_AGAIN);
    run(l);
    const lr_loop_state s = state_of(l, seq);
    CHECK(s.finish == LR_LOOP_LENGTH && s.n_made == 10 && s.n_read == 20 && s.n_kept == 0 && made(l, seq, wanted, 10));
    CHECK(f.decodes == 3 + 9); /* the last token need not be read */
    CHECK(s.began == 1000 && s.read_at == 3001000 && s.first_at == 3001000 && s.last_at == 12001000);
    check_cache(l, 1);
    lr_meter_reading m;
    for (int which = 0; which < 2; which++) {
        CHECK(lr_loop_meter(l, which ? seq : ALL, 1000, &m) == LR_OK);
        CHECK(m.tokens == 10 && m.prompt_tokens == 20 && m.first_ns == 3000000 && m.p50_ns == 1000000 && m.requests == 1);
    }
    CHECK(lr_loop_end(l, seq) == LR_OK && lr_loop_end(l, seq) == LR_E_ARGUMENT);
    lr_loop_free(l);
    CHECK(f.abort == NULL);
}

static void test_several_are_as_alone(void) {
    int32_t wanted[4][12];
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 4);
    uint32_t seqs[4], more = 0;
    for (uint32_t i = 0; i < 4; i++) {
        set_prompt(3 + 6 * i, (int32_t)i * 50);
        foretell(3 + 6 * i, wanted[i], 12);
        const lr_loop_request r = asks(3 + 6 * i, 12 - i);
        seqs[i] = begin(l, &r);
        if (i == 1) CHECK(lr_loop_step(l) == LR_OK); /* the others come in while these are under way */
    }
    const lr_loop_request r = asks(3, 1);
    CHECK(lr_loop_begin(l, &r, &more) == LR_AGAIN);
    run(l);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(state_of(l, seqs[i]).finish == LR_LOOP_LENGTH && made(l, seqs[i], wanted[i], 12 - i));
        for (uint32_t k = 0; k < i; k++) CHECK(seqs[i] != seqs[k]);
    }
    CHECK(f.tokens == 3 + 9 + 15 + 21 + 11 + 10 + 9 + 8);
    check_cache(l, 4);
    lr_meter_reading m;
    CHECK(lr_loop_meter(l, ALL, 1000, &m) == LR_OK && m.tokens == 12 + 11 + 10 + 9);
    lr_loop_free(l);
}

static void test_a_context_that_fills(void) {
    int32_t wanted[64];
    for (uint32_t n = 60; n <= 64; n++) {
        fake_init(&f, 64);
        lr_loop *l = fake_loop(&f, 1);
        set_prompt(n, 7);
        foretell(n, wanted, 64 - n + 1);
        for (uint32_t spare = 0; spare < 3; spare++) { /* as many as fit, then one less, then more */
            const uint32_t fit = 64 - n + 1, max = spare == 0 ? fit : spare == 1 ? fit - 1 : 100;
            const lr_loop_request r = asks(n, max);
            const uint32_t seq = begin(l, &r);
            run(l);
            CHECK(state_of(l, seq).finish == (spare == 2 ? LR_LOOP_CONTEXT : LR_LOOP_LENGTH));
            CHECK(made(l, seq, wanted, spare == 1 ? fit - 1 : fit));
            check_cache(l, 1);
            CHECK(lr_loop_end(l, seq) == LR_OK);
        }
        lr_loop_free(l);
    }
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 1);
    set_prompt(65, 7);
    const lr_loop_request r = asks(65, 1);
    uint32_t seq;
    CHECK(lr_loop_begin(l, &r, &seq) == LR_FULL && f.decodes == 0);
    lr_loop_free(l);
}

static void test_wrong_requests(void) {
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 2);
    uint32_t seq;
    size_t n;
    lr_loop_state state = {0};
    lr_loop_request r = asks(0, 5);
    CHECK(lr_loop_begin(l, &r, &seq) == LR_E_ARGUMENT);
    r = asks(3, 5);
    prompt[1] = FAKE_VOCAB;
    CHECK(lr_loop_begin(l, &r, &seq) == LR_E_ARGUMENT);
    prompt[1] = -1;
    CHECK(lr_loop_begin(l, &r, &seq) == LR_E_ARGUMENT);
    prompt[1] = 1;
    r.sample.top_p = NAN;
    CHECK(lr_loop_begin(l, &r, &seq) == LR_E_ARGUMENT);
    r = asks(3, 5);
    r.n_stops = 1;
    CHECK(lr_loop_begin(l, &r, &seq) == LR_E_ARGUMENT); /* without a vocabulary there is no text to stop */
    CHECK(lr_loop_read(l, 0, NULL, 0, 0, &n, &state) == LR_E_ARGUMENT && lr_loop_end(l, 7) == LR_E_ARGUMENT);
    CHECK(lr_loop_step(l) == LR_END && f.decodes == 0);
    lr_loop_cancel(l, 0);
    lr_loop_free(l);
    lr_loop_setup none = {0};
    CHECK(lr_loop_new(&none, &l) == LR_E_ARGUMENT && lr_loop_new(NULL, &l) == LR_E_ARGUMENT);
}

/* After each kind of failure the cache is where the last good token left it, and the next request is right. */
static void test_failures(void) {
    static const int32_t codes[] = {-1, -2, -3, 3};
    int32_t wanted[8];
    for (size_t c = 0; c < 4; c++)
        for (int32_t at = 1; at < 7; at++)
            for (int32_t stored = 0; stored < 3; stored++) {
                fake_init(&f, 64);
                f.fail_at = at, f.fail_code = codes[c], f.stored = stored;
                lr_loop *l = fake_loop(&f, 2);
                set_prompt(20, 3);
                foretell(20, wanted, 8);
                const lr_loop_request r = asks(20, 8);
                const uint32_t seq = begin(l, &r);
                run(l);
                lr_loop_state s = state_of(l, seq);
                CHECK(s.finish == LR_LOOP_DECODE && s.code == codes[c] && s.n_made == (at < 4 ? 0u : (uint32_t)at - 3));
                check_cache(l, 2);
                CHECK(lr_loop_end(l, seq) == LR_OK);
                CHECK(begin(l, &r) == seq); /* the cache that was put right is of use */
                run(l);
                s = state_of(l, seq);
                CHECK(s.finish == LR_LOOP_LENGTH && made(l, seq, wanted, 8) && s.n_kept == (at < 4 ? 8u * ((uint32_t)at - 1) : 19u));
                check_cache(l, 2);
                lr_loop_free(l);
            }
}

static void test_aborts_that_nobody_wanted(void) {
    int32_t wanted[8];
    for (int32_t times = 1; times < 5; times++) {
        fake_init(&f, 64);
        f.fail_at = 2, f.fail_code = 2, f.fail_times = times, f.stored = 1;
        lr_loop *l = fake_loop(&f, 1);
        set_prompt(20, 3);
        foretell(20, wanted, 8);
        const lr_loop_request r = asks(20, 8);
        const uint32_t seq = begin(l, &r);
        run(l);
        CHECK(state_of(l, seq).finish == (times < 3 ? LR_LOOP_LENGTH : LR_LOOP_DECODE));
        if (times < 3) CHECK(made(l, seq, wanted, 8));
        check_cache(l, 1);
        lr_loop_free(l);
    }
}

typedef struct {
    lr_loop *loop;
    uint32_t seq;
    int32_t at;
} canceller;

static void cancel_now(void *data) {
    const canceller *c = data;
    if (f.decodes == c->at) lr_loop_cancel(c->loop, c->seq);
}

static void test_cancel(void) {
    int32_t wanted[8];
    for (int32_t at = 1; at < 12; at++) {
        fake_init(&f, 64);
        lr_loop *l = fake_loop(&f, 2);
        set_prompt(5, 90);
        foretell(5, wanted, 8);
        const lr_loop_request other = asks(5, 8);
        const uint32_t stays = begin(l, &other);
        set_prompt(30, 3);
        const lr_loop_request r = asks(30, 20);
        canceller c = {l, begin(l, &r), at};
        f.during = cancel_now;
        f.during_data = &c;
        f.stored = 2;
        run(l);
        const lr_loop_state s = state_of(l, c.seq);
        CHECK(s.finish == LR_LOOP_CANCELLED && s.n_made < 8);
        CHECK(state_of(l, stays).finish == LR_LOOP_LENGTH && made(l, stays, wanted, 8)); /* the other never knew */
        check_cache(l, 2);
        CHECK(lr_loop_end(l, c.seq) == LR_OK);
        f.during = NULL;
        foretell(30, wanted, 8);
        const lr_loop_request again = asks(30, 8);
        CHECK(begin(l, &again) == c.seq);
        run(l);
        CHECK(made(l, c.seq, wanted, 8));
        check_cache(l, 2);
        lr_loop_free(l);
    }
}

static void test_cancelled_before_it_began(void) {
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 1);
    set_prompt(10, 3);
    lr_loop_request r = asks(10, 3);
    uint32_t seq = begin(l, &r);
    run(l);
    CHECK(lr_loop_end(l, seq) == LR_OK);
    set_prompt(10, 4); /* nothing of the old cache is of use, and it must not pass for the new prompt's */
    seq = begin(l, &r);
    lr_loop_cancel(l, seq);
    run(l);
    CHECK(state_of(l, seq).finish == LR_LOOP_CANCELLED && f.tokens == 12);
    check_cache(l, 1);
    lr_loop_free(l);
}

static void test_logits_that_are_none(void) {
    int32_t wanted[5];
    for (int32_t kind = 1; kind < 3; kind++) {
        fake_init(&f, 64);
        f.fail_at = 4, f.bad_logits_at = kind;
        lr_loop *l = fake_loop(&f, 1);
        set_prompt(4, 3);
        foretell(4, wanted, 5);
        const lr_loop_request r = asks(4, 5);
        const uint32_t seq = begin(l, &r);
        run(l);
        CHECK(state_of(l, seq).finish == LR_LOOP_LOGITS && made(l, seq, wanted, 3));
        check_cache(l, 1);
        lr_loop_free(l);
    }
}

int main(void) {
    test_one();
    test_several_are_as_alone();
    test_a_context_that_fills();
    test_wrong_requests();
    test_failures();
    test_aborts_that_nobody_wanted();
    test_cancel();
    test_cancelled_before_it_began();
    test_logits_that_are_none();
    return lr_report("lr_loop");
}
