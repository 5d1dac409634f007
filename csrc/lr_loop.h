/* lr_loop: generates text with libllama: prompts in, tokens and text out, several sequences in one batch.
 *
 * libllama comes as function pointers. Of its types only llama_batch's layout is known here; whoever fills the struct
 * has checked it. One thread works: it sits in lr_loop_work, or calls lr_loop_step, and alone calls libllama, but for
 * the abort callback. Any other thread may begin, read, cancel and end requests meanwhile.
 *
 * Owned: lr_loop_new allocates, lr_loop_free frees; context, vocabulary and memory of the groups are borrowed for as
 * long as the loop lives. Time is CLOCK_MONOTONIC, or api.now.
 *
 * A request holds one sequence from lr_loop_begin to lr_loop_end. What it leaves in the KV cache stays, and a later
 * request that begins with the same tokens goes on from there.
 */
#ifndef LR_LOOP_H
#define LR_LOOP_H

#include "lr_ledger.h"
#include "lr_meter.h"
#include "lr_sample.h"
#include "lr_status.h"
#include "lr_vocab.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* llama_batch of llama.h, passed by value. */
typedef struct lr_llama_batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
} lr_llama_batch;

typedef struct lr_loop_api {
    int32_t (*decode)(void *context, lr_llama_batch batch);
    float *(*get_logits_ith)(void *context, int32_t i);
    void *(*get_memory)(const void *context);
    bool (*seq_rm)(void *memory, int32_t seq, int32_t from, int32_t to);
    int32_t (*seq_pos_min)(void *memory, int32_t seq);
    void (*set_abort_callback)(void *context, bool (*callback)(void *), void *data);
    bool (*is_eog)(const void *vocab, int32_t token);
    uint64_t (*now)(void *data); /* ns of a steady clock; null: the system's */
    void *now_data;
} lr_loop_api;

typedef struct lr_loop_setup {
    lr_loop_api api;
    void *context;                 /* llama_context */
    const void *vocab;             /* llama_vocab, for is_eog */
    const lr_ledger_group *groups; /* of the KV cache; copied */
    uint32_t n_groups;
    uint32_t unified;
    uint32_t n_seq;                /* sequences */
    uint32_t n_ctx_seq;            /* tokens that one sequence can hold */
    uint32_t n_batch;              /* the most tokens of one decode */
    uint32_t n_vocab;              /* logits of one token */
    uint32_t n_swa;                /* the attention window of windowed layers; 0: none */
} lr_loop_setup;

typedef struct lr_loop_request {
    const int32_t *tokens;         /* the prompt; copied */
    uint32_t n_tokens;
    uint32_t max_tokens;           /* 0: the prompt is read and nothing is made */
    lr_sample_params sample;
    uint64_t seed;
    const lr_vocab *text;          /* borrowed until the end; null: no text is made, and stop strings are refused */
    const uint8_t *stops;          /* see lr_text_new */
    const uint32_t *stop_sizes;
    uint32_t n_stops;
    uint32_t keep;                 /* at most so many tokens of the cache are reused; 2^32 - 1: all that can be */
    bool ignore_eog;               /* end tokens end nothing */
    bool special;                  /* control tokens are text too */
} lr_loop_request;

typedef enum lr_loop_finish {
    LR_LOOP_RUNNING,
    LR_LOOP_EOG,       /* the model ended it */
    LR_LOOP_STOP,      /* a stop string */
    LR_LOOP_LENGTH,    /* max_tokens */
    LR_LOOP_CONTEXT,   /* the cache has no room for more */
    LR_LOOP_CANCELLED,
    LR_LOOP_DECODE,    /* libllama failed; `code` is what it answered */
    LR_LOOP_LOGITS,    /* libllama gave none, or only ones that are no numbers */
    LR_LOOP_MEMORY     /* no memory for the text */
} lr_loop_finish;

