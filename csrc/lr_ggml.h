/* lr_ggml: ggml's tensor types: names, block sizes, bytes of a row. Values only, nothing is borrowed.
 *
 * Numbers as in ggml.h of llama.cpp at commit 0c1e57098; holes are types that were removed there.
 */
#ifndef LR_GGML_H
#define LR_GGML_H

#include "lr_status.h"

#include <stdint.h>

enum { LR_GGML_TYPES = 43 };

/* "Q4_K" for 12; null for a hole or a number that ggml does not know. Static storage. */
const char *lr_ggml_type_name(uint32_t type);

/* Elements in a block, and the bytes of one; 0 for a type that does not exist. */
uint32_t lr_ggml_block_elements(uint32_t type);
uint32_t lr_ggml_block_bytes(uint32_t type);

/* Bytes of `elements` in a row. LR_E_UNSUPPORTED: no such type. LR_E_ARGUMENT: not a whole number of blocks.
 * LR_E_OVERFLOW: over 2^63 - 1. */
lr_status lr_ggml_row_bytes(uint32_t type, uint64_t elements, uint64_t *bytes);

#endif
