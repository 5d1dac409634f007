/* Windows of 64 bytes with NEON: most are quiet by their characters' first bytes alone. */
#include "lr_nfc_private.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* Whether a character begins in these 16 bytes that may not be quiet: not zero. */
static inline uint8x16_t may_be_loud(const uint8_t *text) {
    const uint8x16_t c = vld1q_u8(text);
    const uint8x16_t low = vqtbl1q_u8(vld1q_u8(lr_nfc_lows), vandq_u8(c, vdupq_n_u8(15)));
    return vandq_u8(low, vqtbl1q_u8(vld1q_u8(lr_nfc_rows), vshrq_n_u8(c, 4)));
}

static uint64_t loud(const uint8_t *text, size_t left) {
    if (left >= 64) {
        const uint8x16_t some = vorrq_u8(vorrq_u8(may_be_loud(text), may_be_loud(text + 16)),
                                         vorrq_u8(may_be_loud(text + 32), may_be_loud(text + 48)));
        if (vmaxvq_u8(some) == 0) return 0;
    }
    return lr_nfc_loud_scalar(text, left);
}

lr_nfc_loud lr_nfc_loud_neon(void) { return loud; }

#else
lr_nfc_loud lr_nfc_loud_neon(void) { return NULL; }
#endif
