/* What the loop says, what it reuses, how sequences share a cache, and other threads at work. */
#include "fake_llama.h"
#include "lr_text.h"
#include "tok_vocab.h"

#include <pthread.h>
#include <sched.h>

static fake f;
static const uint32_t ALL = UINT32_MAX;
static int32_t prompt[80];
static const lr_vocab *words; /* what makes text of tokens; null: nothing does */

static lr_loop_request asks(uint32_t n, int32_t first, uint32_t max) {
    for (uint32_t i = 0; i < n; i++) prompt[i] = (first + (int32_t)i * 3) % 250;
    return (lr_loop_request){.tokens = prompt, .n_tokens = n, .max_tokens = max, .sample = {.top_p = 1}, .keep = ALL, .text = words};
}

static uint32_t begin(lr_loop *l, const lr_loop_request *r) {
    uint32_t seq = ALL;
    CHECK(lr_loop_begin(l, r, &seq) == LR_OK);
    return seq;
}

static lr_loop_state state_of(lr_loop *l, uint32_t seq) {
    lr_loop_state state = {0};
    size_t n = 0;
    CHECK(lr_loop_read(l, seq, NULL, 0, 0, &n, &state) == LR_OK);
    return state;
}

/* The whole request; its text, if `text` is not null. */
static lr_loop_state answer(lr_loop *l, const lr_loop_request *r, char *text, size_t room) {
    const uint32_t seq = begin(l, r);
    lr_loop_state state = {0};
    size_t n = 0;
    while (lr_loop_step(l) == LR_OK) {}
    CHECK(lr_loop_read(l, seq, (uint8_t *)text, room, 0, &n, &state) == LR_OK);
    if (text != NULL) text[n] = 0;
    CHECK(lr_loop_end(l, seq) == LR_OK);
    return state;
}

static lr_vocab *vocabulary(void) {
    static tok_vocab v;
    lr_vocab *vocab = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_GPT2, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK);
    return vocab;
}

/* The fake's tokens are bytes. What it says after the prompt, cut to ASCII letters by its own rule. */
static size_t foretell(uint32_t n, uint32_t made, uint8_t *bytes) {
    int32_t before = n > 1 ? prompt[n - 2] : 0, last = prompt[n - 1];
    for (uint32_t i = 0; i < made; i++) {
        const int32_t id = fake_next(last, before);
        bytes[i] = (uint8_t)id;
        before = last;
        last = id;
    }
    return made;
}

static void test_text_and_stops(void) {
    lr_vocab *vocab = vocabulary();
    words = vocab;
    uint8_t bytes[40];
    char wanted[200], text[200];
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 1);
    lr_loop_request r = asks(9, 65, 30);
    lr_text *t = NULL;
    CHECK(lr_text_new(NULL, NULL, 0, &t) == LR_OK && lr_text_feed(t, bytes, foretell(9, 30, bytes)) == LR_OK);
    lr_text_finish(t);
    wanted[lr_text_take(t, (uint8_t *)wanted, sizeof wanted - 1)] = 0;
    lr_text_free(t);
    CHECK(answer(l, &r, text, sizeof text - 1).finish == LR_LOOP_LENGTH && strcmp(text, wanted) == 0);

    /* A stop string of two ASCII bytes that come one after the other. */
    uint32_t at = 0;
    while (at + 1 < 30 && (bytes[at] >= 128 || bytes[at + 1] >= 128)) at++;
    CHECK(at + 1 < 30);
    const uint32_t size = 2;
    r = asks(9, 65, 30);
    r.stops = bytes + at, r.stop_sizes = &size, r.n_stops = 1;
    const lr_loop_state s = answer(l, &r, text, sizeof text - 1);
    CHECK(s.finish == LR_LOOP_STOP && s.n_made == at + 2 && strncmp(text, wanted, strlen(text)) == 0);
    CHECK(strlen(text) < strlen(wanted));

    f.eog_at = 20;
    r = asks(9, 65, 30);
    lr_loop_state ended = answer(l, &r, text, sizeof text - 1);
    CHECK(ended.finish == LR_LOOP_EOG && ended.n_made == 13 && strncmp(text, wanted, strlen(text)) == 0);
    r.ignore_eog = true;
    ended = answer(l, &r, text, sizeof text - 1);
    CHECK(ended.finish == LR_LOOP_LENGTH && ended.n_made == 30);
    lr_loop_free(l);
    words = NULL;
    lr_vocab_free(vocab);
}

