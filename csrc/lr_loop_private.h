/* The loop's inside, shared by its files: lr_loop.c has requests come and go, lr_loop_read.c tells what comes of them,
 * lr_loop_step.c is what the worker does. */
#ifndef LR_LOOP_PRIVATE_H
#define LR_LOOP_PRIVATE_H

#include "lr_loop.h"
#include "lr_text.h"

#include <pthread.h>
#include <stdatomic.h>

typedef enum { IDLE, QUEUED, ACTIVE, DONE } phase;

/* A sequence and its request. It is the worker's while it is QUEUED or ACTIVE, and changes under the mutex otherwise.
 * What is marked with a lock changes under the mutex always, so that others may look. */
typedef struct {
    phase phase;         /* lock */
    bool cancelled;      /* lock */
    lr_loop_state state; /* lock */
    lr_text *text;       /* lock */
    int32_t *tokens;     /* lock: those in the cache, then those that are to come in; room for n_ctx_seq + 1 */
    uint32_t n_tokens;   /* lock */
    uint32_t n_cached;   /* tokens[0 .. n_cached) are in the cache; of a QUEUED one tokens[0 .. shared) */
    uint32_t shared;
    uint32_t max_tokens;
    bool ignore_eog, special;
    const lr_vocab *vocab;
    lr_sample_params sample;
    uint64_t chance;
    lr_meter *meter;
    bool working;        /* the worker's own: ACTIVE, as it may see it without the mutex */
    uint32_t in_batch;   /* tokens, in this step */
    int32_t logits_at;   /* the place in the batch whose logits are due; -1: none are */
} slot;

struct lr_loop {
    lr_loop_setup setup;
    lr_ledger_group groups[LR_LEDGER_GROUPS];
    pthread_mutex_t mutex;
    pthread_cond_t work;  /* for the worker */
    pthread_cond_t news;  /* for readers */
    uint32_t readers;     /* waiting for anything; lock */
    uint32_t listeners;   /* those of them who wait for text; lock */
    bool closed;          /* lock */
    atomic_bool abort;
    bool hooked;          /* libllama has our abort callback */
    slot *slots;
    int32_t *ids;         /* 0, 1, 2 ...: what a batch's seq_id points to */
    uint64_t *used;       /* the ledger's */
    lr_ledger ledger;     /* the worker's */
    _Atomic uint64_t *held; /* what others see of the ledger: tokens by sequence, then the high water mark */
    _Atomic uint64_t turn;  /* odd while `held` is written */
    lr_meter *meter;      /* of all requests together */
    uint64_t told;        /* ns: when readers last heard of text */
    uint32_t aborts;      /* decodes in a row that ended for no reason of ours */
    lr_llama_batch batch;
    lr_candidate *scratch;
    uint8_t *piece;       /* of one token */
    uint64_t steps;
};

enum { LR_PIECE = 1 << 16 };

uint64_t lr_loop_now(const lr_loop *loop);

/* The sequence of this number; null: there is none, or no loop. */
slot *lr_loop_slot(lr_loop *loop, uint32_t seq);

/* Takes our abort callback out of libllama. */
void lr_loop_unhook(lr_loop *loop);

/* Shows others what the ledger holds. */
void lr_loop_publish(lr_loop *loop);

#endif
