/* lr_scan: the same pieces as lr_split, found 64 characters at a time by logic on bit masks.
 *
 * A window begins where a piece does, so nothing left of it matters. Its last run of one class may go on outside, so
 * only piece starts up to that run's own start are taken, and the next window begins at the last of them. Where the
 * masks cannot decide, a rule cuts the window short; a window that decides nothing leaves one piece to
 * lr_split_next. Nothing is allocated.
 */
#ifndef LR_SCAN_PRIVATE_H
#define LR_SCAN_PRIVATE_H

#include "lr_split_private.h"

enum { LR_WINDOW = 64, LR_WIDE = 0xFF, LR_LONG_S = 0xFE };

/* One bit a character, bit 0 the window's first; bits from n on are 0. */
typedef struct lr_masks {
    uint64_t letter, number, space, newline, upper, lower, mark, punct; /* in the order of the LR_IS_ flags */
    uint64_t blank, quote, slash; /* ' ', '\'', '/' */
    uint64_t wide;                /* not ASCII */
    const uint8_t *chars;         /* ASCII characters, LR_LONG_S, LR_WIDE */
    unsigned n;
} lr_masks;

/* How masks are made: one for each kind of CPU. */
typedef struct lr_tier {
    const char *name;
    /* The masks of text[0, 64). Where it is not all ASCII only `wide` and what stands before its first bit counts. */
    void (*ascii)(const lr_split *split, const uint8_t *text, lr_masks *masks);
    /* The masks of 64 characters and their LR_IS_ flags. */
    void (*flags)(const uint8_t *flags, const uint8_t *chars, lr_masks *masks);
    /* The places of the bits, plus `from`, in order, and how many; up to LR_WINDOW are written even where there are
     * fewer. */
    unsigned (*places)(uint64_t bits, uint32_t from, uint32_t *out);
} lr_tier;

/* The best tier that this CPU can run, or the one of this name ("avx512", "avx2", "neon", "scalar") if it can. */
const lr_tier *lr_tier_choose(const char *name);

/* Writes the ends of the pieces from p on, relative to p, to ends[0, room): as many as fit and come easily, at least
 * one. p < end; 0 when the first piece is longer than 32 bits hold. */
size_t lr_scan(const lr_split *split, lr_split_state *state, const lr_tier *tier, const uint8_t *text, size_t p,
               size_t end, uint32_t *ends, size_t room);

/* The starts of pieces, bit 0 among them, which hold up to *limit; 0 when nothing can be said. */
typedef uint64_t (*lr_rule)(const lr_split *split, lr_masks *masks, unsigned *limit);

/* Null where only lr_split_next knows the pattern. */
lr_rule lr_rule_of(const lr_split *split);

#endif
