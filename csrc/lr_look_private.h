/* lr_look: many pieces' keys at a time, and their entries in a cache. */
#ifndef LR_LOOK_PRIVATE_H
#define LR_LOOK_PRIVATE_H

#include "lr_words_private.h"

/* Pieces of text from ends[i] to ends[i + 1] each, `count` of them; text up to `readable` can be read. Writes their
 * keys, at which byte of the table their entries are to be looked for, and sends for these. */
typedef void (*lr_look_key)(const lr_words *words, const uint8_t *text, size_t readable, const uint32_t *ends,
                            unsigned count, uint64_t (*keys)[2], uint32_t *places);

/* Pieces with their keys, and where the ids go: there is room for LR_WORD_INLINE of each piece and `spare` more. */
typedef struct lr_looks {
    const uint8_t *text;
    const uint32_t *ends; /* as above */
    const uint64_t (*keys)[2];
    const uint32_t *places;
    unsigned count;
    int32_t *ids;
    size_t spare;
} lr_looks;

/* Writes the ids of pieces and moves `ids` on, until one's entry is not there at once or there may not be room. Returns
 * how many pieces it was. */
typedef unsigned (*lr_look_put)(const lr_words *words, lr_looks *looks);

/* The same for a piece whose key is this entry's, where the entry does not hold ids alone: 0 when it is another text or
 * there may not be room. */
int lr_look_far(const lr_words *words, const lr_word *word, unsigned piece, lr_looks *looks);

void lr_look_key_plain(const lr_words *words, const uint8_t *text, size_t readable, const uint32_t *ends,
                       unsigned count, uint64_t (*keys)[2], uint32_t *places);
unsigned lr_look_put_plain(const lr_words *words, lr_looks *looks);

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
/* With the instructions of lr_tier_avx512. */
void lr_look_key_avx512(const lr_words *words, const uint8_t *text, size_t readable, const uint32_t *ends,
                        unsigned count, uint64_t (*keys)[2], uint32_t *places);
unsigned lr_look_put_avx512(const lr_words *words, lr_looks *looks);
#endif

#endif
