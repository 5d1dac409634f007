/* SentencePiece BPE: characters merge into tokens by score, the leftmost of equals first. Inside, a space is a
 * plain space; U+2581 in text is the same thing.
 *
 * Between two characters that no token holds side by side nothing ever merges: there text is cut into pieces, which a
 * run remembers as it does those of other vocabularies. */
#include "lr_learn_private.h"

#include <stdlib.h>

typedef struct lr_scored { float score; uint32_t id; } lr_scored;

static int by_score(const void *a, const void *b) {
    const lr_scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The symbol of a character: its token, or a number behind the tokens when some token begins or ends with it. */
uint32_t lr_spm_symbol(const lr_vocab *vocab, const uint8_t *text, size_t size) {
    const lr_key key = lr_key_short(text, size, size);
    const lr_word *word = lr_words_find(&vocab->words, &key, text, size);
    if (word == NULL) word = lr_words_find(&vocab->chars, &key, text, size);
    return word == NULL ? LR_NO_RANK : (uint32_t)word->ids[0];
}

static void index_char(lr_vocab *vocab, const uint8_t *text, size_t size, uint32_t symbol) {
    if (size <= 3 && size == lr_utf8_length(text[0]) && lr_utf8_valid(text, size) == size)
        vocab->char_symbols[lr_utf8_at(text)] = symbol;
}

/* The symbol of one half of a token, which is made for a character where there is none. */
static uint32_t half_symbol(lr_vocab *vocab, const uint8_t *text, size_t size, size_t readable) {
    const int32_t id = lr_vocab_find(vocab, text, size, readable);
    if (id >= 0) return (uint32_t)id;
    if (size != lr_utf8_length(text[0])) return LR_NO_RANK;
    const uint32_t known = lr_spm_symbol(vocab, text, size);
    if (known != LR_NO_RANK) return known;
    const lr_key key = lr_key_short(text, size, size);
    const int32_t ids[1] = {(int32_t)vocab->symbols};
    if (lr_words_add(&vocab->chars, &key, text, size, ids, 1) == NULL) return LR_NO_RANK;
    index_char(vocab, text, size, vocab->symbols);
    return vocab->symbols++;
}

static size_t cuts(lr_vocab *vocab, uint32_t id, uint32_t rank, int add) {
    const uint8_t *text = vocab->bytes + vocab->starts[id];
    const size_t size = vocab->starts[id + 1] - vocab->starts[id], readable = size + 16;
    size_t count = 0;
    for (size_t cut = lr_utf8_length(text[0]); cut < size; cut += lr_utf8_length(text[cut])) {
        if (text[cut - 1] != ' ' && text[cut] == ' ') vocab->whole_text = 1;
        vocab->joins[text[cut - 1]][text[cut] / 64] |= (uint64_t)1 << text[cut] % 64;
        count++;
        if (!add) continue;
        const uint32_t left = half_symbol(vocab, text, cut, readable);
        const uint32_t right = left == LR_NO_RANK ? left : half_symbol(vocab, text + cut, size - cut, readable - cut);
        if (right != LR_NO_RANK) lr_pairs_add(vocab, (lr_pair){left, right, rank, (int32_t)id}, 1);
    }
    return count;
}

static int mergeable(const lr_vocab *vocab, uint32_t id) {
    const uint8_t type = vocab->types[id];
    return type == LR_TOKEN_NORMAL || type == LR_TOKEN_USER_DEFINED || type == LR_TOKEN_UNUSED;
}

/* Pieces are never cut inside a character. Unknown characters without byte tokens become one token together, so there
 * they are cut before spaces alone. */
static void join_always(lr_vocab *vocab) {
    int unspellable = 0;
    for (int i = 0; i < 256; i++) unspellable |= vocab->byte_ids[i] < 0;
    for (int last = 0; last < 256; last++) {
        vocab->joins[last][2] = ~(uint64_t)0;
        if (!unspellable) continue;
        for (int k = 0; k < 4; k++) vocab->joins[last][k] = ~(uint64_t)0;
        if (last != ' ') vocab->joins[last][0] ^= (uint64_t)1 << ' ';
    }
}

/* What is known of single characters before any token is cut. */
static lr_status index_chars(lr_vocab *vocab) {
    vocab->char_symbols = malloc(65536 * sizeof *vocab->char_symbols);
    vocab->joins = calloc(256, sizeof *vocab->joins);
    if (vocab->char_symbols == NULL || vocab->joins == NULL || lr_words_make(&vocab->chars, 0) != 0) return LR_E_MEMORY;
    memset(vocab->char_symbols, 0xff, 65536 * sizeof *vocab->char_symbols);
    for (size_t i = 0; i < vocab->words.mask + 2; i++) {
        const lr_word *word = &vocab->words.slots[i];
        const size_t size = word->key[1] >> 56;
        if (word->n && size <= 3) index_char(vocab, (const uint8_t *)word->key, size, (uint32_t)word->ids[0]);
    }
    join_always(vocab);
    return LR_OK;
}

lr_status lr_vocab_read_scores(lr_vocab *vocab, const lr_vocab_source *source) {
    vocab->symbols = vocab->count;
    lr_scored *order = malloc(vocab->count * sizeof *order);
    if (order == NULL || index_chars(vocab) != LR_OK) {
        free(order);
        return LR_E_MEMORY;
    }
    size_t n = 0, count = 0;
    for (uint32_t i = 0; i < vocab->count; i++) {
        if (!mergeable(vocab, i)) continue;
        float score;
        memcpy(&score, (const uint8_t *)source->scores + i * sizeof score, sizeof score);
        /* A score that is no number would make sorting meaningless. */
        order[n++] = (lr_scored){score == score ? score : -3e38f, i};
        count += cuts(vocab, i, 0, 0);
    }
    lr_status status = lr_pairs_make(vocab, count);
    if (status == LR_OK) qsort(order, n, sizeof *order, by_score);
    uint32_t rank = 0;
    for (size_t i = 0; i < n && status == LR_OK; i++) {
        if (i > 0 && order[i].score < order[i - 1].score) rank++;
        (void)cuts(vocab, order[i].id, rank, 1);
    }
    free(order);
    return status;
}

size_t lr_spm_bytes(const lr_vocab *vocab, const uint8_t *text, size_t size, int32_t *ids, size_t used) {
    size_t added = 0;
    for (size_t i = 0; i < size; i++) {
        const int32_t id = vocab->byte_ids[text[i]];
        if (id >= 0) ids[used + added++] = id;
        else if (vocab->unknown >= 0 && (used + added == 0 || ids[used + added - 1] != vocab->unknown))
            ids[used + added++] = vocab->unknown;
    }
    return added;
}

size_t lr_spm_spell(const lr_vocab *vocab, const uint32_t *symbols, size_t n, const uint8_t *text, size_t size,
                    int32_t *ids) {
    size_t at = 0, used = 0;
    for (size_t i = 0; i < n && at < size; i++) {
        if (symbols[i] < vocab->count) {
            ids[used++] = (int32_t)symbols[i];
            at += vocab->starts[symbols[i] + 1] - vocab->starts[symbols[i]];
            continue;
        }
        size_t length = lr_utf8_length(text[at]);
        if (length > size - at) length = size - at;
        used += lr_spm_bytes(vocab, text + at, length, ids, used);
        at += length;
    }
    return used;
}

int lr_spm_row(const lr_vocab *vocab, const uint8_t *text, size_t size, lr_row *row) {
    uint32_t n = 0;
    for (size_t at = 0, length; at < size; at += length) {
        if (n == LR_ROW_MAX) return 0;
        length = lr_utf8_length(text[at]);
        row->symbols[++n] = length <= 3 ? vocab->char_symbols[lr_utf8_at(text + at)] : lr_spm_symbol(vocab, text + at, length);
    }
    row->n = n;
    lr_row_look_up(vocab, row);
    return 1;
}

lr_status lr_spm_merge(lr_tok_run *run, const uint8_t *text, size_t size, int32_t *ids, size_t *count) {
    uint32_t few[256], *symbols = size <= 256 ? few : malloc(size * sizeof *symbols);
    if (symbols == NULL) return LR_E_MEMORY;
    size_t n = 0;
    for (size_t at = 0; at < size; ) {
        size_t length = lr_utf8_length(text[at]);
        if (length > size - at) length = size - at;
        symbols[n++] = lr_spm_symbol(run->vocab, text + at, length);
        at += length;
    }
    const lr_status status = lr_symbols_merge(run, symbols, NULL, &n);
    *count = status == LR_OK ? lr_spm_spell(run->vocab, symbols, n, text, size, ids) : 0;
    if (symbols != few) free(symbols);
    return status;
}

/* Bytes of a space in either spelling at p < end, else 0. */
static size_t space_at(const uint8_t *text, size_t p, size_t end) {
    if (text[p] == ' ') return 1;
    return text[p] == 0xE2 && end - p >= 3 && text[p + 1] == 0x96 && text[p + 2] == 0x81 ? 3 : 0;
}

/* The end of the word that begins at p; *plain: it holds no U+2581. */
static size_t word_end(const lr_vocab *vocab, const uint8_t *text, size_t p, size_t end, int *plain) {
    size_t space;
    *plain = 1;
    while (p < end && (space = space_at(text, p, end)) != 0) {
        if (space == 3) *plain = 0;
        p += space;
    }
    for (; p < end; p++) {
        space = space_at(text, p, end);
        if (space == 0) continue;
        if (!vocab->whole_text) break;
        if (space == 3) *plain = 0;
    }
    return p;
}

static lr_status put_word(lr_tok_run *run, const uint8_t *text, size_t size, size_t readable, int32_t *ids,
                          size_t *count) {
    const lr_key key = lr_key_of(text, size, readable);
    if (size <= LR_WORD_LONGEST) {
        const lr_word *seen = lr_words_find(&run->cache, &key, text, size);
        if (seen != NULL) {
            *count = seen->n & LR_WORD_COUNT;
            memcpy(ids, lr_word_ids(&run->cache, seen), *count * sizeof *ids);
            return LR_OK;
        }
    }
    const lr_status status = lr_spm_merge(run, text, size, ids, count);
    if (status == LR_OK) lr_tok_remember(run, &key, text, size, ids, *count);
    return status;
}

/* With the space that the text begins with, and U+2581 as a plain one. */
static lr_status put_rewritten(lr_tok_run *run, const uint8_t *text, size_t size, int32_t *ids, size_t *count) {
    uint8_t few[256], *copy = size < 256 ? few : malloc(size + 1);
    if (copy == NULL) return LR_E_MEMORY;
    size_t used = 0;
    if (run->prefix) copy[used++] = ' ';
    for (size_t at = 0; at < size; ) {
        const size_t space = space_at(text, at, size);
        copy[used++] = space ? ' ' : text[at];
        at += space ? space : 1;
    }
    const lr_status status = put_word(run, copy, used, used, ids, count);
    if (copy != few) free(copy);
    return status;
}

/* Where U+2581 begins in text[p, limit), or limit. */
static size_t find_mark(const uint8_t *text, size_t p, size_t limit, size_t end) {
    for (const uint8_t *found; p < limit && (found = memchr(text + p, 0xE2, limit - p)) != NULL; p++) {
        p = (size_t)(found - text);
        if (space_at(text, p, end)) return p;
    }
    return limit;
}

/* Fills the batch with pieces from text[p, end), up to where one may hold U+2581. */
static void cut_pieces(const lr_vocab *vocab, const uint8_t *text, size_t p, size_t end, lr_batch *batch) {
    const uint64_t(*joins)[4] = (const uint64_t(*)[4])vocab->joins;
    uint32_t *ends = batch->ends;
    size_t count = 0, q = p;
    for (int marked = 0; q < end && !marked && count < LR_BATCH && q - p <= LR_TOK_PIECE_MAX; ) {
        const size_t limit = end - q <= LR_WINDOW ? end : q + LR_WINDOW + 1, stop = find_mark(text, q, limit, end);
        marked = stop < limit;
        const size_t last = marked && stop == q ? q : stop - 1;
        /* Whether a piece ends here is what a CPU cannot foresee: no branch. */
        for (; q < last; q++) {
            ends[count] = (uint32_t)(q + 1 - p);
            count += ~joins[text[q]][text[q + 1] / 64] >> text[q + 1] % 64 & 1;
        }
        if (stop == end) ends[count++] = (uint32_t)(++q - p);
    }
    batch->count = count;
}

/* One piece with all that there may be to it: the space that the text begins with, U+2581. */
static lr_status put_any(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink) {
    int plain;
    const size_t next = word_end(run->vocab, text, *at, end, &plain), length = next - *at;
    if (length > LR_TOK_PIECE_MAX) return LR_E_LIMIT;
    if (sink->room - sink->count < length + 1) {
        sink->need = length + 1;
        return LR_FULL;
    }
    size_t added = 0;
    int32_t *ids = sink->ids + sink->count;
    const lr_status status = plain && !run->prefix ? put_word(run, text + *at, length, size - *at, ids, &added)
                                                   : put_rewritten(run, text + *at, length, ids, &added);
    if (status != LR_OK) return status;
    run->prefix = 0;
    sink->count += added;
    *at = next;
    return LR_OK;
}

lr_status lr_spm_encode(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink) {
    lr_batch batch;
    lr_status status = LR_OK;
    if (run->malformed) return lr_spm_encode_malformed(run, text, at, end, sink);
    while (status == LR_OK && *at < end) {
        batch.count = 0;
        if (!run->prefix) cut_pieces(run->vocab, text, *at, end, &batch);
        if (batch.count == 0) {
            status = put_any(run, text, size, at, end, sink);
            continue;
        }
        size_t done;
        batch.text = text + *at;
        batch.readable = size - *at;
        status = lr_batch_put(run, &batch, &done, sink);
        *at += done;
    }
    return status;
}
