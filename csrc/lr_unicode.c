#include "lr_unicode_private.h"

#include <string.h>

#include "lr_unicode_tables.h"

int lr_unicode_class(uint32_t cp) {
    return cp < 0x110000 ? lr_unicode_of(cp) : 0;
}

/* Bytes of the well-formed character at p, of which `left` bytes are there; 0 when it is none. */
static size_t well_formed(const uint8_t *p, size_t left) {
    const uint8_t lead = p[0];
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    const size_t size = lr_utf8_length(lead);
    if (size > left || (p[1] & 0xC0) != 0x80) return 0;
    if (size == 2) return 2;
    /* Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte. */
    if ((lead == 0xE0 && p[1] < 0xA0) || (lead == 0xED && p[1] > 0x9F)) return 0;
    if ((lead == 0xF0 && p[1] < 0x90) || (lead == 0xF4 && p[1] > 0x8F)) return 0;
    if ((p[2] & 0xC0) != 0x80) return 0;
    return size == 3 || (p[3] & 0xC0) == 0x80 ? size : 0;
}

size_t lr_utf8_valid(const uint8_t *text, size_t size) {
    size_t at = 0;
    while (at < size) {
        while (size - at >= 32) {
            uint64_t part[4];
            memcpy(part, text + at, 32);
            if ((part[0] | part[1] | part[2] | part[3]) & 0x8080808080808080u) break;
            at += 32;
        }
        /* Non-ASCII text comes in stretches: stay here for a few characters before trying 32 bytes again. */
        for (int i = 0; i < 32 && at < size; i++) {
            const size_t length = well_formed(text + at, size - at);
            if (length == 0) return at;
            at += length;
        }
    }
    return at;
}

/* The character that llama.cpp reads at p, and its length; U+FFFD and 1 where it reads none. */
static uint32_t read_loosely(const uint8_t *p, size_t left, size_t *length) {
    *length = 1;
    if (p[0] < 0x80) return p[0];
    if (p[0] < 0xC0 || p[0] >= 0xF8) return 0xFFFD;
    const size_t size = lr_utf8_length(p[0]);
    if (size > left) return 0xFFFD;
    for (size_t i = 1; i < size; i++)
        if ((p[i] & 0xC0) != 0x80) return 0xFFFD;
    const uint32_t cp = lr_utf8_at(p);
    if (cp > 0x10FFFF) return 0xFFFD; /* llama.cpp dies of these */
    *length = size;
    return cp;
}

static size_t write_utf8(uint32_t cp, uint8_t *out) {
    const size_t size = 1u + (cp >= 0x80) + (cp >= 0x800) + (cp >= 0x10000);
    if (out == NULL) return size;
    static const uint8_t lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size - 1; i > 0; i--, cp >>= 6) out[i] = (uint8_t)(0x80 | (cp & 0x3F));
    out[0] = (uint8_t)(lead[size] | cp);
    return size;
}

size_t lr_utf8_llama(const uint8_t *text, size_t size, uint8_t *out) {
    size_t written = 0;
    for (size_t at = 0, length; at < size; at += length) {
        const uint32_t cp = read_loosely(text + at, size - at, &length);
        written += write_utf8(cp, out == NULL ? NULL : out + written);
    }
    return written;
}
