/* What llama.cpp's SPM makes of bytes that are not UTF-8: it takes as many bytes for a character as the first one
 * promises, those of the next character and of spaces among them. Here a space is U+2581 in three bytes. */
#include "lr_tok_private.h"

#include <stdlib.h>

static size_t promised(const uint8_t *text, size_t left) {
    static const uint8_t by_high_bits[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    const size_t length = by_high_bits[text[0] >> 4];
    return length < left ? length : left;
}

static uint32_t symbol_of(const lr_vocab *vocab, const uint8_t *text, size_t size) {
    if (size == 3 && memcmp(text, "\xE2\x96\x81", 3) == 0) return lr_spm_symbol(vocab, (const uint8_t *)" ", 1);
    return lr_spm_symbol(vocab, text, size);
}

/* Bytes of a token in this spelling. */
static size_t spelled(const lr_vocab *vocab, uint32_t id) {
    size_t size = 0;
    for (uint32_t i = vocab->starts[id]; i < vocab->starts[id + 1]; i++) size += vocab->bytes[i] == ' ' ? 3 : 1;
    return size;
}

static size_t rewrite(const uint8_t *text, size_t size, int prefix, uint8_t *out) {
    size_t used = 0;
    for (size_t i = 0; i < size + (prefix != 0); i++) {
        const uint8_t byte = prefix ? (i ? text[i - 1] : ' ') : text[i];
        if (byte != ' ') {
            out[used++] = byte;
            continue;
        }
        memcpy(out + used, "\xE2\x96\x81", 3);
        used += 3;
    }
    return used;
}

lr_status lr_spm_encode_malformed(lr_tok_run *run, const uint8_t *text, size_t *at, size_t end, lr_sink *sink) {
    const lr_vocab *vocab = run->vocab;
    const size_t most = 3 * (end - *at + 1);
    if (most > LR_TOK_PIECE_MAX) return LR_E_LIMIT;
    if (sink->room - sink->count < most) {
        sink->need = most;
        return LR_FULL;
    }
    uint8_t *copy = malloc(most);
    uint32_t *symbols = malloc(most * sizeof *symbols);
    lr_status status = copy == NULL || symbols == NULL ? LR_E_MEMORY : LR_OK;
    if (status == LR_OK) {
        const size_t size = rewrite(text + *at, end - *at, run->prefix, copy);
        size_t n = 0;
        for (size_t p = 0, length; p < size; p += length) {
            length = promised(copy + p, size - p);
            symbols[n++] = symbol_of(vocab, copy + p, length);
        }
        status = lr_symbols_merge(run, symbols, NULL, &n);
        int32_t *ids = sink->ids + sink->count;
        size_t used = 0;
        for (size_t i = 0, p = 0, length; i < n && p < size && status == LR_OK; i++, p += length) {
            const int known = symbols[i] < vocab->count;
            length = known ? spelled(vocab, symbols[i]) : promised(copy + p, size - p);
            if (known) ids[used++] = (int32_t)symbols[i];
            else used += lr_spm_bytes(vocab, copy + p, length, ids, used);
        }
        sink->count += used;
    }
    free(copy);
    free(symbols);
    if (status != LR_OK) return status;
    run->prefix = 0;
    *at = end;
    return LR_OK;
}
