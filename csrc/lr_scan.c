/* Windows in plain C, and which kind of CPU this is. All tiers find the same pieces. */
#include "lr_scan_chars_private.h"

#include <string.h>

/* The lowest bit of each of 8 bytes, gathered into 8 bits. */
static inline uint64_t gather(uint64_t bytes) {
    return (bytes & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}

static inline uint64_t load8(const uint8_t *p) {
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++) value |= (uint64_t)p[i] << 8 * i;
    return value;
}

static unsigned window(const lr_split *split, const uint8_t *text, size_t left, uint32_t from, uint32_t *ends) {
    lr_chars chars;
    lr_masks m = {0};
    uint64_t *flags[8] = {&m.letter, &m.number, &m.space, &m.newline, &m.upper, &m.lower, &m.mark, &m.punct};
    uint64_t *forms[8] = {&m.short_one, &m.short_rv, &m.short_e, &m.short_l, &m.blank, &m.quote, &m.slash, &m.wide};
    lr_chars_read(split, text, left < LR_WINDOW ? left : LR_WINDOW, &chars);
    for (unsigned i = 0; i < LR_WINDOW; i += 8) {
        const uint64_t some_flags = load8(chars.flags + i), some_forms = load8(chars.forms + i);
        for (unsigned k = 0; k < 8; k++) {
            *flags[k] |= gather(some_flags >> k) << i;
            *forms[k] |= gather(some_forms >> k) << i;
        }
    }
    m.n = chars.n;
    return lr_places(lr_starts(split, &m), chars.at, from, ends);
}

static unsigned scan(const lr_split *split, const uint8_t *text, size_t base, size_t *p, size_t end, uint32_t *ends,
                     unsigned room) {
    return lr_scan_by(window, split, text, base, p, end, ends, room);
}

const lr_tier lr_tier_scalar = {"scalar", scan, lr_look_key_plain, lr_look_put_plain};

const lr_tier *lr_tier_choose(const char *name) {
    const lr_tier *tiers[] = {lr_tier_avx512(), lr_tier_avx2(), lr_tier_neon()};
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
        if (tiers[i] != NULL && (name == NULL || strcmp(name, tiers[i]->name) == 0)) return tiers[i];
    return &lr_tier_scalar;
}

unsigned lr_scan(const lr_split *split, lr_split_state *state, const lr_tier *tier, const uint8_t *text, size_t p,
                 size_t end, uint32_t *ends, unsigned room) {
    const size_t base = p;
    unsigned count = 0;
    while (p < end && room - count >= LR_WINDOW && p - base < (1u << 20)) {
        if (split->rule) {
            const unsigned more = tier->scan(split, text, base, &p, end, ends + count, room - count);
            count += more;
            if (more) continue;
        }
        const size_t next = lr_split_next(split, state, text, p);
        if (next - base > UINT32_MAX) break;
        ends[count++] = (uint32_t)(next - base);
        p = next;
    }
    return count;
}