static void test_the_same_beginning_is_read_once(void) {
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 2);
    lr_loop_request r = asks(20, 5, 4);
    CHECK(answer(l, &r, NULL, 0).n_kept == 0);
    r = asks(25, 5, 4);
    lr_loop_state s = answer(l, &r, NULL, 0);
    CHECK(s.n_kept == 20 && s.n_made == 4); /* what was generated was different */
    r = asks(25, 5, 4);
    CHECK(answer(l, &r, NULL, 0).n_kept == 24); /* the last token again, for its logits */
    r.keep = 10;
    CHECK(answer(l, &r, NULL, 0).n_kept == 10);
    r = asks(25, 99, 4);
    CHECK(answer(l, &r, NULL, 0).n_kept == 0 && lr_loop_held(l, 0) == 28 && lr_loop_held(l, 1) == 28); /* the other one */
    r = asks(20, 5, 4);
    const int32_t before = f.tokens;
    CHECK(answer(l, &r, NULL, 0).n_kept == 19 && f.tokens == before + 1 + 3);
    lr_loop_free(l);
}

static void test_a_cache_that_cannot_be_cut(void) {
    fake_init(&f, 64);
    f.no_cut = true;
    lr_loop *l = fake_loop(&f, 1);
    lr_loop_request r = asks(20, 5, 4);
    (void)answer(l, &r, NULL, 0);
    CHECK(answer(l, &r, NULL, 0).n_kept == 0 && lr_loop_held(l, 0) == 23);
    /* A failure in the middle costs it everything, and it reads everything again. */
    f.fail_at = f.decodes + 5, f.fail_code = 2, f.stored = 1;
    int32_t ids[8];
    size_t n;
    r = asks(20, 30, 6);
    uint8_t wanted[8];
    foretell(20, 6, wanted);
    const uint32_t seq = begin(l, &r);
    while (lr_loop_step(l) == LR_OK) {}
    CHECK(lr_loop_ids(l, seq, ids, 8, &n) == LR_OK && n == 6);
    for (size_t i = 0; i < n; i++) CHECK(ids[i] == wanted[i]);
    lr_loop_free(l);
}

static void test_a_window_that_slid_on(void) {
    fake_init(&f, 64);
    f.window = 10;
    lr_loop *l = fake_loop(&f, 1);
    lr_loop_request r = asks(30, 5, 1);
    (void)answer(l, &r, NULL, 0);
    r = asks(40, 5, 1);
    CHECK(answer(l, &r, NULL, 0).n_kept == 30); /* goes on where it was */
    r = asks(30, 5, 1);
    CHECK(answer(l, &r, NULL, 0).n_kept == 0); /* back beyond what the window still holds */
    lr_loop_free(l);
}

static void test_sequences_that_share_cells(void) {
    fake_init(&f, 40);
    f.unified = true;
    lr_loop *l = fake_loop(&f, 3);
    lr_loop_request r = asks(15, 5, 1);
    (void)answer(l, &r, NULL, 0);
    r = asks(15, 6, 1);
    (void)answer(l, &r, NULL, 0);
    /* 30 cells are held by sequences at rest: they make room. */
    r = asks(30, 7, 2);
    CHECK(answer(l, &r, NULL, 0).finish == LR_LOOP_LENGTH);
    lr_loop_free(l);
    /* Two at work that do not fit together: one goes on. */
    fake_init(&f, 40);
    f.unified = true;
    l = fake_loop(&f, 2);
    r = asks(15, 5, 20);
    const uint32_t a = begin(l, &r);
    r = asks(15, 80, 20);
    const uint32_t b = begin(l, &r);
    while (lr_loop_step(l) == LR_OK) {}
    const lr_loop_state first = state_of(l, a), second = state_of(l, b);
    CHECK((first.finish == LR_LOOP_CONTEXT) != (second.finish == LR_LOOP_CONTEXT));
    CHECK((first.finish == LR_LOOP_LENGTH) != (second.finish == LR_LOOP_LENGTH));
    lr_loop_free(l);
    /* The cache has fewer cells than it promised: libllama itself says so. */
    fake_init(&f, 40);
    l = fake_loop(&f, 1);
    f.cells = 30;
    r = asks(25, 5, 20);
    const lr_loop_state s = answer(l, &r, NULL, 0);
    CHECK(s.finish == LR_LOOP_CONTEXT && s.code == 1 && s.n_made == 6 && lr_loop_held(l, 0) == 30);
    r = asks(10, 6, 3);
    CHECK(answer(l, &r, NULL, 0).finish == LR_LOOP_LENGTH);
    lr_loop_free(l);
}

