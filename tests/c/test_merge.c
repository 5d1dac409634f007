/* Merging, by every way there is, against the plainest one: over vocabularies that nobody trained. */
#include "check.h"
#include "lr_tok.h"
#include "lr_tok_private.h"
#include "tok_vocab.h"

#include <stdlib.h>

enum { LONGEST = 6000, TOKENS = 120 };

static tok_vocab v;
static unsigned long long seed = 88172645463325252ull;

static size_t below(size_t n) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (size_t)(seed % n);
}

typedef struct { char text[64]; } word;

static int known(const word *words, size_t count, const char *text) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(words[i].text, text) == 0) return 1;
    return 0;
}

/* Some letters, tokens out of two tokens each, and merges: one or more for a token, in an order that has nothing to do
 * with how they build on each other; some stand twice, some can never be reached, some tokens have none. */
static void make_vocabulary(int kind, int rules, size_t letters) {
    static word words[TOKENS + 8];
    size_t count = 0;
    tok_begin(&v, kind, LR_PRE_GPT2, rules);
    v.source.merge_count = v.source.merges_size = 0;
    for (size_t i = 0; i < letters; i++) words[count++] = (word){{(char)('p' + i), 0}};
    for (size_t tries = 0; tries < 2000 && count < letters + 8 + below(TOKENS - 8); tries++) {
        const char *a = words[below(count)].text, *b = words[below(count)].text;
        word both;
        if (strlen(a) + strlen(b) >= 40) continue;
        snprintf(both.text, sizeof both.text, "%s%s", a, b);
        if (known(words, count, both.text)) continue;
        tok_token(&v, both.text, strlen(both.text), LR_TOKEN_NORMAL);
        v.scores[v.source.count - 1] = -(float)below(30);
        words[count++] = both;
    }
    tok_merge(&v, "p p");
    for (size_t i = 0; i < 3 * count && kind == LR_VOCAB_MERGES; i++) {
        const char *text = words[below(count)].text;
        const size_t cut = strlen(text) < 2 ? 0 : 1 + below(strlen(text) - 1);
        char left[64] = "", merge[80];
        memcpy(left, text, cut);
        if (!known(words, count, left) || !known(words, count, text + cut)) continue;
        snprintf(merge, sizeof merge, "%s %s", left, text + cut);
        tok_merge(&v, merge);
    }
    if (!known(words, count, "pp")) tok_token(&v, "pp", 2, LR_TOKEN_NORMAL);
}

/* Always the pair of the lowest rank, the leftmost of equals, looked for anew each time. */
static size_t merge_plainly(const lr_vocab *vocab, uint32_t *symbols, size_t n) {
    for (;;) {
        lr_merge best = {LR_NO_RANK, -1};
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const lr_merge pair = lr_pairs_find(vocab, symbols[i], symbols[i + 1]);
            if (pair.rank < best.rank) best = pair, at = i;
        }
        if (best.id < 0) return n;
        symbols[at] = (uint32_t)best.id;
        memmove(symbols + at + 1, symbols + at + 2, (n - at - 2) * sizeof *symbols);
        n--;
    }
}

static size_t encode_plainly(const lr_vocab *vocab, const char *text, size_t size, int32_t *ids) {
    static uint32_t symbols[LONGEST];
    if (vocab->ignore_merges && (ids[0] = lr_vocab_find(vocab, (const uint8_t *)text, size, size)) >= 0) return 1;
    for (size_t i = 0; i < size; i++) symbols[i] = (uint32_t)vocab->byte_ids[(uint8_t)text[i]];
    if (vocab->kind == LR_VOCAB_SPM)
        for (size_t i = 0; i < size; i++) symbols[i] = lr_spm_symbol(vocab, (const uint8_t *)text + i, 1);
    const size_t n = merge_plainly(vocab, symbols, size);
    memcpy(ids, symbols, n * sizeof *ids);
    return n;
}

