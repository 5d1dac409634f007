#include "check.h"
#include "lr_image_private.h"
#include "lr_tok.h"
#include "tok_vocab.h"

#include <stdlib.h>

enum { ROOM = 1 << 16 };

static tok_vocab v;

static const lr_image_label LABEL = {{1, 2}, {3, 4}, 5, 6, {7, 8}};

/* An image of the small vocabulary, on LR_IMAGE_ALIGN bytes; to be freed. */
static uint8_t *make_image(int kind, int rules, uint64_t *size) {
    lr_vocab *vocab = NULL;
    tok_begin(&v, kind, LR_PRE_GPT2, rules);
    static const char LONG_TOKEN[] = "a token that is longer than fifteen bytes";
    tok_token(&v, LONG_TOKEN, sizeof LONG_TOKEN - 1, LR_TOKEN_NORMAL);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_image_size(vocab, size) == LR_OK);
    uint8_t *image = aligned_alloc(LR_IMAGE_ALIGN, (*size + LR_IMAGE_ALIGN - 1) / LR_IMAGE_ALIGN * LR_IMAGE_ALIGN);
    CHECK(lr_image_write(vocab, &LABEL, image, *size - 1) == LR_FULL);
    CHECK(lr_image_write(vocab, &LABEL, image, *size) == LR_OK);
    lr_vocab_free(vocab);
    return image;
}

static size_t encode(const lr_vocab *vocab, const char *text, int32_t *ids) {
    lr_tok_run *run = NULL;
    size_t at = 0, count = 0, need, size = strlen(text);
    CHECK(lr_tok_run_new(vocab, &run) == LR_OK);
    CHECK(lr_tok_encode(run, (const uint8_t *)text, size, 1, &at, ids, ROOM, &count, &need) == LR_OK);
    lr_tok_run_free(run);
    return count;
}

static void test_an_image_is_the_vocabulary(void) {
    static int32_t ids[ROOM], again[ROOM];
    for (int kind = LR_VOCAB_MERGES; kind <= LR_VOCAB_RANKS; kind++)
        for (int rules = LR_RULES_OWN; rules <= LR_RULES_LLAMA_CPP; rules++) {
            uint64_t size;
            uint8_t *image = make_image(kind, rules, &size);
            lr_vocab *made = NULL, *opened = NULL;
            lr_image_label label;
            CHECK(lr_vocab_new(&v.source, &made) == LR_OK && lr_image_open(image, size, &opened) == LR_OK);
            CHECK(lr_image_read_label(image, size, &label) == LR_OK && memcmp(&label, &LABEL, sizeof label) == 0);
            CHECK(lr_vocab_count(opened) == lr_vocab_count(made));
            static const char text[] = " theing the<|end|>aaaa<user> a token that is longer than fifteen bytes \xC3\xA9 zz";
            const size_t count = encode(made, text, ids);
            for (int twice = 0; twice < 2; twice++) {
                CHECK(encode(opened, text, again) == count && memcmp(ids, again, count * sizeof *ids) == 0);
            }
            uint8_t out[256];
            size_t length;
            CHECK(lr_vocab_decode(opened, ids, count, 1, out, sizeof out, &length) == LR_OK);
            CHECK(length == sizeof text - 1 && memcmp(out, text, length) == 0);
            lr_vocab_free(opened);
            lr_vocab_free(made);
            free(image);
        }
}

static void test_damage_is_seen(void) {
    uint64_t size;
    uint8_t *image = make_image(LR_VOCAB_MERGES, LR_RULES_OWN, &size);
    lr_vocab *vocab = NULL;
    for (uint64_t cut = 0; cut < size; cut += cut < 4096 ? 61 : 4096)
        CHECK(lr_image_open(image, cut, &vocab) == LR_E_FORMAT && vocab == NULL);
    for (uint64_t at = 0; at < size; at += at < sizeof(lr_image_head) ? 1 : 1009) {
        image[at] ^= (uint8_t)(1 + at % 255);
        CHECK(lr_image_open(image, size, &vocab) == LR_E_FORMAT && vocab == NULL);
        image[at] ^= (uint8_t)(1 + at % 255);
    }
    CHECK(lr_image_open(image, size, &vocab) == LR_OK);
    lr_vocab_free(vocab);
    free(image);
}