/* ---- threads ---- */

static void *work(void *loop) {
    lr_loop_work(loop);
    return NULL;
}

static atomic_bool watching;

static void *watch(void *loop) {
    while (atomic_load(&watching)) {
        lr_meter_reading m;
        lr_ledger_reading r;
        const lr_status meter = lr_loop_meter(loop, ALL, 1000000, &m), ledger = lr_loop_ledger(loop, &r);
        CHECK(meter == LR_OK || meter == LR_AGAIN);
        CHECK(ledger == LR_AGAIN || (ledger == LR_OK && r.tokens <= r.high_water && r.bytes == r.tokens * 100));
        sched_yield();
    }
    return NULL;
}

/* Reads a request to its end; cancels it after `stop_at` bytes. */
static lr_loop_state listen(lr_loop *l, uint32_t seq, size_t stop_at, size_t *bytes) {
    lr_loop_state state = {0};
    uint8_t out[7];
    size_t n = 0;
    *bytes = 0;
    do {
        CHECK(lr_loop_read(l, seq, out, sizeof out, UINT64_MAX, &n, &state) == LR_OK);
        *bytes += n;
        if (*bytes >= stop_at) lr_loop_cancel(l, seq);
    } while (state.finish == LR_LOOP_RUNNING || n > 0);
    return state;
}

static void test_threads(void) {
    lr_vocab *vocab = vocabulary();
    words = vocab;
    pthread_t worker, watcher;
    size_t bytes, again;
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 3);
    atomic_store(&watching, true);
    CHECK(pthread_create(&worker, NULL, work, l) == 0 && pthread_create(&watcher, NULL, watch, l) == 0);
    for (int round = 0; round < 60; round++) {
        lr_loop_request r = asks(12, round * 5, 40);
        const uint32_t a = begin(l, &r);
        r = asks(30, round * 7, 30);
        const uint32_t b = begin(l, &r);
        const lr_loop_state first = listen(l, a, round % 3 == 0 ? 5 : ALL, &bytes);
        CHECK(first.finish == LR_LOOP_LENGTH || first.finish == LR_LOOP_CANCELLED);
        CHECK(first.finish == LR_LOOP_CANCELLED || first.n_made == 40);
        CHECK(listen(l, b, ALL, &again).finish == LR_LOOP_LENGTH && again > 0);
        CHECK(lr_loop_end(l, a) == LR_OK && lr_loop_end(l, b) == LR_OK);
    }
    /* Closed while it works: what runs is cancelled, nothing new is taken. */
    lr_loop_request r = asks(12, 3, 50);
    const uint32_t a = begin(l, &r);
    lr_loop_close(l);
    uint32_t more;
    CHECK(lr_loop_begin(l, &r, &more) == LR_END);
    const int32_t how = listen(l, a, ALL, &bytes).finish;
    CHECK(how == LR_LOOP_CANCELLED || how == LR_LOOP_LENGTH);
    atomic_store(&watching, false);
    pthread_join(worker, NULL);
    pthread_join(watcher, NULL);
    lr_loop_free(l);
    words = NULL;
    lr_vocab_free(vocab);
}

static void test_patience(void) {
    fake_init(&f, 64);
    lr_loop *l = fake_loop(&f, 1);
    const lr_loop_request r = asks(20, 3, 5);
    const uint32_t seq = begin(l, &r);
    lr_loop_state state = {0};
    size_t n = 1;
    CHECK(lr_loop_read(l, seq, NULL, 0, 2000000, &n, &state) == LR_OK && n == 0 && state.finish == LR_LOOP_RUNNING);
    CHECK(lr_loop_step(l) == LR_OK);
    CHECK(lr_loop_read(l, seq, NULL, 0, UINT64_MAX, &n, &state) == LR_OK && state.n_read == 8); /* news: no wait */
    lr_loop_free(l);
}

int main(void) {
    test_text_and_stops();
    test_the_same_beginning_is_read_once();
    test_a_cache_that_cannot_be_cut();
    test_a_window_that_slid_on();
    test_sequences_that_share_cells();
    test_patience();
    test_threads();
    return lr_report("lr_loop_text");
}
