#include "lr_image_private.h"

#include <stdlib.h>

static const uint8_t MAGIC[8] = {'L', 'R', 'V', 'O', 'C', 'A', 'B', '\n'};

enum { LANES = 4, BLOCK = 16 * LANES };

static void absorb(uint64_t *lanes, const uint64_t *keys, const uint8_t *block) {
    for (int i = 0; i < LANES; i++)
        lanes[i] = lr_mix(lr_load8(block + 16 * i) ^ lanes[i], lr_load8(block + 16 * i + 8) ^ keys[i]);
}

void lr_image_sum(const uint64_t *seed, const uint8_t *bytes, size_t size, uint64_t *sum) {
    uint64_t lanes[LANES], keys[LANES];
    for (uint64_t i = 0; i < LANES; i++) {
        lanes[i] = lr_mix(seed[0] ^ 0x9E3779B97F4A7C15u * (i + 1), seed[1] ^ 0xD6E8FEB86659FD93u);
        keys[i] = lr_mix(seed[1] ^ 0xA0761D6478BD642Fu * (i + 1), seed[0] ^ 0xE7037ED1A0B428DBu);
    }
    size_t at = 0;
    for (; size - at >= BLOCK; at += BLOCK) absorb(lanes, keys, bytes + at);
    uint8_t rest[BLOCK] = {0};
    if (size > at) memcpy(rest, bytes + at, size - at);
    absorb(lanes, keys, rest);
    for (int half = 0; half < 2; half++) {
        uint64_t all = lr_mix(seed[half] ^ size, keys[half]);
        for (int i = 0; i < LANES; i++) all = lr_mix(all ^ lanes[i], keys[(i + half) % LANES] ^ lanes[(i + 1) % LANES]);
        sum[half] = all;
    }
}

uint64_t lr_image_build(void) {
    return LR_CORE_HASH;
}

lr_status lr_image_lay_out(const lr_image_head *h, lr_image_layout *layout) {
    const uint64_t most = (uint64_t)1 << 32;
    if (h->count == 0 || h->count > LR_VOCAB_MAX || h->special_count > h->count || h->bytes_size > most ||
        h->bytes_size < 16 || h->words_mask > most || h->arena_used > most || h->pair_mask > most ||
        h->filter_mask > 8 * most)
        return LR_E_FORMAT;
    /* A mask is one less than a power of two; that of words, whose entries come in pairs, lacks its lowest bit. */
    const uint64_t slots = h->words_mask + 2, pairs = h->pair_mask + 1, bits = h->filter_mask + 1;
    if ((slots & (slots - 1)) || (pairs & (pairs - 1)) || (bits & (bits - 1)) || bits < 64 ||
        pairs < LR_PAIRS_LINE)
        return LR_E_FORMAT;
    const uint64_t sizes[LR_PARTS] = {
        h->bytes_size, (h->count + (uint64_t)1) * sizeof(uint32_t), h->count, slots * sizeof(lr_word),
        h->arena_used * sizeof(int32_t), 65536 * sizeof(lr_merge), pairs * sizeof(lr_pair), bits / 8,
        h->special_count * sizeof(int32_t),
    };
    uint64_t at = sizeof *h;
    for (int i = 0; i < LR_PARTS; i++) {
        at = (at + LR_IMAGE_ALIGN - 1) / LR_IMAGE_ALIGN * LR_IMAGE_ALIGN;
        layout->at[i] = at;
        layout->bytes[i] = sizes[i];
        at += sizes[i];
    }
    layout->size = at;
    return LR_OK;
}

static const void *part_of(const lr_vocab *vocab, int part) {
    switch (part) {
    case LR_PART_BYTES: return vocab->bytes;
    case LR_PART_STARTS: return vocab->starts;
    case LR_PART_TYPES: return vocab->types;
    case LR_PART_SLOTS: return vocab->words.slots;
    case LR_PART_ARENA: return vocab->words.arena;
    case LR_PART_BYTE_PAIRS: return vocab->byte_pairs;
    case LR_PART_PAIRS: return vocab->pairs;
    case LR_PART_FILTER: return vocab->pair_filter;
    default: return vocab->specials;
    }
}

