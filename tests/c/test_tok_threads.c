/* One vocabulary, made or out of an image, under several threads that encode, decode and cancel; under TSan too. */
#include "check.h"
#include "lr_image.h"
#include "lr_tok.h"
#include "tok_vocab.h"

#include <pthread.h>
#include <stdlib.h>

enum { THREADS = 4, TEXTS = 3, ROUNDS = 20, ROOM = 256 };

static tok_vocab v;

static const char *const TEXT[TEXTS] = {
    " theing the in<|end|>thththth zz <user> aaaaaaaa the thing in the inn, <|end|>",
    "don't the\n\n 1234 ing\tthe the the the inging a b c d e f g \xC3\xA9\xE4\xB8\xAD x",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaathethethetheinginging theinginthe",
};

typedef struct worker {
    const lr_vocab *vocab;
    int first;
    int wrong; /* no CHECK in a thread: its counters are for one */
} worker;

static size_t encode(lr_tok_run *run, int which, int32_t *ids, lr_status *status) {
    size_t at = 0, count = 0, need;
    *status = lr_tok_encode(run, (const uint8_t *)TEXT[which], strlen(TEXT[which]), 1, &at, ids, ROOM, &count, &need);
    return count;
}

static void *work(void *argument) {
    worker *w = argument;
    for (int round = 0; round < ROUNDS && !w->wrong; round++) {
        const int which = (w->first + round) % TEXTS;
        lr_tok_run *run = NULL;
        lr_status status;
        int32_t ids[ROOM];
        uint8_t out[ROOM];
        size_t size, start, end;
        int32_t id;
        w->wrong |= lr_tok_run_new(w->vocab, &run) != LR_OK;
        const size_t count = encode(run, which, ids, &status);
        w->wrong |= status != LR_OK || lr_vocab_decode(w->vocab, ids, count, 1, out, ROOM, &size) != LR_OK;
        w->wrong |= size != strlen(TEXT[which]) || memcmp(out, TEXT[which], size) != 0;
        (void)lr_special_find(w->vocab, out, 0, size, 1, &start, &end, &id);
        lr_tok_run_free(run);
    }
    return NULL;
}

static void share(const lr_vocab *vocab) {
    pthread_t threads[THREADS];
    worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){vocab, i, 0};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(workers[i].wrong == 0);
    }
}

static void test_vocabularies_are_shared(void) {
    for (int kind = LR_VOCAB_MERGES; kind <= LR_VOCAB_RANKS; kind++) {
        lr_vocab *made = NULL, *opened = NULL;
        const lr_image_label label = {{1, 2}, {3, 4}, 5, 6, {7}};
        uint64_t size;
        tok_begin(&v, kind, LR_PRE_GPT2, LR_RULES_OWN);
        CHECK(lr_vocab_new(&v.source, &made) == LR_OK && lr_image_size(made, &size) == LR_OK);
        uint8_t *image = aligned_alloc(LR_IMAGE_ALIGN, (size + LR_IMAGE_ALIGN - 1) / LR_IMAGE_ALIGN * LR_IMAGE_ALIGN);
        CHECK(lr_image_write(made, &label, image, size) == LR_OK && lr_image_open(image, size, &opened) == LR_OK);
        share(made);
        share(opened);
        lr_vocab_free(opened);
        lr_vocab_free(made);
        free(image);
    }
}

static void *cancel(void *run) {
    lr_tok_cancel(run);
    return NULL;
}

/* A long piece is left, or done with: either way the run goes on with the next text. */
static void test_another_thread_cancels(void) {
    enum { SIZE = 1 << 18 };
    lr_vocab *vocab = NULL;
    lr_tok_run *run = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_GPT2, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
    uint8_t *text = malloc(SIZE);
    int32_t *ids = malloc(SIZE * sizeof *ids);
    memset(text, 'a', SIZE);
    pthread_t thread;
    size_t at = 0, count, need;
    CHECK(pthread_create(&thread, NULL, cancel, run) == 0);
    lr_status status = lr_tok_encode(run, text, SIZE, 0, &at, ids, SIZE, &count, &need);
    CHECK(status == LR_END || status == LR_OK);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < 2 && status != LR_OK; i++, at = 0) {
        at = 0;
        status = lr_tok_encode(run, text, SIZE, 0, &at, ids, SIZE, &count, &need);
    }
    at = 0;
    if (status == LR_OK) (void)lr_tok_encode(run, text, SIZE, 0, &at, ids, SIZE, &count, &need);
    at = 0;
    CHECK(lr_tok_encode(run, text, SIZE, 0, &at, ids, SIZE, &count, &need) == LR_OK && count == SIZE / 4);
    free(text);
    free(ids);
    lr_tok_run_free(run);
    lr_vocab_free(vocab);
}

int main(void) {
    test_vocabularies_are_shared();
    test_another_thread_cancels();
    return lr_report("tok_threads");
}
