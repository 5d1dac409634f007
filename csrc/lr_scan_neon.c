/* Windows with NEON. */
#include "lr_scan_chars_private.h"

#if defined(__aarch64__)
#include <arm_neon.h>

static inline uint64_t bits4(const uint8x16_t *x, uint8x16_t bit) {
    static const uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t w = vld1q_u8(weights);
    const uint8x16_t low = vpaddq_u8(vandq_u8(vtstq_u8(x[0], bit), w), vandq_u8(vtstq_u8(x[1], bit), w));
    const uint8x16_t high = vpaddq_u8(vandq_u8(vtstq_u8(x[2], bit), w), vandq_u8(vtstq_u8(x[3], bit), w));
    const uint8x16_t all = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

static unsigned window(const lr_split *split, const uint8_t *text, size_t left, uint32_t from, uint32_t *ends) {
    lr_chars chars;
    lr_masks m;
    uint64_t *flags[8] = {&m.letter, &m.number, &m.space, &m.newline, &m.upper, &m.lower, &m.mark, &m.punct};
    uint64_t *forms[8] = {&m.short_one, &m.short_rv, &m.short_e, &m.short_l, &m.blank, &m.quote, &m.slash, &m.wide};
    lr_chars_read(split, text, left < LR_WINDOW ? left : LR_WINDOW, &chars);
    uint8x16_t f[4], c[4];
    for (unsigned i = 0; i < 4; i++) f[i] = vld1q_u8(chars.flags + 16 * i), c[i] = vld1q_u8(chars.forms + 16 * i);
    for (unsigned k = 0; k < 8; k++) {
        const uint8x16_t bit = vdupq_n_u8((uint8_t)(1 << k));
        *flags[k] = bits4(f, bit);
        *forms[k] = bits4(c, bit);
    }
    m.n = chars.n;
    return lr_places(lr_starts(split, &m), chars.at, from, ends);
}

static unsigned scan(const lr_split *split, const uint8_t *text, size_t base, size_t *p, size_t end, uint32_t *ends,
                     unsigned room) {
    return lr_scan_by(window, split, text, base, p, end, ends, room);
}

static const lr_tier neon = {"neon", scan, lr_look_key_plain, lr_look_put_plain};

const lr_tier *lr_tier_neon(void) { return &neon; }

#else
const lr_tier *lr_tier_neon(void) { return NULL; }
#endif