static void describe(const lr_vocab *vocab, lr_image_head *head) {
    memset(head, 0, sizeof *head);
    memcpy(head->magic, MAGIC, sizeof MAGIC);
    head->order = LR_IMAGE_ORDER;
    head->head_size = sizeof *head;
    head->core = LR_CORE_HASH;
    head->bytes_size = vocab->starts[vocab->count] + (uint64_t)16;
    head->words_mask = vocab->words.mask;
    head->words_used = vocab->words.used;
    head->arena_used = vocab->words.arena_used;
    head->pair_mask = vocab->pair_mask;
    head->filter_mask = vocab->filter_mask;
    head->count = vocab->count;
    head->special_count = vocab->special_count;
    head->kind = vocab->kind;
    head->rules = vocab->rules;
    head->pre = vocab->split.pre;
    head->ignore_merges = vocab->ignore_merges;
    head->space_prefix = vocab->space_prefix;
    head->unknown = vocab->unknown;
    memcpy(head->byte_ids, vocab->byte_ids, sizeof head->byte_ids);
    memcpy(head->special_first, vocab->special_first, sizeof head->special_first);
}

lr_status lr_image_size(const lr_vocab *vocab, uint64_t *size) {
    lr_image_head head;
    lr_image_layout layout;
    if (vocab == NULL || size == NULL) return LR_E_ARGUMENT;
    if (vocab->kind == LR_VOCAB_SPM) return LR_E_UNSUPPORTED;
    describe(vocab, &head);
    if (lr_image_lay_out(&head, &layout) != LR_OK) return LR_E_UNSUPPORTED;
    *size = layout.size;
    return LR_OK;
}

/* Both sums, out of what lies behind them. */
static void seal(lr_image_head *head, const uint8_t *image, uint64_t size) {
    const size_t from = offsetof(lr_image_head, body_sum);
    lr_image_sum(head->label.seed, image + sizeof *head, size - sizeof *head, head->body_sum);
    lr_image_sum(head->label.seed, (const uint8_t *)head + from, sizeof *head - from, head->head_sum);
}

lr_status lr_image_write(const lr_vocab *vocab, const lr_image_label *label, uint8_t *out, uint64_t room) {
    lr_image_head head;
    lr_image_layout layout;
    uint64_t size;
    const lr_status status = label == NULL || out == NULL ? LR_E_ARGUMENT : lr_image_size(vocab, &size);
    if (status != LR_OK) return status;
    if (room < size) return LR_FULL;
    describe(vocab, &head);
    (void)lr_image_lay_out(&head, &layout);
    head.label = *label;
    head.size = size;
    memset(out + sizeof head, 0, layout.at[0] - sizeof head);
    for (int i = 0; i < LR_PARTS; i++) {
        const uint64_t end = layout.at[i] + layout.bytes[i], next = i + 1 < LR_PARTS ? layout.at[i + 1] : size;
        if (layout.bytes[i]) memcpy(out + layout.at[i], part_of(vocab, i), layout.bytes[i]);
        memset(out + end, 0, next - end);
    }
    seal(&head, out, size);
    memcpy(out, &head, sizeof head);
    return LR_OK;
}

/* A head that is whole, of this machine and build, and of an image of this size. */
static lr_status read_head(const uint8_t *image, uint64_t size, lr_image_head *head) {
    const size_t from = offsetof(lr_image_head, body_sum);
    uint64_t sum[2];
    if (size < sizeof *head) return LR_E_FORMAT;
    memcpy(head, image, sizeof *head);
    if (memcmp(head->magic, MAGIC, sizeof MAGIC) != 0 || head->order != LR_IMAGE_ORDER ||
        head->head_size != sizeof *head || head->core != LR_CORE_HASH || head->size != size)
        return LR_E_FORMAT;
    lr_image_sum(head->label.seed, (const uint8_t *)head + from, sizeof *head - from, sum);
    return memcmp(sum, head->head_sum, sizeof sum) == 0 ? LR_OK : LR_E_FORMAT;
}

