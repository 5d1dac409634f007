#define _DEFAULT_SOURCE /* mmap, which plain C11 hides */
#include "check.h"
#include "lr_list.h"
#include "lr_scan_private.h"
#include "lr_tok.h"
#include "tok_vocab.h"

#include <pthread.h>
#include <stdlib.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

static tok_vocab v;

static size_t encode(lr_tok_run *run, const char *text, size_t size, int special, int32_t *ids, size_t room) {
    size_t at = 0, all = 0, count, need;
    lr_status status;
    do {
        status = lr_tok_encode(run, (const uint8_t *)text, size, special, &at, ids + all, room - all, &count, &need);
        all += count;
    } while (status == LR_FULL && count);
    CHECK(status == LR_OK && at == size);
    return all;
}

static void test_encode_and_decode(void) {
    static const int32_t expected[] = {260, 256 + 6, 263, 257};
    for (int kind = LR_VOCAB_MERGES; kind <= LR_VOCAB_RANKS; kind++) {
        lr_vocab *vocab = NULL;
        lr_tok_run *run = NULL;
        tok_begin(&v, kind, LR_PRE_GPT2, LR_RULES_OWN);
        CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
        int32_t ids[64];
        for (int again = 0; again < 3; again++) {
            CHECK(encode(run, " theing", 7, 0, ids, 64) == 2 && ids[0] == 260 && ids[1] == 262);
            CHECK(encode(run, "<|end|>", 7, 0, ids, 64) == 7);
            CHECK(encode(run, "a<|end|><user>", 14, 1, ids, 64) == 3 && ids[1] == 265 && ids[2] == 266);
            CHECK(encode(run, "<user>", 6, 0, ids, 64) == 1 && ids[0] == 266);
            CHECK(encode(run, "<user>", 6, -1, ids, 64) == 6);
            CHECK(encode(run, "", 0, 1, ids, 64) == 0);
        }
        uint8_t out[64];
        size_t size;
        CHECK(lr_vocab_decode(vocab, expected, 4, 0, out, 64, &size) == LR_OK && size == 12 && !memcmp(out, " theingaathe", 12));
        CHECK(lr_vocab_decode(vocab, expected, 4, 0, out, 5, &size) == LR_FULL && size == 12);
        const int32_t wrong[] = {1, 267}, control[] = {265};
        CHECK(lr_vocab_decode(vocab, wrong, 2, 0, out, 64, &size) == LR_E_ARGUMENT && size == 1);
        CHECK(lr_vocab_decode(vocab, control, 1, 0, out, 64, &size) == LR_OK && size == 0);
        CHECK(lr_vocab_decode(vocab, control, 1, 1, out, 64, &size) == LR_OK && size == 7);
        lr_tok_run_free(run);
        lr_vocab_free(vocab);
    }
}

/* A special token of half a character would leave the other half to be read beyond the text's end. */
static void test_no_special_token_cuts_a_character(void) {
    for (int kind = LR_VOCAB_MERGES; kind <= LR_VOCAB_SPM; kind++)
        for (int type = LR_TOKEN_UNKNOWN; type <= LR_TOKEN_USER_DEFINED; type++) {
            static const char *const halves[] = {"\xE3", "\xE3\x81", "\x81", "\x81\x82"};
            char *text = malloc(3);
            lr_vocab *vocab = NULL;
            lr_tok_run *run = NULL;
            tok_begin(&v, kind, LR_PRE_GPT2, LR_RULES_OWN);
            for (size_t i = 0; i < 4; i++) tok_token(&v, halves[i], strlen(halves[i]), type);
            CHECK(text != NULL && lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
            memcpy(text, "\xE3\x81\x82", 3);
            int32_t ids[64], id;
            size_t start, end;
            CHECK(lr_special_find(vocab, (const uint8_t *)text, 0, 3, 1, &start, &end, &id) == LR_END);
            (void)encode(run, text, 3, 1, ids, 64);
            lr_tok_run_free(run);
            lr_vocab_free(vocab);
            free(text);
        }
}

/* Scores stand in a file wherever they come to stand. */
static void test_scores_need_no_alignment(void) {
    lr_vocab *vocab = NULL;
    tok_begin(&v, LR_VOCAB_SPM, 0, LR_RULES_OWN);
    uint8_t *scores = malloc(sizeof v.scores + 1);
    CHECK(scores != NULL);
    memcpy(scores + 1, v.scores, sizeof v.scores);
    v.source.scores = (const void *)(scores + 1);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK);
    lr_vocab_free(vocab);
    free(scores);
}

