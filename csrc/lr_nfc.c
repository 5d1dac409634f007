/* Text is in normal form C when its marks are in order and nothing that may compose stands behind what it composes with.
 * Nearly all characters are quiet: they are skipped, and each run of others is judged with the character before it. */
#include "lr_nfc_private.h"

#include <string.h>

#include "lr_nfc_tables.h"

enum {
    WINDOW = 64,
    NEAR = 64 /* bytes between stretches that are not worth ending one for */
};

uint64_t lr_nfc_loud_scalar(const uint8_t *text, size_t left) {
    const size_t size = left < WINDOW ? left : WINDOW;
    uint64_t loud = 0;
    size_t at = 0;
    while (at < size && (text[at] & 0xC0) == 0x80) at++;
    while (at < size) {
        uint64_t part = UINT64_MAX;
        if (size - at >= 8) memcpy(&part, text + at, 8);
        if ((part & 0x8080808080808080u) == 0) {
            at += 8;
        } else if (text[at] < 0x80) {
            at++;
        } else {
            loud |= (uint64_t)((lr_nfc_of(lr_utf8_at(text + at)) & LR_NFC_LOUD) != 0) << at;
            at += lr_utf8_length(text[at]);
        }
    }
    return loud;
}

static int composes(uint32_t first, uint32_t second) {
    size_t low = 0, high = lr_nfc_pair_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const uint32_t *pair = lr_nfc_pairs[middle];
        if (pair[0] == first && pair[1] == second) return 1;
        if (pair[0] < first || (pair[0] == first && pair[1] < second)) low = middle + 1;
        else high = middle;
    }
    return 0;
}

/* Whether the run of characters at `at`, none quiet, is in order behind `before`; moves *at behind the run. */
static int in_order(const uint8_t *text, size_t size, uint32_t before, size_t *at) {
    int last = 0, fine = 1;
    uint8_t starter = lr_nfc_of(before);
    while (*at < size) {
        const uint32_t cp = lr_utf8_at(text + *at);
        const int kind = lr_nfc_of(cp) & LR_NFC_KIND;
        if ((kind & LR_NFC_LOUD) == 0) break;
        *at += lr_utf8_length(text[*at]);
        const int order = (kind - LR_NFC_MARK) >> 1;
        if (kind < LR_NFC_MARK || (starter & LR_NFC_KIND) == LR_NFC_DECOMPOSES || (order && order < last)) fine = 0;
        else if (kind & 1 && starter & LR_NFC_FIRST && composes(before, cp)) fine = 0;
        if (order == 0) before = cp, starter = lr_nfc_of(cp);
        last = order;
    }
    return fine;
}

static lr_nfc_loud choose(const char *name) {
    const struct { const char *name; lr_nfc_loud loud; } tiers[] = {
        {"avx512", lr_nfc_loud_avx512()}, {"avx2", lr_nfc_loud_avx2()}, {"neon", lr_nfc_loud_neon()}};
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
        if (tiers[i].loud != NULL && (name == NULL || strcmp(name, tiers[i].name) == 0)) return tiers[i].loud;
    return lr_nfc_loud_scalar;
}

/* Adds a stretch, or lengthens the last one where it is near; 0 when there is no room. */
static int add(size_t *places, size_t *count, size_t room, size_t from, size_t to) {
    if (*count && from - places[2 * *count - 1] < NEAR) {
        places[2 * *count - 1] = to;
        return 1;
    }
    if (*count == room) return 0;
    places[2 * *count] = from, places[2 * *count + 1] = to;
    ++*count;
    return 1;
}

size_t lr_nfc_spans(const uint8_t *text, size_t size, size_t *at, size_t *places, size_t room, const char *tier) {
    const lr_nfc_loud loud = choose(tier);
    size_t count = 0, done = *at;
    for (size_t window = *at; window < size; window += WINDOW) {
        for (uint64_t bits = loud(text + window, size - window); bits; bits &= bits - 1) {
            size_t start = window + (size_t)__builtin_ctzll(bits);
            if (start < done) continue; /* it was judged with the one before it */
            done = start;
            while (start > 0 && (text[--start] & 0xC0) == 0x80) {}
            if (in_order(text, size, start < done ? lr_utf8_at(text + start) : 0, &done)) continue;
            if (!add(places, &count, room, start, done)) {
                *at = start;
                return count;
            }
        }
    }
    *at = size;
    return count;
}
