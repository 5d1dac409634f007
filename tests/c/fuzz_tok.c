/* Any bytes as a vocabulary and any bytes as text: no read outside them, and what is encoded decodes again.
 *
 * The first three bytes say which kind, which pattern and rules, and how many of the bytes are tokens and merges; the
 * next are tokens and merges, each behind its length in one byte; the rest is text. */
#include "lr_tok.h"
#include "lr_unicode.h"
#include "tok_vocab.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void must(int condition) {
    if (!condition) abort();
}

static tok_vocab v;

static void add_words(const uint8_t *bytes, size_t size) {
    for (size_t at = 0; at < size && v.source.count < 1000; ) {
        size_t length = bytes[at] & 15;
        const int merge = bytes[at++] >> 7;
        if (length > size - at) length = size - at;
        char text[32] = {0};
        memcpy(text, bytes + at, length);
        if (merge) tok_put(v.merges, &v.source.merges_size, text, length), v.source.merge_count++;
        else tok_token(&v, text, length, 1 + (int)(length % 6));
        at += length;
    }
}

static void encode_and_back(const lr_vocab *vocab, const uint8_t *text, size_t size, int special) {
    lr_tok_run *run = NULL;
    must(lr_tok_run_new(vocab, &run) == LR_OK);
    int32_t *ids = malloc((3 * size + 8) * sizeof *ids);
    for (int again = 0; again < 2; again++) {
        if (again) (void)lr_tok_tier(run, "scalar");
        size_t at = 0, all = 0, count, need;
        must(lr_tok_encode(run, text, size, special, &at, ids, 3 * size + 8, &count, &need) == LR_OK);
        must(at == size);
        all = count;
        uint8_t out[1];
        size_t joined;
        const lr_status status = lr_vocab_decode(vocab, ids, all, 1, out, 0, &joined);
        must(status == LR_OK || status == LR_FULL);
        if (v.source.kind == LR_VOCAB_RANKS && !v.source.letters) must(joined == size);
    }
    free(ids);
    lr_tok_run_free(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 3) return 0;
    const int kind = input[0] % 3, pre = (input[0] / 3) % LR_PRES, rules = input[1] & 1;
    size_t words = input[2];
    input += 3, size -= 3;
    if (words > size) words = size;
    tok_begin(&v, kind, pre, rules);
    v.source.ignore_merges = input[-2] >> 1 & 1;
    v.source.space_prefix = input[-2] >> 2 & 1;
    v.source.letters = input[-2] >> 3 & 1;
    add_words(input, words);
    lr_vocab *vocab = NULL;
    const lr_status made = lr_vocab_new(&v.source, &vocab);
    must(made == LR_OK || (made == LR_E_FORMAT && v.source.fault > LR_VOCAB_FINE && v.source.fault < LR_VOCAB_FAULTS));
    if (made != LR_OK) {
        tok_begin(&v, kind, pre, rules);
        must(lr_vocab_new(&v.source, &vocab) == LR_OK);
    }
    input += words, size -= words;
    const size_t room = lr_utf8_llama(input, size, NULL);
    uint8_t *text = malloc(room + 1);
    must(lr_utf8_llama(input, size, text) == room);
    encode_and_back(vocab, text, room, (int)(size % 3) - 1);
    free(text);
    lr_vocab_free(vocab);
    return 0;
}
