#include "lr_scan_private.h"

/* Reads up to 64 characters from text[p, end) on: their flags, their bytes, where each begins behind p. */
typedef struct lr_chars {
    uint8_t flags[LR_WINDOW], chars[LR_WINDOW];
    uint16_t at[LR_WINDOW + 1];
} lr_chars;

static unsigned read_chars(const lr_split *split, const uint8_t *text, size_t left, lr_chars *out) {
    unsigned n = 0;
    size_t at = 0;
    for (; n < LR_WINDOW && at < left; n++) {
        const uint8_t *p = text + at;
        out->at[n] = (uint16_t)at;
        if (p[0] < 0x80) {
            out->flags[n] = split->ascii[p[0]];
            out->chars[n] = p[0];
            at++;
        } else {
            out->flags[n] = split->wide[lr_unicode_of(lr_utf8_at(p))];
            out->chars[n] = p[0] == 0xC5 && p[1] == 0xBF ? LR_LONG_S : LR_WIDE;
            at += lr_utf8_length(p[0]);
        }
    }
    out->at[n] = (uint16_t)at;
    for (unsigned i = n; i < LR_WINDOW; i++) out->flags[i] = out->chars[i] = 0;
    return n;
}

static void limit_to(lr_masks *m, unsigned n) {
    const uint64_t keep = n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
    uint64_t *all[] = {&m->letter, &m->number, &m->space, &m->newline, &m->upper, &m->lower,
                       &m->mark, &m->punct, &m->blank, &m->quote, &m->slash, &m->wide};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] &= keep;
    m->n = n;
}

enum { ASCII_ENOUGH = 24 }; /* so much ASCII before the first wide character makes a window by itself */

/* The starts of a window at p; chars->at is only filled when `wide` comes out true. */
static uint64_t window(const lr_split *split, const lr_tier *tier, lr_rule rule, const uint8_t *text, size_t left,
                       lr_chars *chars, int *wide, unsigned *limit) {
    lr_masks m;
    *wide = 0;
    if (left >= LR_WINDOW) {
        tier->ascii(split, text, &m);
        const unsigned ascii = m.wide ? (unsigned)__builtin_ctzll(m.wide) : 64;
        if (ascii >= ASCII_ENOUGH) {
            m.chars = text;
            m.n = 64;
            if (ascii < 64) limit_to(&m, ascii);
            return rule(split, &m, limit);
        }
    }
    *wide = 1;
    const unsigned n = read_chars(split, text, left, chars);
    tier->flags(chars->flags, chars->chars, &m);
    m.chars = chars->chars;
    m.n = n;
    return rule(split, &m, limit);
}

size_t lr_scan(const lr_split *split, lr_split_state *state, const lr_tier *tier, const uint8_t *text, size_t p,
               size_t end, uint32_t *ends, size_t room) {
    const lr_rule rule = lr_rule_of(split);
    const size_t base = p;
    size_t count = 0;
    lr_chars chars;
    while (p < end && room - count >= LR_WINDOW && p - base < (1u << 20)) {
        unsigned limit = 0;
        int wide = 0;
        uint64_t starts = rule ? window(split, tier, rule, text + p, end - p, &chars, &wide, &limit) : 0;
        starts &= ((uint64_t)2 << limit) - 2;
        if (starts == 0) {
            const size_t next = lr_split_next(split, state, text, p);
            if (next - base > UINT32_MAX) break;
            ends[count++] = (uint32_t)(next - base);
            p = next;
            continue;
        }
        const uint32_t from = (uint32_t)(p - base);
        if (!wide) {
            count += tier->places(starts, from, ends + count);
        } else {
            for (; starts; starts &= starts - 1) ends[count++] = from + chars.at[__builtin_ctzll(starts)];
        }
        p = base + ends[count - 1];
    }
    return count;
}
