/* lr_membw: how fast this machine's RAM can be read, by reading it.
 *
 * Allocates its buffer and frees it; borrows nothing. Not for Windows (threads are POSIX).
 */
#ifndef LR_MEMBW_H
#define LR_MEMBW_H

#include "lr_status.h"

#include <stdint.h>

enum { LR_MEMBW_THREADS = 256, LR_MEMBW_PASSES = 1000 };

/* Reads `bytes` (far more than the last cache holds) with `threads` threads, each its share, at most `passes`
 * times, and after the first pass only until `budget_ns` have gone by since the call. Where half of that
 * goes by before the buffer is filled, only what is filled is read. The best pass counts: others have used the
 * machine during the rest.
 * LR_E_ARGUMENT: threads, passes 0 or over the limits above, less than 64 KiB a thread. LR_E_MEMORY: no memory,
 * no thread. LR_E_UNSUPPORTED: no POSIX threads here. */
lr_status lr_membw_read(uint32_t threads, uint64_t bytes, uint32_t passes, uint64_t budget_ns,
                        uint64_t *bytes_per_second);

#endif
