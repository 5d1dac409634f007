/* lr_scan: the same pieces as lr_split, found in windows of 64 bytes by logic on bit masks.
 *
 * A window begins where a piece does, so nothing left of it matters. Its last run of one class may go on outside, so
 * only piece starts up to that run's own start are taken, and the next window begins at the last of them. Where the
 * masks cannot decide, a rule cuts the window short; a window that decides nothing leaves one piece to
 * lr_split_next. Nothing is allocated.
 */
#ifndef LR_SCAN_PRIVATE_H
#define LR_SCAN_PRIVATE_H

#include "lr_split_private.h"

enum { LR_WINDOW = 64 };

/* One bit a character, bit 0 the window's first; bits from n on are 0. */
typedef struct lr_masks {
    uint64_t letter, number, space, newline, upper, lower, mark, punct; /* in the order of the LR_IS_ flags */
    uint64_t short_one, short_rv, short_e, short_l, blank, quote, slash, wide; /* of the LR_FORM_ flags */
    unsigned n;
} lr_masks;

/* How windows are made: one for each kind of CPU. */
typedef struct lr_tier {
    const char *name;
    /* Finds the ends of the pieces that can be told within the first 64 of the `left` bytes at text. Returns a bit for
     * each, by its place; 0 when none can. Writes the places, plus `from`, to ends: up to LR_WINDOW values, even where
     * there are fewer. left > 0. */
    uint64_t (*window)(const lr_split *split, const uint8_t *text, size_t left, uint32_t from, uint32_t *ends);
} lr_tier;

extern const lr_tier lr_tier_scalar;
/* Null where this is another kind of CPU, or one without what the tier needs. */
const lr_tier *lr_tier_avx512(void);
const lr_tier *lr_tier_avx2(void);
const lr_tier *lr_tier_neon(void);

/* The best tier that this CPU can run, or the one of this name ("avx512", "avx2", "neon", "scalar") if it can. */
const lr_tier *lr_tier_choose(const char *name);

/* Writes the ends of the next pieces of text[*p, end), relative to `base`, moves *p behind them and returns how many; *p
 * is a piece's start, base <= *p < end. Up to LR_WINDOW values are written even where there are fewer. 0 when 32 bits
 * cannot hold the end. */
static inline unsigned lr_scan(const lr_split *split, lr_split_state *state, const lr_tier *tier, const uint8_t *text,
                               size_t base, size_t *p, size_t end, uint32_t *ends) {
    const uint64_t found = split->rule ? tier->window(split, text + *p, end - *p, (uint32_t)(*p - base), ends) : 0;
    if (found) {
        /* Not out of `ends`: the next window must not wait until they are written. */
        *p += 63u - (unsigned)__builtin_clzll(found);
        return (unsigned)__builtin_popcountll(found);
    }
    const size_t next = lr_split_next(split, state, text, *p);
    if (next - base > UINT32_MAX) return 0;
    ends[0] = (uint32_t)(next - base);
    *p = next;
    return 1;
}

#endif
