/* How characters behave under normal form C, by the tables of gen_nfc.py. */
#ifndef LR_NFC_PRIVATE_H
#define LR_NFC_PRIVATE_H

#include "lr_nfc.h"
#include "lr_unicode_private.h"

/* The kind byte. The first two begin a stretch that nothing before them touches: they are quiet. */
enum {
    LR_NFC_PLAIN,
    LR_NFC_DECOMPOSES, /* and is composed again, unless something joins */
    LR_NFC_ASK,        /* never in this form, or Hangul's vowels and finals, or not known */
    LR_NFC_MARK = 4,   /* from here on: this, plus 2 * a number that sorts by combining class, plus 1 if it may compose */
    LR_NFC_LOUD = 0x7E, /* one of these bits is set unless it is quiet */
    LR_NFC_KIND = 0x7F,
    LR_NFC_FIRST = 0x80 /* flag: something composes with it */
};

/* The kind bytes of 64 code points each, and which of these pages a code point's is, by cp >> 6. */
extern const uint8_t lr_nfc_second[];
extern const uint16_t lr_nfc_first[];

/* By a first byte's low six bits: 0x80 where a character that begins with it may not be quiet. */
extern const uint8_t lr_nfc_leads[];
/* The same by halves of a first byte: it may not be quiet where rows[high] & lows[low] is not 0; other bytes are. */
extern const uint8_t lr_nfc_rows[], lr_nfc_lows[];

static inline uint8_t lr_nfc_of(uint32_t cp) {
    return lr_nfc_second[(size_t)lr_nfc_first[cp >> 6] << 6 | (cp & 63)];
}

/* The bits of text[0, 64), or up to `left` > 0, where characters begin that are not quiet. The text may begin inside a
 * character, which is then none of these. */
typedef uint64_t (*lr_nfc_loud)(const uint8_t *text, size_t left);

uint64_t lr_nfc_loud_scalar(const uint8_t *text, size_t left);
/* Null where this is another kind of CPU, or one without what they need. */
lr_nfc_loud lr_nfc_loud_avx512(void);
lr_nfc_loud lr_nfc_loud_avx2(void);
lr_nfc_loud lr_nfc_loud_neon(void);

#endif
