/* Reading the tokens: their bytes, the table that finds them, and the special ones. */
#include "lr_vocab_private.h"

#include <stdlib.h>

/* GPT-2 writes the bytes that are printable in Latin-1 as themselves and the other 68, in order, from U+0100 on. */
static int is_printable(uint32_t byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

static int byte_of_letter(uint32_t cp) {
    if (cp < 0x100) return is_printable(cp) ? (int)cp : -1;
    if (cp > 0x143) return -1;
    /* 0x00-0x20, 0x7F-0xA0, 0xAD */
    if (cp <= 0x120) return (int)(cp - 0x100);
    if (cp <= 0x142) return (int)(cp - 0x121 + 0x7F);
    return 0xAD;
}

/* Whether 8 bytes are all printable ASCII, and so stand for themselves. */
static int plain8(uint64_t w) {
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    /* The high bit itself; below 0x21 the difference borrows, 0x7F + 1 carries. */
    return ((w | (w - ones * 0x21) | (w + ones)) & high) == 0;
}

size_t lr_letters_to_bytes(const uint8_t *text, size_t size, uint8_t *out) {
    size_t used = 0;
    for (size_t at = 0; at < size; used++) {
        while (size - at >= 8 && plain8(lr_load8(text + at))) {
            memcpy(out + used, text + at, 8);
            at += 8, used += 8;
        }
        if (at == size) break;
        uint32_t cp = text[at++];
        if (cp >= 0x80) {
            if (cp < 0xC2 || cp > 0xC5 || at == size || (text[at] & 0xC0) != 0x80) return SIZE_MAX;
            cp = (cp & 0x1F) << 6 | (text[at++] & 0x3Fu);
        }
        const int byte = byte_of_letter(cp);
        if (byte < 0) return SIZE_MAX;
        out[used] = (uint8_t)byte;
    }
    return used;
}

int32_t lr_vocab_find(const lr_vocab *vocab, const uint8_t *text, size_t size, size_t readable) {
    if (size == 0) return -1;
    const lr_key key = lr_key_of(text, size, readable);
    const lr_word *word = lr_words_find(&vocab->words, &key, text, size);
    return word == NULL ? -1 : word->ids[0];
}

/* <0x41> for 0x41, else -1. */
static int byte_token(const uint8_t *text, size_t size) {
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        const int c = text[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* U+2581 is how SentencePiece writes a space. */
static size_t with_spaces(const uint8_t *text, size_t size, uint8_t *out) {
    size_t used = 0;
    for (size_t at = 0; at < size; ) {
        if (size - at >= 3 && memcmp(text + at, "\xE2\x96\x81", 3) == 0) {
            out[used++] = ' ';
            at += 3;
        } else {
            out[used++] = text[at++];
        }
    }
    return used;
}

/* Writes what token `id` stands for to `out`; `findable`: text can become it by itself. */
static size_t spell(lr_vocab *vocab, const lr_vocab_source *source, uint32_t id, const uint8_t *text, size_t size,
                    uint8_t *out, int *findable) {
    const uint8_t type = vocab->types[id];
    const int plain = type == LR_TOKEN_NORMAL || type == LR_TOKEN_UNUSED;
    *findable = plain || type == LR_TOKEN_USER_DEFINED;
    if (source->kind == LR_VOCAB_SPM) {
        const int byte = byte_token(text, size);
        if (type == LR_TOKEN_UNKNOWN) vocab->unknown = (int32_t)id;
        if (byte >= 0 && (type == LR_TOKEN_BYTE || type == LR_TOKEN_NORMAL)) {
            vocab->byte_ids[byte] = (int32_t)id;
            vocab->types[id] = LR_TOKEN_BYTE;
            out[0] = (uint8_t)byte;
            *findable = 0;
            return 1;
        }
        if (plain) return with_spaces(text, size, out);
    } else if (source->letters && plain) {
        const size_t spelled = lr_letters_to_bytes(text, size, out);
        if (spelled != SIZE_MAX) return spelled;
        *findable = vocab->all_spelled = 0; /* text is bytes, and these letters stand for none */
    }
    memcpy(out, text, size);
    return size;
}

/* Tokens that text can become, spelled but not yet in the table: a batch of them, so that their entries' memory is on
 * its way before the first is needed. */
enum { BATCH = 32 };

typedef struct lr_spelled {
    size_t count;
    uint32_t ids[BATCH];
    lr_key keys[BATCH];
} lr_spelled;

static lr_status add_token(lr_vocab *vocab, lr_vocab_source *source, uint32_t id, const lr_key *key) {
    const uint8_t *text = vocab->bytes + vocab->starts[id];
    const size_t size = vocab->starts[id + 1] - vocab->starts[id];
    lr_word *word = lr_words_find(&vocab->words, key, text, size);
    if (word != NULL) {
        /* A user-defined token may spell what a normal one stands for: then text becomes the normal one. */
        const int mine = vocab->types[id] == LR_TOKEN_USER_DEFINED;
        const int other = vocab->types[word->ids[0]] == LR_TOKEN_USER_DEFINED;
        if (mine == other) return lr_vocab_fail(source, LR_VOCAB_TOKEN_TWICE, id);
        if (other) word->ids[0] = (int32_t)id;
        return LR_OK;
    }
    const int32_t ids[1] = {(int32_t)id};
    word = lr_words_add(&vocab->words, key, text, size, ids, 1);
    if (word == NULL) return LR_E_MEMORY;
    if (!vocab->ignore_merges) word->n |= LR_WORD_DOUBTED;
    return LR_OK;
}

static lr_status add_batch(lr_vocab *vocab, lr_vocab_source *source, lr_spelled *batch) {
    lr_status status = LR_OK;
    for (size_t i = 0; i < batch->count && status == LR_OK; i++)
        status = add_token(vocab, source, batch->ids[i], &batch->keys[i]);
    batch->count = 0;
    return status;
}

static void put_in_batch(const lr_vocab *vocab, lr_spelled *batch, uint32_t id) {
    const uint8_t *text = vocab->bytes + vocab->starts[id];
    const size_t size = vocab->starts[id + 1] - vocab->starts[id];
    lr_key *key = &batch->keys[batch->count];
    *key = lr_key_of(text, size, size + 16);
    __builtin_prefetch(&vocab->words.slots[key->hash & vocab->words.mask], 1);
    batch->ids[batch->count++] = id;
}

static lr_status allocate(lr_vocab *vocab, const lr_vocab_source *source) {
    vocab->bytes = malloc(source->tokens_size + 16);
    vocab->starts = malloc((source->count + 1) * sizeof *vocab->starts);
    vocab->types = malloc(source->count);
    if (vocab->bytes == NULL || vocab->starts == NULL || vocab->types == NULL) return LR_E_MEMORY;
    if (source->kind == LR_VOCAB_MERGES) {
        vocab->places = malloc((source->count + 1) * sizeof *vocab->places);
        if (vocab->places == NULL) return LR_E_MEMORY;
    }
    if (lr_words_make(&vocab->words, source->count) != 0) return LR_E_MEMORY;
    if (source->types != NULL) memcpy(vocab->types, source->types, source->count);
    else memset(vocab->types, LR_TOKEN_NORMAL, source->count);
    for (int i = 0; i < 256; i++) vocab->byte_ids[i] = -1;
    return LR_OK;
}

static lr_status read_all(lr_vocab *vocab, lr_vocab_source *source) {
    lr_spelled batch;
    batch.count = 0;
    uint64_t at = 0;
    uint32_t used = 0;
    lr_status status = LR_OK;
    for (uint32_t id = 0; id < vocab->count && status == LR_OK; id++) {
        const uint8_t *text;
        uint64_t size;
        int findable;
        if (lr_packed_next(source->tokens, source->tokens_size, &at, &text, &size) != LR_OK)
            return lr_vocab_fail(source, LR_VOCAB_TOKEN_CUT, id);
        if (size == 0) return lr_vocab_fail(source, LR_VOCAB_TOKEN_EMPTY, id);
        if (size > LR_VOCAB_TOKEN_MAX) return lr_vocab_fail(source, LR_VOCAB_TOKEN_LONG, id);
        if (vocab->places != NULL) {
            vocab->places[id] = (uint32_t)(text - source->tokens);
            vocab->places[id + 1] = (uint32_t)(at + 8);
        }
        vocab->starts[id] = used;
        used += (uint32_t)spell(vocab, source, id, text, size, vocab->bytes + used, &findable);
        vocab->starts[id + 1] = used;
        memset(vocab->bytes + used, 0, 16);
        if (findable) put_in_batch(vocab, &batch, id);
        if (batch.count == BATCH) status = add_batch(vocab, source, &batch);
    }
    return status == LR_OK ? add_batch(vocab, source, &batch) : status;
}

lr_status lr_vocab_read_tokens(lr_vocab *vocab, lr_vocab_source *source) {
    /* A token takes at least its length's 8 bytes: a count beyond that is false, and nothing is allocated for it. */
    if (source->tokens_size / 8 < source->count) return lr_vocab_fail(source, LR_VOCAB_TOKEN_CUT, source->tokens_size / 8);
    if (source->tokens_size > UINT32_MAX) return lr_vocab_fail(source, LR_VOCAB_MANY, source->count);
    if (allocate(vocab, source) != LR_OK) return LR_E_MEMORY;
    const lr_status status = read_all(vocab, source);
    if (status != LR_OK) return status;
    for (int i = 0; i < 256 && source->kind != LR_VOCAB_SPM; i++) {
        const uint8_t byte[1] = {(uint8_t)i};
        vocab->byte_ids[i] = lr_vocab_find(vocab, byte, 1, 1);
    }
    return LR_OK;
}