typedef struct lr_loop_state {
    int32_t finish;       /* lr_loop_finish */
    int32_t code;         /* libllama's last answer, with LR_LOOP_DECODE */
    uint32_t n_prompt;
    uint32_t n_kept;      /* prompt tokens that were in the cache already */
    uint32_t n_read;      /* prompt tokens in the cache now */
    uint32_t n_made;      /* tokens generated, an end token included */
    uint64_t began;       /* ns: work on the prompt began; 0: not yet */
    uint64_t read_at;     /* ns: the prompt was in; 0: not yet */
    uint64_t first_at;    /* ns: the first token */
    uint64_t last_at;     /* ns: the newest token */
} lr_loop_state;

typedef struct lr_loop lr_loop;

/* LR_E_ARGUMENT: null where it is not allowed, a count of 0, more sequences than 2^16. LR_E_OVERFLOW: as
 * lr_ledger_init. LR_E_MEMORY. */
lr_status lr_loop_new(const lr_loop_setup *setup, lr_loop **loop);

/* No thread may be in any other call. Null is fine. */
void lr_loop_free(lr_loop *loop);

/* Begins a request in the idle sequence whose cache it shares most with, and says which.
 * LR_AGAIN: none is idle. LR_FULL: the prompt is longer than a sequence. LR_E_ARGUMENT: an empty prompt, a token out
 * of range, parameters that lr_sample or lr_text_new refuse, stop strings without a vocabulary. LR_E_LIMIT: as
 * lr_text_new. LR_E_MEMORY. LR_END: the loop was closed. */
lr_status lr_loop_begin(lr_loop *loop, const lr_loop_request *request, uint32_t *seq);

/* Moves the text that has come to `out`, up to `room` bytes, and fills `state`. Without text it waits until there is
 * some, the request ends, more of the prompt was read than state->n_read says, or `patience` ns are over; with a room
 * of 0 it waits for text no more. Those who wait hear of text every 20 ms at most. *n bytes came; once state->finish says why it ended and *n is 0, there are no more.
 * LR_E_ARGUMENT: null, no such request. */
lr_status lr_loop_read(lr_loop *loop, uint32_t seq, uint8_t *out, size_t room, uint64_t patience, size_t *n,
                       lr_loop_state *state);

/* Copies the tokens generated so far, *n of them; the first `room` of them. LR_E_ARGUMENT: as lr_loop_read. */
lr_status lr_loop_ids(lr_loop *loop, uint32_t seq, int32_t *ids, size_t room, size_t *n);

/* Ends a running request within one token, or one part of a prompt; its text so far can be read. */
void lr_loop_cancel(lr_loop *loop, uint32_t seq);

/* Gives the sequence back. LR_AGAIN: it still runs. LR_E_ARGUMENT: no such request. */
lr_status lr_loop_end(lr_loop *loop, uint32_t seq);

/* One decode and what follows from it. LR_END: nothing is to be done. */
lr_status lr_loop_step(lr_loop *loop);

/* Works and waits for work until the loop is closed. It does not call libllama any more once it has returned: the
 * context may be freed then, the loop later, and what has come can still be read. */
void lr_loop_work(lr_loop *loop);

/* Cancels all requests, refuses new ones and lets lr_loop_work return. */
void lr_loop_close(lr_loop *loop);

/* The meter of a sequence's newest request; of all of them together for seq = 2^32 - 1: there one request is the time
 * between two rests. As lr_meter_read, at this moment. Any thread. */
lr_status lr_loop_meter(const lr_loop *loop, uint32_t seq, uint64_t window, lr_meter_reading *reading);

/* What the KV cache holds. Any thread. LR_AGAIN: a writer was in the way. */
lr_status lr_loop_ledger(const lr_loop *loop, lr_ledger_reading *reading);

/* Tokens of one sequence in the cache. */
uint64_t lr_loop_held(const lr_loop *loop, uint32_t seq);

#endif