/* Writes a number of the image and makes the sums right, as one who wants to deceive would. */
static lr_status forged(uint64_t at, int bytes, uint64_t number) {
    uint64_t size;
    uint8_t *image = make_image(LR_VOCAB_MERGES, LR_RULES_OWN, &size);
    lr_vocab *vocab = NULL;
    memcpy(image + at, &number, (size_t)bytes);
    CHECK(lr_image_reseal(image, size) == LR_OK);
    const lr_status status = lr_image_open(image, size, &vocab);
    lr_vocab_free(vocab);
    free(image);
    return status;
}

static void test_what_leads_outside_is_refused(void) {
    uint64_t size;
    lr_image_head head;
    lr_image_layout layout;
    uint8_t *image = make_image(LR_VOCAB_MERGES, LR_RULES_OWN, &size);
    memcpy(&head, image, sizeof head);
    CHECK(lr_image_lay_out(&head, &layout) == LR_OK && layout.size == size);
    uint64_t word = layout.at[LR_PART_SLOTS], pair = layout.at[LR_PART_PAIRS], long_word = 0, no_pair = pair;
    while (((const lr_word *)(const void *)(image + word))->n == 0) word += sizeof(lr_word);
    while (((const lr_pair *)(const void *)(image + pair))->left == LR_NO_RANK) pair += sizeof(lr_pair);
    while (((const lr_pair *)(const void *)(image + no_pair))->left != LR_NO_RANK) no_pair += sizeof(lr_pair);
    for (long_word = word; ((const lr_word *)(const void *)(image + long_word))->key[1] < LR_WORD_LONG_KEY;)
        long_word += sizeof(lr_word);
    free(image);

    CHECK(forged(offsetof(lr_image_head, order), 4, 0x04030201) == LR_E_FORMAT);
    CHECK(forged(offsetof(lr_image_head, core), 8, LR_CORE_HASH + 1) == LR_E_FORMAT);
    CHECK(forged(offsetof(lr_image_head, kind), 4, LR_VOCAB_SPM) == LR_E_FORMAT);
    CHECK(forged(offsetof(lr_image_head, pre), 4, LR_PRES) == LR_E_FORMAT);
    CHECK(forged(offsetof(lr_image_head, count), 4, 0xffffffff) == LR_E_FORMAT);
    CHECK(forged(offsetof(lr_image_head, words_mask), 8, ~(uint64_t)0) == LR_E_FORMAT);
    CHECK(forged(offsetof(lr_image_head, bytes_size), 8, ~(uint64_t)0) == LR_E_FORMAT);
    CHECK(forged(offsetof(lr_image_head, arena_used), 8, 1) == LR_E_FORMAT);
    CHECK(forged(offsetof(lr_image_head, byte_ids), 4, head.count) == LR_E_FORMAT);
    CHECK(forged(layout.at[LR_PART_STARTS] + 4, 4, 0xffffff) == LR_E_FORMAT);
    CHECK(forged(layout.at[LR_PART_STARTS] + 4, 4, 0) == LR_E_FORMAT);
    CHECK(forged(layout.at[LR_PART_SPECIALS], 4, head.count) == LR_E_FORMAT);
    CHECK(forged(layout.at[LR_PART_BYTE_PAIRS], 8, (uint64_t)head.count << 32) == LR_E_FORMAT);
    CHECK(forged(word + offsetof(lr_word, ids), 4, head.count) == LR_E_FORMAT);
    CHECK(forged(word + offsetof(lr_word, n), 4, 2) == LR_E_FORMAT);
    CHECK(forged(word + offsetof(lr_word, n), 4, 1 | LR_WORD_SPILLED) == LR_E_FORMAT);
    CHECK(forged(long_word + offsetof(lr_word, ids) + 8, 4, 11) == LR_E_FORMAT);
    CHECK(forged(long_word + offsetof(lr_word, key) + 8, 8, LR_WORD_LONG_KEY | 0xffff) == LR_E_FORMAT);
    CHECK(forged(pair, 4, head.count) == LR_E_FORMAT);
    CHECK(forged(pair + offsetof(lr_pair, id), 4, head.count) == LR_E_FORMAT);
    CHECK(forged(pair + offsetof(lr_pair, rank), 4, 99) == LR_OK);
    /* A free entry that holds something was once a merge with what stands before the first symbol. */
    CHECK(forged(no_pair + offsetof(lr_pair, right), 4, 't') == LR_E_FORMAT);
    CHECK(forged(no_pair + offsetof(lr_pair, rank), 4, 0) == LR_E_FORMAT);
    CHECK(forged(no_pair + offsetof(lr_pair, id), 4, 0) == LR_E_FORMAT);
    /* A special token that is no character. */
    CHECK(forged(layout.at[LR_PART_SPECIALS], 4, 0xE2) == LR_E_FORMAT);
    head.pair_mask = 1; /* pairs are read four at a time */
    CHECK(lr_image_lay_out(&head, &layout) == LR_E_FORMAT);
}

