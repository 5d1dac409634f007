/* lr_unicode: UTF-8 and the character classes that pre-tokenizers tell apart. Unicode 16; nothing is allocated.
 * Borrowed: all bytes. */
#ifndef LR_UNICODE_H
#define LR_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* The length of the longest prefix that is well-formed UTF-8: == size when all of it is. Surrogates are not. */
size_t lr_utf8_valid(const uint8_t *text, size_t size);

/* Rewrites text as llama.cpp reads it: each byte that begins no character becomes U+FFFD; overlong forms are read
 * as what they mean; surrogates stay. Returns the bytes written, at most 3 * size; out may be null to ask. */
size_t lr_utf8_llama(const uint8_t *text, size_t size, uint8_t *out);

/* The class byte of a code point: see lr_unicode_private.h; for tests. */
int lr_unicode_class(uint32_t cp);

#endif
