/* Reading a file's list of merges into the table of pairs. */
#include "lr_vocab_private.h"

#include <stdlib.h>

/* A few at a time: while one waits for memory, the others' look-ups are on their way. */
enum { BATCH = 32, SHORT = 48 };

typedef struct lr_reading {
    lr_key left, right, both;
    size_t left_size, right_size;
    int32_t id;                  /* of what the merge makes, where it was guessed; else -1 */
    const uint8_t *text;         /* both halves' bytes: the token's own, near[], or far where they are many */
    uint8_t near[SHORT + 16];
} lr_reading;

typedef struct lr_merges {
    lr_vocab *vocab;
    lr_vocab_source *source;
    int32_t last;    /* what the merge before made */
    uint8_t *far;    /* room for the text of one long merge */
    size_t count;    /* merges in read[] */
    uint64_t first;  /* number of the first of them */
    lr_reading read[BATCH];
} lr_merges;

/* One merge as the file has it. The space at 0 belongs to the left half. */
typedef struct lr_halves {
    const uint8_t *left, *right;
    size_t left_size, right_size;
    size_t readable; /* bytes from left on */
} lr_halves;

static lr_status cut(lr_vocab_source *source, uint64_t index, const uint8_t *text, size_t size, lr_halves *out) {
    const uint8_t *space = size > 1 ? memchr(text + 1, ' ', size - 1) : NULL;
    if (space == NULL || space + 1 == text + size) return lr_vocab_fail(source, LR_VOCAB_MERGE_HALF, index);
    if (size > 2 * LR_VOCAB_TOKEN_MAX) return lr_vocab_fail(source, LR_VOCAB_TOKEN_LONG, index);
    *out = (lr_halves){text, space + 1, (size_t)(space - text), size - (size_t)(space + 1 - text),
                       (size_t)(source->merges + source->merges_size - text)};
    return LR_OK;
}

static int is_spelled(const lr_merges *merges, int32_t id, const lr_halves *halves) {
    const lr_vocab *vocab = merges->vocab;
    const uint8_t type = vocab->types[id], *text = merges->source->tokens + vocab->places[id];
    const size_t size = vocab->places[id + 1] - vocab->places[id] - 8;
    /* What is cut inside a letter is no merge. */
    if (merges->source->letters && (halves->right[0] & 0xC0) == 0x80) return 0;
    return (type == LR_TOKEN_NORMAL || type == LR_TOKEN_UNUSED) && size == halves->left_size + halves->right_size &&
           memcmp(text, halves->left, halves->left_size) == 0 &&
           memcmp(text + halves->left_size, halves->right, halves->right_size) == 0;
}

/* Files list merges in the order of the tokens that they make: most make the token of the merge before, or the next
 * one. A look at its text, which lies near, spares a look-up, and spelling the halves. */
static int32_t guess(const lr_merges *merges, const lr_halves *halves) {
    const int32_t last = merges->last;
    if (!merges->vocab->all_spelled) return -1;
    if (last >= 0 && is_spelled(merges, last, halves)) return last;
    return (uint32_t)(last + 1) < merges->vocab->count && is_spelled(merges, last + 1, halves) ? last + 1 : -1;
}

/* How many letters `size` bytes of UTF-8 are. */
static size_t letters_in(const uint8_t *text, size_t size, size_t readable) {
    size_t count = size, at = 0;
    for (; at < size && readable - at >= 8; at += 8) {
        const size_t left = size - at < 8 ? size - at : 8;
        const uint64_t w = lr_load8(text + at) & lr_load8(lr_key_mask + 16 - left);
        /* A byte 10xxxxxx goes on with a letter. */
        count -= (size_t)((w >> 7 & ~(w >> 6) & 0x0101010101010101u) * 0x0101010101010101u >> 56);
    }
    for (; at < size; at++) count -= (text[at] & 0xC0) == 0x80;
    return count;
}

/* Finds the bytes of both halves, and what they merge into where it can be guessed. */
static lr_status spell(lr_merges *merges, uint64_t index, const lr_halves *halves, lr_reading *out) {
    const lr_vocab *vocab = merges->vocab;
    const int letters = merges->source->letters;
    out->id = guess(merges, halves);
    if (out->id >= 0) {
        merges->last = out->id;
        out->text = vocab->bytes + vocab->starts[out->id];
        out->left_size = letters ? letters_in(halves->left, halves->left_size, halves->readable) : halves->left_size;
        out->right_size = vocab->starts[out->id + 1] - vocab->starts[out->id] - out->left_size;
        return LR_OK;
    }
    size_t left = halves->left_size, right = halves->right_size;
    uint8_t *text = left + right < SHORT ? out->near : merges->far;
    if (letters) {
        left = lr_letters_to_bytes(halves->left, left, text);
        right = left == SIZE_MAX ? left : lr_letters_to_bytes(halves->right, right, text + left);
        if (right == SIZE_MAX) return lr_vocab_fail(merges->source, LR_VOCAB_MERGE_UNKNOWN, index);
    } else {
        memcpy(text, halves->left, left);
        memcpy(text + left, halves->right, right);
    }
    out->text = text;
    out->left_size = left;
    out->right_size = right;
    return LR_OK;
}

