/* lr_tok_private: a run, and the parts of encoding. */
#ifndef LR_TOK_PRIVATE_H
#define LR_TOK_PRIVATE_H

#include "lr_merging_private.h"
#include "lr_scan_private.h"
#include "lr_tok.h"
#include "lr_vocab_private.h"

struct lr_tok_run {
    const lr_vocab *vocab;
    lr_words cache;
    lr_split_state split;
    const lr_tier *tier;
    size_t segment_end;  /* where the next special token begins, or the text ends */
    size_t special_end;  /* where it ends */
    int32_t special_id;  /* -1: none follows */
    int32_t prefix;      /* SPM: a space belongs before the text at hand */
    int32_t malformed;   /* SPM by llama.cpp's rules: the text at hand is not UTF-8 */
    int32_t cancelled;   /* atomic */
    size_t merged;       /* symbols that long pieces were merged from so far, each as often as it was taken up */
};

/* Where ids go. */
typedef struct lr_sink {
    int32_t *ids;
    size_t room, count, need;
} lr_sink;

static inline int lr_cancelled(lr_tok_run *run) {
    return __atomic_load_n(&run->cancelled, __ATOMIC_RELAXED) != 0;
}

/* Merges one piece by the vocabulary's pairs, without looking for it anywhere. `ids` has room for `size`.
 * LR_OK, LR_E_MEMORY, LR_END. */
lr_status lr_bpe_merge(lr_tok_run *run, const uint8_t *text, size_t size, int32_t *ids, size_t *count);

/* The same on symbols: what merges are tried on, n of them, replaced by the tokens that they become. `text`: the bytes
 * that they stand for, one each; or null. */
lr_status lr_symbols_merge(lr_tok_run *run, uint32_t *symbols, const uint8_t *text, size_t *n);

/* lr_symbols_merge for more than fit a row. */
lr_status lr_long_merge(lr_tok_run *run, uint32_t *symbols, const uint8_t *text, size_t *n);

/* A token and the number of the symbol at which it begins. */
typedef struct lr_placed { uint32_t at, symbol; } lr_placed;

/* Any number of symbols at once, n log n: `out` has room for as many tokens. LR_OK, LR_E_MEMORY, LR_END. */
lr_status lr_heap_merge(lr_tok_run *run, const uint32_t *symbols, size_t size, lr_placed *out, size_t *count);

/* Encodes text[*at, end) in pieces. LR_FULL with sink->need when the next piece may not fit. */
lr_status lr_bpe_encode(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink);
lr_status lr_spm_encode(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink);

/* lr_bpe_encode for text of pieces that the run has not seen, until they become rare. The split stands at *at or
 * before. */
lr_status lr_bpe_learn(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink);

/* A piece as a row to be merged, or 0 where it cannot be one: it is too long, or holds bytes without a token. */
int lr_bpe_row(const lr_vocab *vocab, const uint8_t *text, size_t size, lr_row *row);
int lr_spm_row(const lr_vocab *vocab, const uint8_t *text, size_t size, lr_row *row);

/* Text that is not UTF-8, as llama.cpp reads it: all of it as one piece. */
lr_status lr_spm_encode_malformed(lr_tok_run *run, const uint8_t *text, size_t *at, size_t end, lr_sink *sink);

/* The symbol of a character: its token, or a number behind the tokens when some token begins or ends with it, or
 * LR_NO_RANK. */
uint32_t lr_spm_symbol(const lr_vocab *vocab, const uint8_t *text, size_t size);

/* Merges one piece by the vocabulary's pairs. `ids` has room for `size`. */
lr_status lr_spm_merge(lr_tok_run *run, const uint8_t *text, size_t size, int32_t *ids, size_t *count);

/* What the symbols became, as ids: tokens as they are, characters that are none by their bytes. Returns how many. */
size_t lr_spm_spell(const lr_vocab *vocab, const uint32_t *symbols, size_t n, const uint8_t *text, size_t size,
                    int32_t *ids);

/* Writes the tokens of single bytes to ids[used] on; bytes without one together become one unknown. */
size_t lr_spm_bytes(const lr_vocab *vocab, const uint8_t *text, size_t size, int32_t *ids, size_t used);

/* Remembers what a piece encodes to; does nothing when it cannot. */
void lr_tok_remember(lr_tok_run *run, const lr_key *key, const uint8_t *text, size_t size, const int32_t *ids,
                     size_t count);

#endif