static void compare(const lr_vocab *vocab, lr_tok_run *run, const char *text, size_t size) {
    static int32_t ids[LONGEST], expected[LONGEST];
    size_t at = 0, count = 0, need, all = 0;
    for (size_t p = 0, end; p < size; p = end) {
        const char *space = memchr(text + p + 1, ' ', size - p - 1);
        end = space ? (size_t)(space - text) : size;
        all += encode_plainly(vocab, text + p, end - p, expected + all);
    }
    CHECK(lr_tok_encode(run, (const uint8_t *)text, size, -1, &at, ids, LONGEST, &count, &need) == LR_OK && at == size);
    const int same = count == all && memcmp(ids, expected, all * sizeof *ids) == 0;
    CHECK(same);
    if (!same) fprintf(stderr, "kind %d: %.*s\n", vocab->kind, size < 200 ? (int)size : 200, text);
}

/* Random letters, in places repeats of a few of them, in words of about `length`. */
static size_t make_text(char *text, size_t size, size_t letters, size_t length) {
    for (size_t i = 0; i < size; ) {
        const size_t left = size - i, run = 1 + below(left < length ? left : length), period = 1 + below(8);
        const int repeats = below(3) == 0;
        for (size_t k = 0; k < run; k++) {
            const char letter = (char)('p' + below(letters));
            text[i + k] = repeats && k >= period ? text[i + k - period] : letter;
        }
        i += run;
        if (i < size && below(2)) text[i++] = ' ';
    }
    if (text[0] == ' ') text[0] = 'p';
    return size;
}

static void test_random_vocabularies(void) {
    static char text[LONGEST];
    for (int round = 0; round < 150; round++) {
        const int kind = round % 3;
        const size_t letters = 1 + below(4);
        lr_vocab *vocab = NULL;
        lr_tok_run *run = NULL;
        make_vocabulary(kind, kind == LR_VOCAB_SPM ? LR_RULES_OWN : (int)below(2), letters);
        v.source.ignore_merges = (int32_t)below(2);
        CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
        for (int i = 0; i < 40 && vocab && run; i++)
            compare(vocab, run, text, make_text(text, 1 + below(i % 8 ? 300 : 2500), letters, i % 3 ? 90 : 9));
        lr_tok_run_free(run);
        lr_vocab_free(vocab);
    }
}

enum { LONG = 60000 };

/* One long piece: as the heap merges it at once, and in steps that grow with it alone. */
static void compare_long(const lr_vocab *vocab, lr_tok_run *run, const char *text, size_t n) {
    uint32_t *symbols = malloc(n * sizeof *symbols), *copy = malloc(n * sizeof *copy);
    lr_placed *expected = malloc(n * sizeof *expected);
    size_t count = 0, merged = n;
    for (size_t i = 0; i < n; i++) symbols[i] = copy[i] = (uint32_t)vocab->byte_ids[(uint8_t)text[i]];
    CHECK(lr_heap_merge(run, symbols, n, expected, &count) == LR_OK);
    run->merged = 0;
    CHECK(lr_symbols_merge(run, symbols, (const uint8_t *)text, &merged) == LR_OK && merged == count);
    CHECK(run->merged <= 10 * n + 32 * 1024);
    int same = 1;
    for (size_t i = 0; i < count && i < merged; i++) same &= symbols[i] == expected[i].symbol;
    CHECK(same);
    merged = n;
    CHECK(lr_symbols_merge(run, copy, NULL, &merged) == LR_OK && merged == count);
    CHECK(memcmp(copy, symbols, count * sizeof *copy) == 0);
    free(symbols);
    free(copy);
    free(expected);
}

static void test_long_pieces(void) {
    static char text[LONG];
    for (int round = 0; round < 60; round++) {
        const size_t letters = 1 + below(4);
        lr_vocab *vocab = NULL;
        lr_tok_run *run = NULL;
        make_vocabulary(round % 2, (int)below(2), letters);
        CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
        for (int kind = 0; kind < 4 && run; kind++) {
            const size_t n = 50 + below(kind ? 20000 : 400), period = 1 + below(kind == 1 ? 3 : 300);
            for (size_t i = 0; i < n; i++)
                text[i] = kind == 3 || i < period ? (char)('p' + below(letters)) : text[i - period];
            if (kind == 2) text[below(n)] = text[below(n)] = '!';
            compare_long(vocab, run, text, n);
        }
        lr_tok_run_free(run);
        lr_vocab_free(vocab);
    }
}