static void prefetch(const lr_vocab *vocab, const lr_key *key) {
    __builtin_prefetch(&vocab->words.slots[key->hash & vocab->words.mask]);
}

/* A pass of its own: a key is 16 bytes read at once, and what was written byte by byte a moment ago makes a CPU wait. */
static void make_keys(lr_merges *merges) {
    for (size_t i = 0; i < merges->count; i++) {
        lr_reading *r = &merges->read[i];
        const size_t left = r->left_size, right = r->right_size;
        r->left = lr_key_of(r->text, left, left + right + 16);
        r->right = lr_key_of(r->text + left, right, right + 16);
        prefetch(merges->vocab, &r->left);
        prefetch(merges->vocab, &r->right);
        if (r->id >= 0) continue;
        r->both = lr_key_of(r->text, left + right, left + right + 16);
        prefetch(merges->vocab, &r->both);
    }
}

static int32_t find(const lr_vocab *vocab, const lr_key *key, const uint8_t *text, size_t size) {
    const lr_word *word = lr_words_find(&vocab->words, key, text, size);
    return word == NULL ? -1 : word->ids[0];
}

/* The merges that were read, into the table. */
static lr_status add_merges(lr_merges *merges) {
    lr_vocab *vocab = merges->vocab;
    lr_pair pairs[BATCH];
    make_keys(merges);
    for (size_t i = 0; i < merges->count; i++) {
        const lr_reading *r = &merges->read[i];
        const uint64_t rank = merges->first + i;
        const int32_t a = find(vocab, &r->left, r->text, r->left_size);
        const int32_t b = find(vocab, &r->right, r->text + r->left_size, r->right_size);
        int32_t id = r->id;
        if (id < 0) merges->last = id = find(vocab, &r->both, r->text, r->left_size + r->right_size);
        if (a < 0 || b < 0 || id < 0) return lr_vocab_fail(merges->source, LR_VOCAB_MERGE_UNKNOWN, rank);
        pairs[i] = (lr_pair){(uint32_t)a, (uint32_t)b, (uint32_t)rank, id};
        lr_pairs_prefetch(vocab, pairs[i].left, pairs[i].right);
    }
    /* Of a merge that stands twice llama.cpp takes the first, Hugging Face the last. */
    for (size_t i = 0; i < merges->count; i++)
        lr_pairs_add(vocab, pairs[i], vocab->rules == LR_RULES_LLAMA_CPP);
    merges->first += merges->count;
    merges->count = 0;
    return LR_OK;
}

static lr_status read_all(lr_merges *merges) {
    const lr_vocab_source *source = merges->source;
    uint64_t at = 0;
    for (uint64_t i = 0; i < source->merge_count; i++) {
        const uint8_t *text;
        uint64_t size;
        lr_halves halves = {NULL, NULL, 0, 0, 0};
        if (lr_packed_next(source->merges, source->merges_size, &at, &text, &size) != LR_OK)
            return lr_vocab_fail(merges->source, LR_VOCAB_MERGE_CUT, i);
        lr_status status = cut(merges->source, i, text, size, &halves);
        if (status == LR_OK) status = spell(merges, i, &halves, &merges->read[merges->count++]);
        /* There is one place for long texts: what lies there is done with before the next. */
        const int full = merges->count == BATCH || size > SHORT || i + 1 == source->merge_count;
        if (status == LR_OK && full) status = add_merges(merges);
        if (status != LR_OK) return status;
    }
    return LR_OK;
}

lr_status lr_vocab_read_merges(lr_vocab *vocab, lr_vocab_source *source) {
    if (source->merge_count == 0) return lr_vocab_fail(source, LR_VOCAB_NO_MERGES, 0);
    if (source->merges_size / 8 < source->merge_count)
        return lr_vocab_fail(source, LR_VOCAB_MERGE_CUT, source->merges_size / 8);
    if (lr_pairs_make(vocab, source->merge_count) != LR_OK) return LR_E_MEMORY;
    lr_merges *merges = calloc(1, sizeof *merges);
    uint8_t *far = calloc(1, 2 * LR_VOCAB_TOKEN_MAX + 16);
    lr_status status = LR_E_MEMORY;
    if (merges != NULL && far != NULL) {
        merges->vocab = vocab;
        merges->source = source;
        merges->last = -1;
        merges->far = far;
        status = read_all(merges);
    }
    free(merges);
    free(far);
    return status == LR_OK ? lr_pairs_index_bytes(vocab) : status;
}
