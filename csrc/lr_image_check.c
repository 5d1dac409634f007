/* An image's contents, held against its counts. The loops carry one flag instead of leaving early: they run once over
 * some megabytes that are nearly always right. */
#include "lr_image_private.h"

static int tokens_are_right(const lr_vocab *vocab, uint64_t bytes_size) {
    unsigned wrong = vocab->starts[0] != 0 || vocab->starts[vocab->count] > bytes_size - 16;
    for (uint32_t i = 0; i < vocab->count; i++) wrong |= vocab->starts[i] >= vocab->starts[i + 1];
    for (int i = 0; i < 256; i++)
        wrong |= vocab->byte_ids[i] < -1 || (vocab->byte_ids[i] >= 0 && (uint32_t)vocab->byte_ids[i] >= vocab->count);
    for (uint32_t i = 0; i < vocab->special_count; i++) wrong |= (uint32_t)vocab->specials[i] >= vocab->count;
    wrong |= vocab->unknown < -1 || (vocab->unknown >= 0 && (uint32_t)vocab->unknown >= vocab->count);
    /* Only now is it sure that their texts lie in the image. */
    for (uint32_t i = 0; i < vocab->special_count && !wrong; i++)
        wrong |= !lr_special_can_be_found(vocab, (uint32_t)vocab->specials[i]);
    return !wrong;
}

/* A look-up ends at a free entry: without one it never would. */
static int words_are_right(const lr_vocab *vocab) {
    const uint64_t slots = vocab->words.mask + 2, arena = vocab->words.arena_used * sizeof(int32_t);
    uint64_t used = 0;
    unsigned wrong = 0;
    for (uint64_t i = 0; i < slots; i++) {
        const lr_word *word = &vocab->words.slots[i];
        if (word->n == 0) {
            /* A free entry is all zeros: a look-up may see its key alone. */
            wrong |= (word->key[0] | word->key[1]) != 0;
            continue;
        }
        used++;
        wrong |= (word->n & ~(uint32_t)(LR_WORD_DOUBTED | LR_WORD_LONG)) != 1 || (uint32_t)word->ids[0] >= vocab->count;
        if (word->key[1] < LR_WORD_LONG_KEY) continue;
        const uint64_t size = word->key[1] - LR_WORD_LONG_KEY, at = (uint64_t)(uint32_t)word->ids[2] * sizeof(int32_t);
        wrong |= size > LR_VOCAB_TOKEN_MAX || at > arena || size > arena - at;
    }
    return !wrong && used < slots && used == vocab->words.used;
}

static int pairs_are_right(const lr_vocab *vocab) {
    const uint32_t count = vocab->count;
    uint64_t free_pairs = 0;
    unsigned wrong = 0;
    for (uint64_t i = 0; i <= vocab->pair_mask; i++) {
        const lr_pair *pair = &vocab->pairs[i];
        const unsigned is_free = pair->left == LR_NO_RANK;
        free_pairs += is_free;
        wrong |= (1 - is_free) & ((pair->left >= count) | (pair->right >= count) | ((uint32_t)pair->id >= count));
        /* A row ends with a symbol that is LR_NO_RANK too: only its right neighbour tells it from a free entry. */
        wrong |= is_free & ((pair->right != LR_NO_RANK) | (pair->rank != LR_NO_RANK) | (pair->id != -1));
    }
    for (uint32_t i = 0; i < 65536; i++)
        wrong |= vocab->byte_pairs[i].rank != LR_NO_RANK && (uint32_t)vocab->byte_pairs[i].id >= count;
    return !wrong && free_pairs > 0;
}

lr_status lr_image_check(const lr_vocab *vocab, uint64_t bytes_size) {
    return tokens_are_right(vocab, bytes_size) && words_are_right(vocab) && pairs_are_right(vocab) ? LR_OK
                                                                                                    : LR_E_FORMAT;
}
