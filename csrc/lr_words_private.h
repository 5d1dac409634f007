/* lr_words: a hash table from short texts to the ids they encode to. Two entries share a cache line and are looked at
 * together; texts of up to 15 bytes lie in the entry itself, so that comparing 16 bytes settles a look-up.
 *
 * Owned: lr_words_make allocates, lr_words_drop frees. Borrowed: all texts; they are copied in.
 */
#ifndef LR_WORDS_PRIVATE_H
#define LR_WORDS_PRIVATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    LR_WORD_SHORT = 15,  /* bytes that fit an entry */
    LR_WORD_LONGEST = 1024, /* what is longer is never stored: it will hardly come twice */
    LR_WORD_INLINE = 3   /* ids that fit an entry; beside a long text one fewer */
};

enum { LR_HUGE_PAGE = 1 << 21 };

enum {
    LR_WORD_COUNT = 0x00ffffff,
    LR_WORD_SPILLED = 1 << 30, /* the ids lie in the arena, at ids[0] */
    LR_WORD_DOUBTED = 1 << 29, /* a token whose merges were never tried */
    LR_WORD_LONG = 1 << 28     /* a text that must be compared, the key is not all of it */
};

typedef struct lr_word {
    uint64_t key[2]; /* the text, zeros, its length in the last byte; or its hash and LR_WORD_LONG_KEY | length */
    int32_t ids[LR_WORD_INLINE]; /* of a long text: ids[2] is where it lies in the arena */
    uint32_t n;      /* LR_WORD_COUNT and flags; 0: a free entry */
} lr_word;

#define LR_WORD_LONG_KEY 0xff00000000000000u

typedef struct lr_words {
    lr_word *slots; /* pairs of them, on cache lines */
    size_t mask;    /* entries - 1, without its lowest bit: the first entry of a pair */
    size_t used;
    size_t limit;   /* with so many entries in use it grows */
    int32_t *arena; /* in units of 4 bytes */
    size_t arena_used;
    size_t arena_room;
} lr_words;

typedef struct lr_key {
    uint64_t word[2];
    uint64_t hash;
} lr_key;

__extension__ typedef unsigned __int128 lr_u128;

static inline uint64_t lr_mix(uint64_t a, uint64_t b) {
    const lr_u128 product = (lr_u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t lr_load8(const uint8_t *p) {
    uint64_t value;
    memcpy(&value, p, 8);
    return value;
}

/* Of the two words of a key. Multiplication carries upwards: the best bits are brought down, where masks take them. */
static inline uint64_t lr_key_hash(uint64_t a, uint64_t b) {
    return __builtin_bswap64((a * 0x9E3779B97F4A7C15u ^ b) * 0xD6E8FEB86659FD93u);
}

/* 16 ones, 16 zeros. */
extern const uint8_t lr_key_mask[32];

/* The key of a text of 1 to 15 bytes of which `readable` bytes >= size can be read. */
static inline lr_key lr_key_short(const uint8_t *text, size_t size, size_t readable) {
    uint64_t word[2] = {0, 0};
    if (readable >= 16) {
        /* A mask, no branch: whether a word has 8 bytes or more is what a CPU cannot foresee. */
        word[0] = lr_load8(text) & lr_load8(lr_key_mask + 16 - size);
        word[1] = lr_load8(text + 8) & lr_load8(lr_key_mask + 24 - size);
    } else {
        memcpy(word, text, size);
    }
    word[1] |= (uint64_t)size << 56;
    return (lr_key){{word[0], word[1]}, lr_key_hash(word[0], word[1])};
}

/* The key of a text of more than 15 bytes. */
lr_key lr_key_long(const uint8_t *text, size_t size);

static inline lr_key lr_key_of(const uint8_t *text, size_t size, size_t readable) {
    return size <= LR_WORD_SHORT ? lr_key_short(text, size, readable) : lr_key_long(text, size);
}

/* Zeroed memory for a table, on cache lines, on huge pages where it is large; free() returns it. */
void *lr_table_alloc(size_t size);

/* 0, or -1 without memory. `entries`: how many there will be, 0 where that is not known. */
int lr_words_make(lr_words *words, size_t entries);
void lr_words_drop(lr_words *words);

/* Makes room in an empty table that lr_words_make made without a hint: growing step by step costs as much again. */
void lr_words_expect(lr_words *words, size_t entries);

/* Forgets all, keeps the memory. */
void lr_words_clear(lr_words *words);

/* The entry of this text, or null. */
lr_word *lr_words_find(const lr_words *words, const lr_key *key, const uint8_t *text, size_t size);

/* Adds a text of 1 to LR_WORD_LONGEST bytes that is not in the table, and the ids it encodes to. The entry is good
 * until the next one is added; null without memory. */
lr_word *lr_words_add(lr_words *words, const lr_key *key, const uint8_t *text, size_t size, const int32_t *ids,
                      size_t count);

static inline const int32_t *lr_word_ids(const lr_words *words, const lr_word *word) {
    return word->n & LR_WORD_SPILLED ? words->arena + (uint32_t)word->ids[0] : word->ids;
}

#endif
