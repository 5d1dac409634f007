/* lr_tok: text to token ids.
 *
 * A run is one thread's part: its cache of pieces seen, its scratch, its place in the text. Owned: lr_tok_run_new
 * allocates and lr_tok_run_free frees it; the vocabulary must outlive it. Encoding allocates for the cache, up to
 * LR_TOK_CACHE entries and LR_TOK_ARENA bytes, and for pieces of more than some hundred bytes while they last.
 * Time is linear in the text; n log n for a long piece that no window can encode a part of.
 */
#ifndef LR_TOK_H
#define LR_TOK_H

#include "lr_vocab.h"

enum {
    LR_TOK_CACHE = 1 << 19,     /* pieces remembered; then all are forgotten */
    LR_TOK_ARENA = 1 << 26,     /* or so many bytes of long ones and their ids */
    LR_TOK_PIECE_MAX = 1 << 29, /* bytes of one piece */
    LR_TOK_ROOM = 4096          /* the least room that makes sense */
};

typedef struct lr_tok_run lr_tok_run;

/* LR_E_MEMORY. */
lr_status lr_tok_run_new(const lr_vocab *vocab, lr_tok_run **run);

/* Null is fine. */
void lr_tok_run_free(lr_tok_run *run);

/* Encodes text[*at .. size), which is well-formed UTF-8 or what lr_utf8_llama made (of an SPM
 * vocabulary by llama.cpp's rules: any bytes). *at must be 0 for a new text,
 * afterwards what the call before left. Each call begins ids anew and says in *count how many it wrote. `special`
 * is lr_special_find's.
 * LR_OK: all of it. LR_FULL: more is to come, or, when *count is 0, the next piece needs up to *need ids.
 * LR_END: cancelled. LR_E_LIMIT: a piece of more than LR_TOK_PIECE_MAX bytes. LR_E_MEMORY, LR_E_ARGUMENT. */
lr_status lr_tok_encode(lr_tok_run *run, const uint8_t *text, size_t size, int special, size_t *at, int32_t *ids,
                        size_t room, size_t *count, size_t *need);

/* Makes the encoding under way in another thread end soon, with LR_END; one that has not begun yet too. */
void lr_tok_cancel(lr_tok_run *run);

/* Makes the run use the instructions of this name ("avx512", "avx2", "neon", "scalar") if the CPU has them, else the
 * plain ones; null changes nothing. Returns the name of those in use. The ids are the same. */
const char *lr_tok_tier(lr_tok_run *run, const char *name);

#endif