/* A piece of a million letters goes through the heap, in one call with room and in none without. */
static void test_long_pieces(void) {
    enum { SIZE = 1 << 20 };
    lr_vocab *vocab = NULL;
    lr_tok_run *run = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_GPT2, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
    char *text = malloc(SIZE);
    int32_t *ids = malloc(SIZE * sizeof *ids);
    memset(text, 'a', SIZE);
    size_t at = 0, count = 1, need = 0;
    CHECK(lr_tok_encode(run, (const uint8_t *)text, SIZE, 0, &at, ids, 4096, &count, &need) == LR_FULL);
    CHECK(count == 0 && need == SIZE && at == 0);
    CHECK(encode(run, text, SIZE, 0, ids, SIZE) == SIZE / 4 && ids[0] == 264 && ids[SIZE / 4 - 1] == 264);
    lr_tok_cancel(run);
    at = 0;
    CHECK(lr_tok_encode(run, (const uint8_t *)text, SIZE, 0, &at, ids, SIZE, &count, &need) == LR_END);
    at = 0;
    CHECK(lr_tok_encode(run, (const uint8_t *)text, SIZE, 0, &at, ids, SIZE, &count, &need) == LR_OK);
    free(text);
    free(ids);
    lr_tok_run_free(run);
    lr_vocab_free(vocab);
}

static const char *const ATOMS[] = {
    "a", "B", "é", "É", "中", "あ", "ー", "1", "22", "4444", "٣", " ", "  ", "\n", "\r\n", "\t", "　", "\xC2\x85", "'", "'s",
    "'LL", "'re", "'ſ", "!", "/", "//", "$", "—", "。", "\xCC\x81", "\xCC\x88", "ि", "\x01", "\x7f", "\xE2\x80\x8D", "😀",
    "ǅ", "ʰ", "Привет", "한국어", "हिन्दी", "ไทย", "中文字符", "\xF4\x8F\xBF\xBF", "\xEF\xBF\xBD", "'s's", "'d'll", "Ⴀ", "ﬀ", "𐐀", "½", "_", "-", ".", "<", "The", " the", "HTTPServer", "don't", "word word word word word ",
    "\n\n   \n  x", "!\n/\n/ ", " ", " "};

static unsigned long long seed = 88172645463325252ull;

static size_t random_below(size_t n) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (size_t)(seed % n);
}

/* Windows and characters one by one agree on every piece, for all patterns, rules and kinds of CPU. */
static void test_scan_agrees_with_split(void) {
    static const char *const tiers[] = {"avx512", "avx2", "neon", "scalar"};
    for (int round = 0; round < 1500; round++) {
        uint8_t text[4096];
        size_t size = 0;
        const size_t wanted = 1 + random_below(120);
        for (size_t i = 0; i < wanted && size < 3900; i++) {
            const char *atom = ATOMS[random_below(sizeof ATOMS / sizeof *ATOMS)];
            memcpy(text + size, atom, strlen(atom));
            size += strlen(atom);
        }
        for (int pre = 0; pre < LR_PRES; pre++) {
            const int rules = (int)random_below(2);
            size_t ends[4096], count, done = 0;
            CHECK(lr_split_all(pre, rules, text, size, ends, 4096, &count) == LR_OK);
            lr_split split;
            lr_split_state state;
            CHECK(lr_split_compile(&split, pre, rules) == LR_OK);
            lr_split_begin(&state, size);
            const lr_tier *tier = lr_tier_choose(tiers[random_below(4)]);
            uint8_t *exact = malloc(size); /* so that a read beyond the text is seen */
            memcpy(exact, text, size);
            for (size_t p = 0; p < size; ) {
                uint32_t found[LR_WINDOW * 2];
                const unsigned room = LR_WINDOW + (unsigned)random_below(LR_WINDOW + 1);
                const unsigned n = lr_scan(&split, &state, tier, exact, p, size, found, room);
                int same = n > 0 && n <= room;
                for (size_t i = 0; i < n; i++) same &= done < count && p + found[i] == ends[done++];
                CHECK(same);
                if (!same) fprintf(stderr, "pre %d rules %d tier %s: %.*s\n", pre, rules, tier->name, (int)size, (const char *)text);
                if (!same) break;
                p += found[n - 1];
            }
            free(exact);
        }
    }
}

/* All kinds of CPU give the same ids: of pieces longer than a key and of many ids, seen before or not, with the cache
 * growing under them, and with hardly any room. */
