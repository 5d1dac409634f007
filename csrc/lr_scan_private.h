/* lr_scan: the same pieces as lr_split, found in windows of 64 bytes by logic on bit masks.
 *
 * A window begins where a piece does, so nothing left of it matters. Its last run of one class may go on outside, so
 * only piece starts up to that run's own start are taken, and the next window begins at the last of them. Where the
 * masks cannot decide, a rule cuts the window short; a window that decides nothing leaves one piece to
 * lr_split_next. Nothing is allocated.
 */
#ifndef LR_SCAN_PRIVATE_H
#define LR_SCAN_PRIVATE_H

#include "lr_look_private.h"
#include "lr_split_private.h"

enum { LR_WINDOW = 64 };

/* One bit a character, bit 0 the window's first; bits from n on are 0. */
typedef struct lr_masks {
    uint64_t letter, number, space, newline, upper, lower, mark, punct; /* in the order of the LR_IS_ flags */
    uint64_t short_one, short_rv, short_e, short_l, blank, quote, slash, wide; /* of the LR_FORM_ flags */
    unsigned n;
} lr_masks;

/* How windows are made and pieces looked up: one for each kind of CPU. */
typedef struct lr_tier {
    const char *name;
    /* Writes the ends of pieces of text[*p, end), relative to `base`, moves *p behind them and returns how many: up to
     * `room`, as far as the masks decide, perhaps none. *p is a piece's start, base <= *p < end, *p - base and 64 more
     * fit 32 bits, room >= LR_WINDOW. */
    unsigned (*scan)(const lr_split *split, const uint8_t *text, size_t base, size_t *p, size_t end, uint32_t *ends,
                     unsigned room);
    lr_look_key key;
    lr_look_put put;
} lr_tier;

extern const lr_tier lr_tier_scalar;
/* Null where this is another kind of CPU, or one without what the tier needs. */
const lr_tier *lr_tier_avx512(void);
const lr_tier *lr_tier_avx2(void);
const lr_tier *lr_tier_neon(void);

/* The best tier that this CPU can run, or the one of this name ("avx512", "avx2", "neon", "scalar") if it can. */
const lr_tier *lr_tier_choose(const char *name);

/* Writes the ends of the pieces from p on, relative to p, to ends[0, room), room >= LR_WINDOW: as many as fit and come
 * easily, at least one. p < end; 0 when the first piece is longer than 32 bits hold. */
unsigned lr_scan(const lr_split *split, lr_split_state *state, const lr_tier *tier, const uint8_t *text, size_t p,
                 size_t end, uint32_t *ends, unsigned room);

#endif
