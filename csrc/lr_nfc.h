/* lr_nfc: where text is not in Unicode's normal form C. Nothing is allocated. Borrowed: all bytes. */
#ifndef LR_NFC_H
#define LR_NFC_H

#include <stddef.h>
#include <stdint.h>

/* Finds the stretches of text[*at, size), well-formed UTF-8, that may not be in that form; what is outside them is, and
 * they can be normalized one by one. Writes where each begins and ends, 2 * room places, and returns how many; *at
 * becomes where to go on: size when all was looked at. *at is 0 or what the call before left; room > 0.
 * `tier` names a kind of CPU ("avx512", "avx2", "neon", "scalar"), null for the best here. */
size_t lr_nfc_spans(const uint8_t *text, size_t size, size_t *at, size_t *places, size_t room, const char *tier);

#endif