/* Tokens far longer than a window, and text that makes the most of it. */
static void test_long_tokens(void) {
    static char text[LONG];
    lr_vocab *vocab = NULL;
    lr_tok_run *run = NULL;
    tok_begin(&v, LR_VOCAB_RANKS, LR_PRE_GPT2, LR_RULES_OWN);
    memset(text, 'p', sizeof text);
    for (size_t size = 2; size <= 4096; size *= 2) tok_token(&v, text, size, LR_TOKEN_NORMAL);
    for (size_t size = 3; size <= 768; size *= 4) tok_token(&v, text, size, LR_TOKEN_NORMAL);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
    compare_long(vocab, run, text, LONG);
    for (size_t every = 1; every < 20000; every = every * 3 + 1) {
        memset(text, 'p', sizeof text);
        for (size_t i = below(every); i < LONG; i += 1 + below(2 * every)) text[i] = 'q';
        compare_long(vocab, run, text, LONG);
    }
    lr_tok_run_free(run);
    lr_vocab_free(vocab);
}

static size_t encode(lr_tok_run *run, const char *text, size_t size, int32_t *ids) {
    size_t at = 0, count = 0, need;
    CHECK(lr_tok_encode(run, (const uint8_t *)text, size, -1, &at, ids, LONGEST, &count, &need) == LR_OK && at == size);
    return count;
}

/* U+2581 is a space in another spelling, wherever it stands among pieces, and whatever tokens hold spaces. */
static void test_spaces_in_two_spellings(void) {
    static char text[LONGEST], other[3 * LONGEST];
    static int32_t ids[LONGEST], others[LONGEST];
    static const char *const tokens[] = {"  ", "p ", "pq", " q", "q p", "qq", "   "};
    for (size_t round = 0; round < 60; round++) {
        lr_vocab *vocab = NULL;
        lr_tok_run *run = NULL;
        tok_begin(&v, LR_VOCAB_SPM, LR_PRE_GPT2, LR_RULES_OWN);
        for (int i = 0; i < 256; i++) {
            char byte[8];
            snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)i);
            tok_token(&v, byte, 6, LR_TOKEN_BYTE);
        }
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
            if (below(2)) tok_token(&v, tokens[i], strlen(tokens[i]), LR_TOKEN_NORMAL);
        CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
        for (int i = 0; i < 40 && run; i++) {
            const size_t size = 1 + below(300);
            size_t used = 0;
            for (size_t k = 0; k < size; k++) {
                text[k] = " pq."[below(4)];
                if (text[k] != ' ' || below(3)) {
                    other[used++] = text[k];
                } else {
                    memcpy(other + used, "\xE2\x96\x81", 3);
                    used += 3;
                }
            }
            const size_t count = encode(run, text, size, ids);
            CHECK(encode(run, other, used, others) == count && memcmp(ids, others, count * sizeof *ids) == 0);
            CHECK(count == encode_plainly(vocab, text, size, others) && memcmp(ids, others, count * sizeof *ids) == 0);
        }
        lr_tok_run_free(run);
        lr_vocab_free(vocab);
    }
}

static void test_what_is_remembered_has_an_end(void) {
    static uint8_t text[LR_WORD_LONGEST];
    static int32_t ids[LR_WORD_LONGEST];
    lr_vocab *vocab = NULL;
    lr_tok_run *run = NULL;
    size_t most = 0;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_GPT2, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK);
    for (uint32_t i = 0; i < 30000; i++) {
        memcpy(text, &i, sizeof i);
        const lr_key key = lr_key_of(text, sizeof text, sizeof text);
        lr_tok_remember(run, &key, text, sizeof text, ids, sizeof ids / sizeof *ids);
        CHECK(lr_words_find(&run->cache, &key, text, sizeof text) != NULL);
        if (run->cache.arena_used > most) most = run->cache.arena_used;
    }
    CHECK(most * sizeof *ids <= LR_TOK_ARENA + sizeof text + sizeof ids);
    lr_tok_run_free(run);
    lr_vocab_free(vocab);
}

int main(void) {
    test_what_is_remembered_has_an_end();
    test_spaces_in_two_spellings();
    test_long_pieces();
    test_long_tokens();
    test_random_vocabularies();
    return lr_report("merge");
}
