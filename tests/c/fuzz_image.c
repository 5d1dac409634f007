/* An image with any of its bytes changed and its sums made right again: it is refused, or what it holds encodes and
 * decodes without leaving it. The input is a row of changes: where, in 4 bytes, with the highest bit in the head
 * alone; what, in 4 bytes. */
#include "lr_image_private.h"
#include "lr_tok.h"
#include "tok_vocab.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void must(int condition) {
    if (!condition) abort();
}

static const char TEXT[] = " theing the<|end|>aaaa<user> a token of more than fifteen bytes \xC3\xA9 zz thththth ingaaaaaaing";

static uint8_t *make_image(uint64_t *size) {
    static tok_vocab v;
    lr_vocab *vocab = NULL;
    tok_begin(&v, LR_VOCAB_MERGES, LR_PRE_GPT2, LR_RULES_OWN);
    tok_token(&v, TEXT + 29, 34, LR_TOKEN_NORMAL);
    must(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_image_size(vocab, size) == LR_OK);
    uint8_t *image = aligned_alloc(LR_IMAGE_ALIGN, (*size + LR_IMAGE_ALIGN - 1) / LR_IMAGE_ALIGN * LR_IMAGE_ALIGN);
    const lr_image_label label = {{1, 2}, {3, 4}, 5, 6, {7}};
    must(lr_image_write(vocab, &label, image, *size) == LR_OK);
    lr_vocab_free(vocab);
    return image;
}

static void use(const lr_vocab *vocab) {
    lr_tok_run *run = NULL;
    int32_t ids[256];
    uint8_t out[1];
    size_t at = 0, count, need, length;
    must(lr_tok_run_new(vocab, &run) == LR_OK);
    for (int special = -1; special <= 1; special++, at = 0) {
        const lr_status status =
            lr_tok_encode(run, (const uint8_t *)TEXT, sizeof TEXT - 1, special, &at, ids, 256, &count, &need);
        must(status == LR_OK || status == LR_FULL);
        const lr_status decoded = lr_vocab_decode(vocab, ids, count, 1, out, 1, &length);
        must(decoded == LR_OK || decoded == LR_FULL);
    }
    lr_tok_run_free(run);
    for (uint32_t id = 0; id < lr_vocab_count(vocab); id++) {
        const uint8_t *bytes;
        unsigned all = 0;
        must(lr_vocab_token(vocab, (int32_t)id, &bytes, &length) == LR_OK);
        for (size_t i = 0; i < length; i++) all += bytes[i];
        must(all < 1u << 31);
    }
}

static uint64_t number(const uint8_t *p) {
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    static uint8_t *whole;
    static uint64_t image_size;
    if (whole == NULL) whole = make_image(&image_size);
    uint8_t kept[64][4];
    uint64_t places[64];
    size_t changes = size / 8 < 64 ? size / 8 : 64;
    for (size_t i = 0; i < changes; i++) {
        const uint64_t where = number(input + 8 * i), most = where >> 31 ? sizeof(lr_image_head) : image_size;
        places[i] = (where & 0x7fffffff) % (most - 3);
        memcpy(kept[i], whole + places[i], 4);
        memcpy(whole + places[i], input + 8 * i + 4, 4);
    }
    lr_vocab *vocab = NULL;
    must(lr_image_reseal(whole, image_size) == LR_OK);
    const lr_status status = lr_image_open(whole, image_size, &vocab);
    must(status == LR_E_FORMAT || status == LR_OK);
    if (status == LR_OK) use(vocab);
    lr_vocab_free(vocab);
    for (size_t i = changes; i-- > 0; ) memcpy(whole + places[i], kept[i], 4);
    must(lr_image_reseal(whole, image_size) == LR_OK);
    return 0;
}
