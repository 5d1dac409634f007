/* lr_image_private: the form of an image, and its parts' bounds. */
#ifndef LR_IMAGE_PRIVATE_H
#define LR_IMAGE_PRIVATE_H

#include "lr_image.h"
#include "lr_vocab_private.h"

/* Another source, another image: the build passes a hash of all of csrc/. */
#ifndef LR_CORE_HASH
#define LR_CORE_HASH 0
#endif

enum {
    LR_PART_BYTES, LR_PART_STARTS, LR_PART_TYPES, LR_PART_SLOTS, LR_PART_ARENA, LR_PART_BYTE_PAIRS, LR_PART_PAIRS,
    LR_PART_FILTER, LR_PART_SPECIALS, LR_PARTS
};

typedef struct lr_image_head {
    uint8_t magic[8];
    uint32_t order;     /* LR_IMAGE_ORDER as this machine has it */
    uint32_t head_size;
    uint64_t core;
    uint64_t size;      /* of the image */
    uint64_t head_sum[2]; /* of all that follows in the head */
    uint64_t body_sum[2]; /* of all behind the head */
    lr_image_label label;
    uint64_t bytes_size; /* 16 of them behind the last token */
    uint64_t words_mask, words_used, arena_used, pair_mask, filter_mask;
    uint32_t count, special_count;
    int32_t kind, rules, pre, ignore_merges, space_prefix, unknown;
    int32_t byte_ids[256];
    uint8_t special_first[256];
} lr_image_head;

#define LR_IMAGE_ORDER 0x01020304u

typedef struct lr_image_layout {
    uint64_t at[LR_PARTS], bytes[LR_PARTS], size;
} lr_image_layout;

/* LR_E_FORMAT: counts beyond what a vocabulary can have. */
lr_status lr_image_lay_out(const lr_image_head *head, lr_image_layout *layout);

/* Whether every id and place in the parts is one that exists, and every search in them ends. */
lr_status lr_image_check(const lr_vocab *vocab, uint64_t bytes_size);

#endif
