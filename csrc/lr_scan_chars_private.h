/* Windows for CPUs that cannot squeeze masks: characters are read one by one, unless all are ASCII. */
#ifndef LR_SCAN_CHARS_PRIVATE_H
#define LR_SCAN_CHARS_PRIVATE_H

#include "lr_scan_rules_private.h"

/* Up to 64 characters: their LR_IS_ and LR_FORM_ flags, zeros behind them, and where each begins. */
typedef struct lr_chars {
    uint8_t flags[LR_WINDOW], forms[LR_WINDOW], at[LR_WINDOW];
    unsigned n;
} lr_chars;

/* Reads text[0, size), size <= 64, of which the last character may end later. */
static inline void lr_chars_read(const lr_split *split, const uint8_t *text, size_t size, lr_chars *out) {
    unsigned n = 0;
    for (size_t at = 0; at < size; n++) {
        const uint8_t *p = text + at;
        out->at[n] = (uint8_t)at;
        if (p[0] < 0x80) {
            out->flags[n] = split->ascii[p[0]];
            out->forms[n] = split->forms[p[0]];
            at++;
        } else {
            out->flags[n] = split->wide[lr_unicode_of(lr_utf8_at(p))];
            out->forms[n] = p[0] == 0xC5 && p[1] == 0xBF ? split->long_s : (uint8_t)LR_FORM_WIDE;
            at += lr_utf8_length(p[0]);
        }
    }
    out->n = n;
    for (; n < LR_WINDOW; n++) out->flags[n] = out->forms[n] = 0;
}

static inline uint64_t lr_starts(const lr_split *split, lr_masks *m) {
    unsigned limit = 0;
    uint64_t starts;
    switch (split->rule) {
    case LR_SCAN_GPT2: starts = rule_gpt2(split, m, &limit); break;
    case LR_SCAN_LLAMA3: starts = rule_llama3(split, m, &limit); break;
    case LR_SCAN_CASED: starts = rule_cased(split, m, &limit); break;
    default: starts = rule_deepseek3(split, m, &limit); break;
    }
    return starts & (((uint64_t)2 << limit) - 2);
}

/* Writes the places of these characters, plus `from`; returns how many. */
static inline unsigned lr_places(uint64_t bits, const uint8_t *at, uint32_t from, uint32_t *out) {
    unsigned count = 0;
    for (; bits; bits &= bits - 1) out[count++] = from + at[first_bit(bits)];
    return count;
}

/* The ends of pieces in the window at text, plus `from`; how many. */
typedef unsigned (*lr_window)(const lr_split *split, const uint8_t *text, size_t left, uint32_t from, uint32_t *ends);

/* A tier's scan by windows. */
static inline unsigned lr_scan_by(lr_window window, const lr_split *split, const uint8_t *text, size_t base, size_t *p,
                                  size_t end, uint32_t *ends, unsigned room) {
    unsigned count = 0;
    while (*p < end && room - count >= LR_WINDOW) {
        const unsigned more = window(split, text + *p, end - *p, (uint32_t)(*p - base), ends + count);
        if (more == 0) break;
        count += more;
        *p = base + ends[count - 1];
    }
    return count;
}

#endif
