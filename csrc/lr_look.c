#include "lr_look_private.h"

void lr_look_key_plain(const lr_words *words, const uint8_t *text, size_t readable, const uint32_t *ends,
                       unsigned count, uint64_t (*keys)[2], uint32_t *places) {
    for (unsigned i = 0; i < count; i++) {
        const size_t start = ends[i], size = ends[i + 1] - start;
        lr_key key = {{0, LR_WORD_LONG_KEY}, 0}; /* no entry's, not even a free one's */
        if (size <= LR_WORD_SHORT) key = lr_key_short(text + start, size, readable - start);
        else if (size <= LR_WORD_LONGEST) key = lr_key_long(text + start, size);
        keys[i][0] = key.word[0];
        keys[i][1] = key.word[1];
        places[i] = (uint32_t)((key.hash & words->mask) * sizeof(lr_word));
        __builtin_prefetch((const uint8_t *)words->slots + places[i]);
    }
}

int lr_look_far(const lr_words *words, const lr_word *word, unsigned piece, lr_looks *looks) {
    const size_t count = word->n & LR_WORD_COUNT, start = looks->ends[piece];
    if (count > looks->spare) return 0;
    if (word->n & LR_WORD_LONG) {
        const int32_t *text = words->arena + (uint32_t)word->ids[2];
        if (memcmp(text, looks->text + start, looks->ends[piece + 1] - start) != 0) return 0;
    }
    const int32_t *ids = lr_word_ids(words, word);
    for (size_t i = 0; i < count; i++) looks->ids[i] = ids[i];
    looks->ids += count;
    looks->spare -= count;
    return 1;
}

unsigned lr_look_put_plain(const lr_words *words, lr_looks *looks) {
    unsigned i = 0;
    for (; i < looks->count; i++) {
        const uint64_t a = looks->keys[i][0], b = looks->keys[i][1];
        const lr_word *word = (const lr_word *)((const uint8_t *)words->slots + looks->places[i]);
        /* Which of the two it is cannot be foreseen: no branch. */
        const uint64_t other = (word[1].key[0] ^ a) | (word[1].key[1] ^ b);
        word += (~other & (other - 1)) >> 63;
        if (((word->key[0] ^ a) | (word->key[1] ^ b)) != 0) break;
        if (word->n <= LR_WORD_INLINE) {
            memcpy(looks->ids, word->ids, sizeof word->ids);
            looks->ids += word->n;
        } else if (!lr_look_far(words, word, i, looks)) {
            break;
        }
    }
    return i;
}
