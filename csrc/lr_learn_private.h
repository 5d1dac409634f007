/* lr_learn: pieces in batches, for text that a run has mostly not seen. */
#ifndef LR_LEARN_PRIVATE_H
#define LR_LEARN_PRIVATE_H

#include "lr_merging_private.h"
#include "lr_tok_private.h"

enum { LR_BATCH = 512, LR_BATCH_ROOM = LR_BATCH + LR_WINDOW };

typedef struct lr_batch {
    const uint8_t *text;
    size_t readable;          /* bytes from text on */
    size_t count;
    uint32_t ends[LR_BATCH_ROOM];  /* of the pieces: each begins where the one before ends, the first at 0 */
    lr_key keys[LR_BATCH_ROOM];
    size_t news;              /* how many pieces were new: lr_batch_put counts them */
} lr_batch;

static inline size_t lr_batch_start(const lr_batch *batch, size_t i) {
    return i ? batch->ends[i - 1] : 0;
}

/* Encodes the pieces; *done: the bytes of those put. LR_FULL with sink->need when the next may not fit. */
lr_status lr_batch_put(lr_tok_run *run, lr_batch *batch, size_t *done, lr_sink *sink);

#endif
