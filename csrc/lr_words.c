#define _DEFAULT_SOURCE /* madvise, which plain C11 hides */

#include "lr_words_private.h"

#include <stdlib.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

void *lr_table_alloc(size_t size) {
    /* Large tables are looked up all over: on small pages most look-ups would miss the TLB too. */
    const size_t page = size >= LR_HUGE_PAGE ? LR_HUGE_PAGE : 64, rounded = (size + page - 1) / page * page;
    void *table = aligned_alloc(page, rounded);
    if (table == NULL) return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (page == LR_HUGE_PAGE) (void)madvise(table, rounded, MADV_HUGEPAGE);
#endif
    memset(table, 0, rounded);
    return table;
}

const uint8_t lr_key_mask[32] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};

lr_key lr_key_long(const uint8_t *text, size_t size) {
    uint64_t hash = 0x2D358DCCAA6C78A5u ^ size;
    size_t at = 0;
    for (; size - at > 16; at += 16)
        hash = lr_mix(lr_load8(text + at) ^ hash, lr_load8(text + at + 8) ^ 0x8BB84B93962EACC9u);
    /* The last 16 bytes, which may overlap what was hashed: a long text has that many. */
    hash = lr_mix(lr_load8(text + size - 16) ^ hash, lr_load8(text + size - 8) ^ 0x4B33A62ED433D4A3u);
    const uint64_t length = LR_WORD_LONG_KEY | size;
    return (lr_key){{hash, length}, lr_key_hash(hash, length)};
}

static lr_word *allocate(size_t slots) {
    return lr_table_alloc(slots * sizeof(lr_word));
}

int lr_words_make(lr_words *words, size_t entries) {
    size_t slots = 1024;
    while (slots < entries * 2) slots *= 2;
    memset(words, 0, sizeof *words);
    words->slots = allocate(slots);
    words->mask = slots - 2;
    /* One that is filled once and for all may be fuller: it is twice as small, and so is what loading must touch. */
    words->limit = entries ? slots / 2 : slots / 4;
    return words->slots == NULL ? -1 : 0;
}

void lr_words_expect(lr_words *words, size_t entries) {
    size_t slots = words->mask + 2;
    if (words->used) return;
    while (slots < entries * 4) slots *= 2;
    lr_word *larger = slots == words->mask + 2 ? NULL : allocate(slots);
    if (larger == NULL) return;
    free(words->slots);
    words->slots = larger;
    words->mask = slots - 2;
    words->limit = slots / 4;
}

void lr_words_drop(lr_words *words) {
    free(words->slots);
    free(words->arena);
    memset(words, 0, sizeof *words);
}

void lr_words_clear(lr_words *words) {
    memset(words->slots, 0, (words->mask + 2) * sizeof *words->slots);
    words->used = 0;
    words->arena_used = 0;
}

lr_word *lr_words_find(const lr_words *words, const lr_key *key, const uint8_t *text, size_t size) {
    for (size_t i = key->hash & words->mask;; i = (i + 2) & words->mask)
        for (size_t k = i; k < i + 2; k++) {
            lr_word *word = &words->slots[k];
            /* Another thread may at this moment settle a doubt about a token: see lr_bpe.c. */
            if (__atomic_load_n(&word->n, __ATOMIC_RELAXED) == 0) return NULL;
            if (word->key[0] != key->word[0] || word->key[1] != key->word[1]) continue;
            if (size <= LR_WORD_SHORT || memcmp(words->arena + (uint32_t)word->ids[2], text, size) == 0) return word;
        }
}

static lr_word *free_slot(const lr_words *words, uint64_t hash) {
    size_t i = hash & words->mask;
    for (;; i = (i + 2) & words->mask) {
        if (words->slots[i].n == 0) return &words->slots[i];
        if (words->slots[i + 1].n == 0) return &words->slots[i + 1];
    }
}

static int grow(lr_words *words) {
    lr_words more = *words;
    const size_t slots = words->mask + 2;
    more.mask = slots * 2 - 2;
    more.limit = slots * 2 / 4;
    more.slots = allocate(slots * 2);
    if (more.slots == NULL) return -1;
    for (size_t i = 0; i < slots; i++) {
        const lr_word *word = &words->slots[i];
        if (word->n == 0) continue;
        *free_slot(&more, lr_key_hash(word->key[0], word->key[1])) = *word;
    }
    free(words->slots);
    *words = more;
    return 0;
}

/* Room for `units` in the arena; their place, or -1 without memory. */
static int64_t reserve(lr_words *words, size_t units) {
    if (words->arena_room - words->arena_used < units) {
        const size_t room = (words->arena_room + units) * 2;
        int32_t *arena = room > INT32_MAX ? NULL : realloc(words->arena, room * sizeof *arena);
        if (arena == NULL) return -1;
        words->arena = arena;
        words->arena_room = room;
    }
    const size_t place = words->arena_used;
    words->arena_used += units;
    return (int64_t)place;
}

lr_word *lr_words_add(lr_words *words, const lr_key *key, const uint8_t *text, size_t size, const int32_t *ids,
                      size_t count) {
    const int is_long = size > LR_WORD_SHORT;
    const size_t text_units = is_long ? (size + 3) / 4 : 0;
    const int spilled = count + (is_long ? 1 : 0) > LR_WORD_INLINE;
    const int64_t place = reserve(words, text_units + (spilled ? count : 0));
    if (place < 0 || (words->used >= words->limit && grow(words) != 0)) return NULL;
    lr_word *word = free_slot(words, key->hash);
    word->key[0] = key->word[0];
    word->key[1] = key->word[1];
    word->n = (uint32_t)count | (spilled ? (uint32_t)LR_WORD_SPILLED : 0);
    if (is_long) {
        word->n |= LR_WORD_LONG;
        memcpy(words->arena + place, text, size);
        word->ids[2] = (int32_t)place;
    }
    if (spilled) {
        word->ids[0] = (int32_t)place + (int32_t)text_units;
        memcpy(words->arena + (uint32_t)word->ids[0], ids, count * sizeof *ids);
    } else if (count) {
        memcpy(word->ids, ids, count * sizeof *ids);
    }
    words->used++;
    return word;
}