static void test_tiers_agree(void) {
    static const char *const tiers[] = {"scalar", "avx512", "avx2", "neon"};
    static const char *const more[] = {"thethethethethethe", "zzzzzzzzzzzzzzzz", "qqqqqqqqqqqqqqqqqqqq", "abcdefg", "aaaaaaaaaaaaaaa"};
    enum { SIZE = 1 << 16 };
    lr_vocab *vocab = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_LLAMA3, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK);
    char *text = malloc(SIZE);
    int32_t *ids[2] = {malloc(SIZE * sizeof **ids), malloc(SIZE * sizeof **ids)};
    size_t size = 0, counts[2];
    while (size < SIZE - 64) {
        const size_t kind = random_below(8);
        const char *atom = kind == 0 ? more[random_below(5)] : ATOMS[random_below(sizeof ATOMS / sizeof *ATOMS)];
        char made[8] = {' ', (char)('a' + random_below(26)), (char)('a' + random_below(26)), (char)('a' + random_below(26))};
        if (kind > 4) atom = made;
        memcpy(text + size, atom, strlen(atom));
        size += strlen(atom);
    }
    char *exact = malloc(size); /* so that a read beyond the text is seen */
    memcpy(exact, text, size);
    for (size_t i = 0; i < 4; i++) {
        lr_tok_run *run = NULL;
        CHECK(lr_tok_run_new(vocab, &run) == LR_OK);
        lr_tok_tier(run, tiers[i]);
        for (int again = 0; again < 3; again++) {
            const int out = i + (size_t)again > 0;
            counts[out] = encode(run, exact, size, 0, ids[out], SIZE);
            CHECK(counts[out] == counts[0] && memcmp(ids[0], ids[out], counts[0] * sizeof **ids) == 0);
        }
        size_t at = 0, all = 0, count, need;
        while (at < size) {
            const size_t room = 64 + random_below(500);
            int32_t *few = malloc(room * sizeof *few); /* so that a write beyond the room is seen */
            const lr_status status = lr_tok_encode(run, (const uint8_t *)exact, size, 0, &at, few, room, &count, &need);
            CHECK((status == LR_OK || (status == LR_FULL && count)) && memcmp(few, ids[0] + all, count * sizeof *few) == 0);
            all += count;
            free(few);
            if (status != LR_OK && count == 0) break;
        }
        CHECK(all == counts[0]);
        lr_tok_run_free(run);
    }
    free(text), free(exact), free(ids[0]), free(ids[1]);
    lr_vocab_free(vocab);
}

typedef struct { const lr_vocab *vocab; int wrong; } worker;

/* No CHECK here: its counters are not for threads. */
static void *work(void *argument) {
    worker *w = argument;
    lr_tok_run *run = NULL;
    int32_t ids[64];
    w->wrong = lr_tok_run_new(w->vocab, &run) != LR_OK;
    for (int i = 0; i < 2000 && !w->wrong; i++) {
        size_t at = 0, count = 0, need;
        w->wrong = lr_tok_encode(run, (const uint8_t *)" theing the in", 14, 0, &at, ids, 64, &count, &need) != LR_OK;
        w->wrong |= count != 5;
    }
    lr_tok_run_free(run);
    return NULL;
}

static void test_threads_share_a_vocabulary(void) {
    lr_vocab *vocab = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_GPT2, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK);
    pthread_t threads[4];
    worker workers[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (worker){vocab, 0};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(workers[i].wrong == 0);
    }
    lr_vocab_free(vocab);
}

#ifdef __linux__
/* Text of more than 2^31 and 2^32 bytes: one file of 16 MiB, mapped again and again. Encoded are its start and what lies
 * around those places; the pieces in between are skipped, which the run cannot tell. */
static void test_a_piece_too_long_is_refused_before_room_is_asked_for(void) {
    const size_t size = LR_TOK_PIECE_MAX + 1;
    uint8_t *text = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (text == MAP_FAILED) return; /* no such room */
    lr_vocab *vocab = NULL;
    lr_tok_run *run = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_GPT2, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
    int32_t ids[64];
    size_t at = 0, count, need;
    CHECK(lr_tok_encode(run, text, size, -1, &at, ids, 64, &count, &need) == LR_E_LIMIT && count == 0);
    lr_tok_run_free(run);
    lr_vocab_free(vocab);
    munmap(text, size);
}