lr_status lr_image_read_label(const uint8_t *image, uint64_t size, lr_image_label *label) {
    lr_image_head head;
    if (image == NULL || label == NULL) return LR_E_ARGUMENT;
    const lr_status status = read_head(image, size, &head);
    if (status == LR_OK) *label = head.label;
    return status;
}

lr_status lr_image_reseal(uint8_t *image, uint64_t size) {
    lr_image_head head;
    if (image == NULL) return LR_E_ARGUMENT;
    if (size < sizeof head) return LR_E_FORMAT;
    memcpy(&head, image, sizeof head);
    seal(&head, image, size);
    memcpy(image, &head, sizeof head);
    return LR_OK;
}

/* The image's parts as a vocabulary's. It never writes to what it borrowed. */
static void borrow(lr_vocab *vocab, const lr_image_head *head, const lr_image_layout *layout, const uint8_t *image) {
    union { const uint8_t *from; uint8_t *to; } base = {image};
    uint8_t *const bytes = base.to;
    vocab->borrowed = 1;
    vocab->count = vocab->symbols = head->count;
    vocab->kind = head->kind;
    vocab->rules = head->rules;
    vocab->ignore_merges = head->ignore_merges;
    vocab->space_prefix = head->space_prefix;
    vocab->unknown = head->unknown;
    vocab->special_count = head->special_count;
    vocab->pair_mask = head->pair_mask;
    vocab->filter_mask = head->filter_mask;
    vocab->words.mask = head->words_mask;
    vocab->words.used = head->words_used;
    vocab->words.limit = head->words_used;
    vocab->words.arena_used = vocab->words.arena_room = head->arena_used;
    memcpy(vocab->byte_ids, head->byte_ids, sizeof vocab->byte_ids);
    memcpy(vocab->special_first, head->special_first, sizeof vocab->special_first);
    vocab->bytes = bytes + layout->at[LR_PART_BYTES];
    vocab->types = bytes + layout->at[LR_PART_TYPES];
    vocab->starts = (void *)(bytes + layout->at[LR_PART_STARTS]);
    vocab->words.slots = (void *)(bytes + layout->at[LR_PART_SLOTS]);
    vocab->words.arena = (void *)(bytes + layout->at[LR_PART_ARENA]);
    vocab->byte_pairs = (void *)(bytes + layout->at[LR_PART_BYTE_PAIRS]);
    vocab->pairs = (void *)(bytes + layout->at[LR_PART_PAIRS]);
    vocab->pair_filter = (void *)(bytes + layout->at[LR_PART_FILTER]);
    vocab->specials = (void *)(bytes + layout->at[LR_PART_SPECIALS]);
}

lr_status lr_image_open(const uint8_t *image, uint64_t size, lr_vocab **out) {
    lr_image_head head;
    lr_image_layout layout;
    uint64_t sum[2];
    if (image == NULL || out == NULL || (uintptr_t)image % LR_IMAGE_ALIGN) return LR_E_ARGUMENT;
    if (read_head(image, size, &head) != LR_OK || lr_image_lay_out(&head, &layout) != LR_OK || layout.size != size)
        return LR_E_FORMAT;
    lr_image_sum(head.label.seed, image + sizeof head, size - sizeof head, sum);
    if (memcmp(sum, head.body_sum, sizeof sum) != 0) return LR_E_FORMAT;
    lr_vocab *vocab = calloc(1, sizeof *vocab);
    if (vocab == NULL) return LR_E_MEMORY;
    borrow(vocab, &head, &layout, image);
    if ((head.kind != LR_VOCAB_MERGES && head.kind != LR_VOCAB_RANKS) ||
        lr_split_compile(&vocab->split, head.pre, head.rules) != LR_OK ||
        lr_image_check(vocab, head.bytes_size) != LR_OK) {
        lr_vocab_free(vocab);
        return LR_E_FORMAT;
    }
    *out = vocab;
    return LR_OK;
}
