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

typedef struct lr_range { uint16_t from, to; } lr_range;

static int in_range(const lr_range *range, uint32_t cp) {
    return cp >= range->from && cp <= range->to;
}

/* The one that holds cp, or null. */
static const lr_range *find_range(const lr_range *ranges, size_t count, uint32_t cp) {
    for (size_t i = 0; i < count && cp >= ranges[i].from; i++)
        if (cp <= ranges[i].to) return &ranges[i];
    return NULL;
}

/* Characters that neither decompose nor combine with one before them. */
static const lr_range *stands_alone(uint32_t cp) {
    static const lr_range ranges[] = {
        {0x0000, 0x02FF}, {0x038E, 0x0482}, {0x048A, 0x0556}, {0x05D0, 0x05EA}, {0x060C, 0x060F}, {0x061B, 0x064A},
        {0x0660, 0x066F}, {0x0671, 0x06D5}, {0x06EE, 0x06FF}, {0x0900, 0x0928}, {0x092A, 0x0930}, {0x093D, 0x094C},
        {0x0964, 0x0970}, {0x0980, 0x09BB}, {0x09BF, 0x09CA}, {0x09E6, 0x09FD}, {0x0B82, 0x0BBD}, {0x0BBF, 0x0BCA},
        {0x0BE6, 0x0BFA}, {0x0E01, 0x0E37}, {0x0E3F, 0x0E47}, {0x0E4D, 0x0E5B}, {0x10A0, 0x10FF}, {0x1E00, 0x1EFF},
        {0x200B, 0x2027}, {0x2030, 0x205E}, {0x2070, 0x20CF}, {0x2190, 0x2328}, {0x2500, 0x27BF}, {0x3000, 0x3029},
        {0x3041, 0x3096}, {0x309B, 0x30FF}, {0x4E00, 0x9FFF}, {0xAC00, 0xD7A3}, {0xFF00, 0xFFEF}};
    return find_range(ranges, sizeof ranges / sizeof *ranges, cp);
}

/* Marks that combine with nothing, and sort before others or behind: harmless where only one follows a character. */
static int sorts(uint32_t cp) {
    static const lr_range ranges[] = {{0x05B0, 0x05BD}, {0x064B, 0x0652}, {0x094D, 0x094D}, {0x09CD, 0x09CD},
                                      {0x0BCD, 0x0BCD}, {0x0E38, 0x0E3A}, {0x0E48, 0x0E4B}};
    return find_range(ranges, sizeof ranges / sizeof *ranges, cp) != NULL;
}

size_t lr_utf8_plainly_nfc(const uint8_t *text, size_t size) {
    int sorted = 1; /* the character before may have to change places with a mark */
    const lr_range *near = stands_alone(0); /* where the last one stood: most often the next one does too */
    for (size_t at = 0; at < size; ) {
        uint64_t part = 0;
        if (size - at >= 8) memcpy(&part, text + at, 8);
        if (size - at >= 8 && (part & 0x8080808080808080u) == 0) {
            at += 8;
            sorted = 0;
            continue;
        }
        const uint32_t cp = lr_utf8_at(text + at);
        const lr_range *range = cp < 0x80 || in_range(near, cp) ? near : stands_alone(cp);
        if (range != NULL) {
            near = range;
            sorted = 0;
        } else if (sorted || !sorts(cp)) {
            return at;
        } else {
            sorted = 1;
        }
        at += lr_utf8_length(text[at]);
    }
    return size;
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