static void test_places_beyond_32_bits(void) {
    enum { PART = 1 << 24, PARTS = 260, ROOM = 1 << 16 };
    const size_t size = (size_t)PART * PARTS;
    static const char line[] = " the thing\n in i"; /* 16 bytes */
    FILE *file = tmpfile();
    char *part = malloc(PART);
    for (size_t i = 0; i < PART; i++) part[i] = line[i % 16];
    CHECK(file != NULL && fwrite(part, 1, PART, file) == PART && fflush(file) == 0);
    free(part);
    uint8_t *text = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (text == MAP_FAILED) { /* no such room: a 32-bit system, or a limit */
        fclose(file);
        return;
    }
    for (size_t i = 0; i < PARTS; i++)
        CHECK(mmap(text + i * PART, PART, PROT_READ, MAP_SHARED | MAP_FIXED, fileno(file), 0) != MAP_FAILED);
    lr_vocab *vocab = NULL;
    lr_tok_run *run = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_GPT2, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
    static int32_t first[ROOM], ids[ROOM];
    size_t at = 0, start_count, count, need;
    CHECK(lr_tok_encode(run, text, size, -1, &at, first, ROOM, &start_count, &need) == LR_FULL);
    static const size_t places[] = {(size_t)1 << 31, (size_t)3 << 30, (size_t)1 << 32};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const size_t before = places[i] - 32 * 16;
        at = before;
        CHECK(lr_tok_encode(run, text, size, -1, &at, ids, ROOM, &count, &need) == LR_FULL);
        CHECK(at > places[i] && count == start_count && memcmp(ids, first, count * sizeof *ids) == 0);
    }
    at = size - 1600;
    CHECK(lr_tok_encode(run, text, size, -1, &at, ids, ROOM, &count, &need) == LR_OK && at == size);
    CHECK(count > 400 && memcmp(ids, first, (count - 1) * sizeof *ids) == 0);
    lr_tok_run_free(run);
    lr_vocab_free(vocab);
    CHECK(munmap(text, size) == 0 && fclose(file) == 0);
}
#endif

static void test_the_best_tier_is_chosen(void) {
#ifdef __aarch64__
    CHECK(strcmp(lr_tier_choose(NULL)->name, "neon") == 0);
#endif
    CHECK(strcmp(lr_tier_choose("scalar")->name, "scalar") == 0);
    CHECK(strcmp(lr_tier_choose("mmx")->name, "scalar") == 0);
}

static void test_arguments(void) {
    lr_vocab *vocab = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, 99, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_E_ARGUMENT && lr_vocab_new(NULL, &vocab) == LR_E_ARGUMENT);
    tok_begin(&v, 7, LR_PRE_GPT2, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_E_ARGUMENT);
    tok_begin(&v, LR_VOCAB_SPM, 0, LR_RULES_OWN);
    v.source.scores = NULL;
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_E_ARGUMENT);
    for (int i = -1; i <= LR_VOCAB_FAULTS; i++) CHECK(lr_vocab_fault_text(i)[0] != 0);
    lr_vocab_free(NULL);
    lr_tok_run_free(NULL);
    CHECK(lr_tok_run_new(NULL, NULL) == LR_E_ARGUMENT);
}

static intptr_t made[4];

static void *new_list(intptr_t size) {
    memset(made, 0, sizeof made);
    return size <= 3 ? made : NULL;
}

static int set_item(void *list, intptr_t index, void *item) {
    ((intptr_t *)list)[index] = (intptr_t)item;
    return 0;
}

static void hold(void *item) { *(intptr_t *)item += 10; }

static void test_lists(void) {
    intptr_t held[3] = {0};
    void *ints[3] = {&held[0], &held[1], &held[2]};
    const int32_t ids[] = {2, 0, 2, 1}, wrong[] = {0, 3}, negative[] = {-1};
    CHECK(lr_list_make(ids, 3, ints, 3, new_list, set_item, hold) == made);
    CHECK(made[0] == (intptr_t)&held[2] && made[1] == (intptr_t)&held[0] && made[2] == made[0]);
    CHECK(held[2] == 20 && held[0] == 10 && held[1] == 0);
    CHECK(lr_list_make(wrong, 2, ints, 3, new_list, set_item, hold) == NULL && held[0] == 10);
    CHECK(lr_list_make(negative, 1, ints, 3, new_list, set_item, hold) == NULL);
    CHECK(lr_list_make(ids, 4, ints, 3, new_list, set_item, hold) == NULL && held[1] == 0);
}

static void test_utf8(void) {
    uint8_t out[64];
    CHECK(lr_utf8_valid((const uint8_t *)"a\xC3\xA9\xF0\x9F\x98\x80", 7) == 7);
    static const char *const bad[] = {"\xC3", "\x80", "\xC0\x80", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(lr_utf8_valid((const uint8_t *)bad[i], strlen(bad[i])) == 0);
    CHECK(lr_utf8_llama((const uint8_t *)"a\xC0\xA0\xFF\xED\xA0\x80\xC3", 8, out) == 11);
    CHECK(memcmp(out, "a \xEF\xBF\xBD\xED\xA0\x80\xEF\xBF\xBD", 11) == 0);
}

int main(void) {
    test_encode_and_decode();
    test_no_special_token_cuts_a_character();
    test_scores_need_no_alignment();
    test_long_pieces();
    test_scan_agrees_with_split();
    test_tiers_agree();
    test_threads_share_a_vocabulary();
#ifdef __linux__
    test_a_piece_too_long_is_refused_before_room_is_asked_for();
    test_places_beyond_32_bits();
#endif
    test_the_best_tier_is_chosen();
    test_arguments();
    test_lists();
    test_utf8();
    return lr_report("tok");
}
