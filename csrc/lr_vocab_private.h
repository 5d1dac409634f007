/* lr_vocab_private: what a vocabulary holds, for the files that build it and those that encode with it. */
#ifndef LR_VOCAB_PRIVATE_H
#define LR_VOCAB_PRIVATE_H

#include "lr_split_private.h"
#include "lr_vocab.h"
#include "lr_words_private.h"

/* Two neighbours that merge: into `id`, the sooner the lower `rank`. */
typedef struct lr_pair {
    uint32_t left, right;
    uint32_t rank;
    int32_t id;
} lr_pair;

#define LR_NO_RANK 0xffffffffu

enum { LR_PAIRS_LINE = 4 }; /* entries on a cache line, where looking for a pair begins at the first */

typedef struct lr_merge { uint32_t rank; int32_t id; } lr_merge;

struct lr_vocab {
    /* What is added here and is not made anew by lr_image_open belongs into lr_image too: a test compares. */
    int32_t borrowed;    /* the tables belong to an image and are never written to */
    uint32_t count;
    int32_t kind, rules, ignore_merges, space_prefix;
    lr_split split;
    uint8_t *bytes;      /* of all tokens, 16 more readable behind them */
    uint32_t *starts;    /* count + 1 of them */
    uint8_t *types;
    uint32_t *places;    /* while a list of merges is read: of each token's text in the file, and one more; else null */
    lr_words words;      /* the tokens that text can become by itself */
    int32_t all_spelled; /* no normal token is spelled in what are no letters, and so unlike text */
    int32_t byte_ids[256]; /* -1: no such token */
    lr_merge *byte_pairs; /* 65536, by left << 8 | right, for BPE; null for SPM */
    lr_pair *pairs;      /* left is LR_NO_RANK in a free entry */
    uint64_t pair_mask;
    uint64_t filter_mask;  /* bits - 1 */
    uint64_t *pair_filter; /* a bit for each pair's hash: most look-ups are for pairs that do not merge */
    uint32_t symbols;    /* SPM: tokens, and behind them characters that are none but begin or end some */
    lr_words chars;      /* SPM: those characters */
    uint32_t *char_symbols; /* SPM: lr_spm_symbol of the characters up to U+FFFF */
    uint64_t (*joins)[4]; /* SPM: by a character's last byte and the next one's first: whether some token holds both */
    int32_t whole_text;  /* SPM: a token holds a space behind something else, so words cannot stand alone */
    int32_t unknown;     /* SPM: the id of what cannot be spelled, or -1 */
    int32_t *specials;   /* ids by text */
    uint32_t special_count;
    uint8_t special_first[256]; /* 1: begins a control token, 2: a user-defined one */
};

/* Any of these makes lr_vocab_free necessary and sufficient. */
lr_status lr_vocab_read_tokens(lr_vocab *vocab, lr_vocab_source *source);
lr_status lr_vocab_read_merges(lr_vocab *vocab, lr_vocab_source *source);
lr_status lr_vocab_read_ranks(lr_vocab *vocab);
lr_status lr_vocab_read_scores(lr_vocab *vocab, const lr_vocab_source *source);
lr_status lr_vocab_sort_specials(lr_vocab *vocab);

/* Whether a special token is looked for in text: one that is no UTF-8 would be found inside characters, and cut them. */
int lr_special_can_be_found(const lr_vocab *vocab, uint32_t id);

/* Spells `size` bytes of UTF-8 in GPT-2's letters as the bytes that they stand for: at most `size`. Returns how many,
 * or SIZE_MAX where a character is no such letter. */
size_t lr_letters_to_bytes(const uint8_t *text, size_t size, uint8_t *out);

lr_status lr_vocab_fail(lr_vocab_source *source, int fault, uint64_t index);

/* The next packed string at *at: LR_E_FORMAT where it ends early. */
lr_status lr_packed_next(const uint8_t *data, uint64_t size, uint64_t *at, const uint8_t **text, uint64_t *length);

/* The id of a token that text can become, or -1. At least 16 bytes are readable at text, or `readable`. */
int32_t lr_vocab_find(const lr_vocab *vocab, const uint8_t *text, size_t size, size_t readable);

lr_status lr_pairs_make(lr_vocab *vocab, size_t count);

/* The table of pairs of single bytes, out of the finished table of all. */
lr_status lr_pairs_index_bytes(lr_vocab *vocab);

/* Keeps the first of two equal pairs, or the last. */
void lr_pairs_add(lr_vocab *vocab, lr_pair pair, int keep_first);

static inline uint64_t lr_pair_hash(uint32_t left, uint32_t right) {
    const uint64_t key = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    return key ^ key >> 29;
}

static inline int lr_pairs_may_hold(const lr_vocab *vocab, uint64_t hash) {
    const uint64_t bit = hash & vocab->filter_mask;
    return vocab->pair_filter[bit / 64] >> bit % 64 & 1;
}

/* Where looking for a pair begins. */
static inline uint64_t lr_pairs_slot(const lr_vocab *vocab, uint64_t hash) {
    return hash >> 16 & vocab->pair_mask & ~(uint64_t)(LR_PAIRS_LINE - 1);
}

static inline void lr_pairs_prefetch(const lr_vocab *vocab, uint32_t left, uint32_t right) {
    const uint64_t hash = lr_pair_hash(left, right);
    __builtin_prefetch(&vocab->pairs[lr_pairs_slot(vocab, hash)], 1);
    __builtin_prefetch(&vocab->pair_filter[(hash & vocab->filter_mask) / 64], 1);
}

static inline lr_merge lr_pairs_get(const lr_vocab *vocab, uint64_t hash, uint32_t left, uint32_t right) {
    if (!lr_pairs_may_hold(vocab, hash)) return (lr_merge){LR_NO_RANK, -1};
    for (uint64_t i = lr_pairs_slot(vocab, hash); vocab->pairs[i].left != LR_NO_RANK; i = (i + 1) & vocab->pair_mask) {
        const lr_pair *pair = &vocab->pairs[i];
        if (pair->left == left && pair->right == right) return (lr_merge){pair->rank, pair->id};
    }
    return (lr_merge){LR_NO_RANK, -1};
}

static inline lr_merge lr_pairs_find(const lr_vocab *vocab, uint32_t left, uint32_t right) {
    return lr_pairs_get(vocab, lr_pair_hash(left, right), left, right);
}

#endif
