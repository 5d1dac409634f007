/* lr_unicode_private: reading characters, for the splitters. Borrowed: all bytes. */
#ifndef LR_UNICODE_PRIVATE_H
#define LR_UNICODE_PRIVATE_H

#include "lr_unicode.h"

/* The class byte: one of these in the low bits, flags above. */
enum {
    LR_CLASS_OTHER,   /* controls, format characters, unassigned */
    LR_CLASS_NEWLINE, /* \r and \n only */
    LR_CLASS_SPACE,   /* the rest of \s */
    LR_CLASS_NUMBER,
    LR_CLASS_UPPER,   /* Lu, Lt */
    LR_CLASS_LOWER,   /* Ll */
    LR_CLASS_LETTER,  /* Lm, Lo: without case */
    LR_CLASS_MARK,
    LR_CLASS_PUNCT,
    LR_CLASS_SYMBOL,
    LR_CLASS_MASK = 0x0f,
    LR_CLASS_NEW = 0x10,   /* not in Unicode 15.1 */
    LR_CLASS_CJK = 0x20,   /* DeepSeek-V3's ideographs and kana */
    LR_CLASS_CASED = 0x40, /* DeepSeek-LLM's letters */
    LR_CLASS_BYTES = 0x80  /* class bytes are below */
};

/* The class bytes of 64 code points each, and which of these pages a code point's is, by cp >> 6; those of the first
 * 1024, which is up to U+FFFF, as bytes too. */
extern const uint8_t lr_unicode_second[], lr_unicode_bmp[];
extern const uint16_t lr_unicode_first[];

/* cp below 0x110000. */
static inline uint8_t lr_unicode_of(uint32_t cp) {
    return lr_unicode_second[(size_t)lr_unicode_first[cp >> 6] << 6 | (cp & 63)];
}

/* Bytes of the character that begins with `lead`, in well-formed text. */
static inline size_t lr_utf8_length(uint8_t lead) {
    return 1u + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0);
}

/* The character at p of well-formed text (surrogates allowed). */
static inline uint32_t lr_utf8_at(const uint8_t *p) {
    if (p[0] < 0x80) return p[0];
    if (p[0] < 0xE0) return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3Fu);
    if (p[0] < 0xF0) return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3Fu);
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3Fu);
}

#endif
