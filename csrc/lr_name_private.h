/* lr_name: what a key or a tensor name must be: UTF-8, and findable in a table. For C only. */
#ifndef LR_NAME_PRIVATE_H
#define LR_NAME_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

/* Whether these n bytes are UTF-8: no overlong form, no surrogate, nothing above U+10FFFF. */
bool lr_name_utf8(const uint8_t *p, uint64_t n);

/* SipHash-1-3 of n bytes: no file can be made to collide for a seed that it does not know. */
uint64_t lr_name_hash(uint64_t seed, const uint8_t *p, uint64_t n);

#endif
