/* lr_vocab: a model's vocabulary, ready to encode and decode.
 *
 * Owned: lr_vocab_new copies all that it needs; lr_vocab_free gives it back. Afterwards it never changes in a way
 * that shows, so any number of threads may share one.
 */
#ifndef LR_VOCAB_H
#define LR_VOCAB_H

#include "lr_split.h"
#include "lr_status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lr_vocab lr_vocab;

typedef enum lr_vocab_kind {
    LR_VOCAB_MERGES, /* byte-level BPE by a list of merges: Hugging Face's, GGUF's */
    LR_VOCAB_RANKS,  /* byte-level BPE by the tokens' own order: tiktoken's */
    LR_VOCAB_SPM     /* SentencePiece BPE by scores */
} lr_vocab_kind;

/* llama.cpp's numbers. */
typedef enum lr_token_type {
    LR_TOKEN_NORMAL = 1,
    LR_TOKEN_UNKNOWN = 2,
    LR_TOKEN_CONTROL = 3,      /* found in text only when asked for */
    LR_TOKEN_USER_DEFINED = 4, /* found in text always, before all else */
    LR_TOKEN_UNUSED = 5,
    LR_TOKEN_BYTE = 6
} lr_token_type;

typedef enum lr_vocab_fault {
    LR_VOCAB_FINE,
    LR_VOCAB_EMPTY,         /* no tokens at all */
    LR_VOCAB_MANY,          /* more than LR_VOCAB_MAX tokens or merges */
    LR_VOCAB_TOKEN_CUT,     /* the token's bytes end early */
    LR_VOCAB_TOKEN_EMPTY,
    LR_VOCAB_TOKEN_LONG,    /* more than LR_VOCAB_TOKEN_MAX bytes */
    LR_VOCAB_TOKEN_TWICE,
    LR_VOCAB_NO_MERGES,
    LR_VOCAB_MERGE_CUT,     /* the merge's bytes end early */
    LR_VOCAB_MERGE_HALF,    /* a merge without its space, or with an empty half */
    LR_VOCAB_MERGE_UNKNOWN, /* a merge of, or into, what is no token */
    LR_VOCAB_NO_BYTES,      /* neither all letters nor byte tokens to fall back to */
    LR_VOCAB_FAULTS
} lr_vocab_fault;

enum { LR_VOCAB_MAX = 1 << 24, LR_VOCAB_TOKEN_MAX = 65535 };

/* Strings lie one behind the other, as in GGUF: their length in 8 bytes, little-endian, then their bytes. */
typedef struct lr_vocab_source {
    /* in, borrowed for the call */
    const uint8_t *tokens;
    uint64_t tokens_size; /* bytes */
    uint64_t count;
    const uint8_t *types; /* lr_token_type, `count` of them; null: all are normal */
    const void *scores;   /* LR_VOCAB_SPM: `count` floats, anywhere in memory */
    const uint8_t *merges; /* LR_VOCAB_MERGES: "left right" */
    uint64_t merges_size;
    uint64_t merge_count;
    int32_t kind;          /* lr_vocab_kind */
    int32_t pre;           /* lr_pre; not for SPM */
    int32_t rules;         /* lr_rules */
    int32_t letters;       /* normal tokens and merges are spelled in GPT-2's printable letters for bytes */
    int32_t ignore_merges; /* a piece that is a token is that token, whatever the merges say */
    int32_t space_prefix;  /* SPM: text begins with a space that is not there */
    /* out, with LR_E_FORMAT */
    int32_t fault;         /* lr_vocab_fault */
    uint64_t index;        /* of the token or the merge */
} lr_vocab_source;

/* LR_OK: *vocab is to be freed. LR_E_FORMAT: source->fault and index say why. LR_E_ARGUMENT, LR_E_MEMORY. */
lr_status lr_vocab_new(lr_vocab_source *source, lr_vocab **vocab);

/* Null is fine. */
void lr_vocab_free(lr_vocab *vocab);

/* How many tokens it has. */
uint32_t lr_vocab_count(const lr_vocab *vocab);

/* A few words for a fault, never null; static storage. */
const char *lr_vocab_fault_text(int fault);

/* The bytes that a token stands for: borrowed from the vocabulary. LR_E_ARGUMENT: no such token. */
lr_status lr_vocab_token(const lr_vocab *vocab, int32_t id, const uint8_t **bytes, size_t *size);

/* Joins the bytes of `count` tokens; those of control tokens only with `special`. Always *size: what is needed.
 * LR_FULL: `room` was too small and out is not whole. LR_E_ARGUMENT: an id out of range, *size says which. */
lr_status lr_vocab_decode(const lr_vocab *vocab, const int32_t *ids, size_t count, int special, uint8_t *out,
                          size_t room, size_t *size);

/* The first special token in text[from .. size): LR_OK, its place and id; LR_END when there is none. Of several at one
 * place the longest. Control tokens count with special > 0, user-defined ones unless special < 0. */
lr_status lr_special_find(const lr_vocab *vocab, const uint8_t *text, size_t from, size_t size, int special,
                          size_t *start, size_t *end, int32_t *id);

/* The special token number `index` in the order of their texts. LR_END: there are no more. */
lr_status lr_special_at(const lr_vocab *vocab, uint32_t index, int32_t *id);

#endif