static void test_sums(void) {
    static const uint64_t seed[2] = {11, 12}, other[2] = {11, 13};
    uint8_t bytes[300];
    uint64_t sum[2], again[2];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)i;
    for (size_t size = 0; size < sizeof bytes; size++) {
        lr_image_sum(seed, bytes, size, sum);
        lr_image_sum(seed, bytes, size, again);
        CHECK(memcmp(sum, again, sizeof sum) == 0);
        lr_image_sum(other, bytes, size, again);
        CHECK(sum[0] != again[0] && sum[1] != again[1]);
        lr_image_sum(seed, bytes, size + 1, again);
        CHECK(sum[0] != again[0] && sum[1] != again[1]);
        for (size_t i = 0; i < size; i += 7) {
            bytes[i] ^= 0x10;
            lr_image_sum(seed, bytes, size, again);
            bytes[i] ^= 0x10;
            CHECK(sum[0] != again[0] && sum[1] != again[1]);
        }
    }
}

static void test_arguments(void) {
    lr_vocab *vocab = NULL;
    lr_image_label label;
    uint64_t size;
    uint8_t *image = make_image(LR_VOCAB_RANKS, LR_RULES_OWN, &size);
    CHECK(lr_image_open(NULL, size, &vocab) == LR_E_ARGUMENT && lr_image_open(image, size, NULL) == LR_E_ARGUMENT);
    CHECK(lr_image_open(image + 1, size - 1, &vocab) == LR_E_ARGUMENT);
    CHECK(lr_image_size(NULL, &size) == LR_E_ARGUMENT && lr_image_write(NULL, &LABEL, image, size) == LR_E_ARGUMENT);
    CHECK(lr_image_read_label(NULL, 0, &label) == LR_E_ARGUMENT && lr_image_read_label(image, 8, &label) == LR_E_FORMAT);
    CHECK(lr_image_reseal(NULL, 0) == LR_E_ARGUMENT && lr_image_reseal(image, 8) == LR_E_FORMAT);
    CHECK(lr_image_build() == LR_CORE_HASH);
    free(image);
    tok_begin(&v, LR_VOCAB_SPM, 0, LR_RULES_OWN);
    CHECK(lr_vocab_new(&v.source, &vocab) == LR_OK && lr_image_size(vocab, &size) == LR_E_UNSUPPORTED);
    lr_vocab_free(vocab);
}

int main(void) {
    test_an_image_is_the_vocabulary();
    test_damage_is_seen();
    test_what_leads_outside_is_refused();
    test_sums();
    test_arguments();
    return lr_report("lr_image");
}
