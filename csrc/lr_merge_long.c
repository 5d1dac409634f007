/* Merging long pieces in windows.
 *
 * Tokens t1 t2 ... are what a text merges to exactly when each two neighbours are what their own text merges to: the
 * first merge across a border would also be made without what lies around the two. So two encodings of texts that
 * overlap make one where they have a token in common: up to it the first one's tokens, behind it the second one's.
 * That holds for any merges. Where windows have no token in common, larger ones are tried, in the end the whole. */
#include "lr_tok_private.h"

#include <stdlib.h>

enum {
    STRIDE = 42,     /* the rest of a row is what windows have in common */
    GROUP = 32,      /* windows that are merged side by side */
    LARGE = 1024,    /* symbols in the least of the larger windows */
    PATIENCE = 64,   /* larger windows in a row before rows are tried again, at most */
    TRIES = 40
};

typedef struct lr_long {
    lr_tok_run *run;
    const uint32_t *symbols;
    const uint8_t *text;         /* the bytes that the symbols stand for, one each; or null */
    size_t n;
    lr_placed *chain;            /* the tokens of symbols[0, end) */
    size_t count, end;
    size_t base, next, windows;  /* a group: where its first window begins, the next to be merged, how many */
    lr_placed tokens[GROUP][LR_ROW_MAX];
    size_t counts[GROUP];
    lr_placed *large;            /* the tokens of the last larger window */
    size_t large_room, large_count, large_at, large_size;
    size_t limit;                /* of run->merged: from there on the whole is merged at once */
} lr_long;

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Goes on with the tokens of symbols[tokens->at, end). 0 when they have none in common with the chain, or lead no
 * further. */
static int join(lr_long *l, const lr_placed *tokens, size_t count, size_t end) {
    size_t i = l->count, k = 0;
    if (end <= l->end) return 0;
    while (i > 0 && l->chain[i - 1].at >= tokens[0].at) i--;
    if (tokens[0].at == 0) {
        l->count = 0;
    } else {
        for (;; i++, k++) {
            while (i < l->count && k < count && l->chain[i].at != tokens[k].at)
                if (l->chain[i].at < tokens[k].at) i++;
                else k++;
            if (i == l->count || k == count) return 0;
            const size_t here = i + 1 < l->count ? l->chain[i + 1].at : l->end;
            const size_t there = k + 1 < count ? tokens[k + 1].at : end;
            if (l->chain[i].symbol == tokens[k].symbol && here == there) break;
        }
        l->count = i + 1;
        k++;
    }
    memcpy(l->chain + l->count, tokens + k, (count - k) * sizeof *tokens);
    l->count += count - k;
    l->end = end;
    return 1;
}

/* Where the last token of the chain that leaves `back` symbols behind its start begins. */
static size_t start_before(const lr_long *l, size_t back) {
    size_t i = l->count;
    while (i > 0 && l->end - l->chain[i - 1].at < back) i--;
    return i ? l->chain[i - 1].at : 0;
}

static int next_row(void *owner, lr_row *row) {
    lr_long *l = owner;
    if (l->next == l->windows) return 0;
    const size_t at = l->base + l->next * STRIDE;
    row->n = (uint32_t)smaller(LR_ROW_MAX, l->n - at);
    row->tag = l->next++;
    if (l->text != NULL) return lr_bpe_row(l->run->vocab, l->text + at, row->n, row);
    memcpy(row->symbols + 1, l->symbols + at, row->n * sizeof *l->symbols);
    lr_row_look_up(l->run->vocab, row);
    return 1;
}

static void row_done(void *owner, const lr_row *row) {
    lr_long *l = owner;
    const size_t at = l->base + row->tag * STRIDE;
    size_t count = 0;
    for (uint64_t left = lr_row_tokens(row); left; left &= left - 1) {
        const unsigned place = (unsigned)__builtin_ctzll(left);
        l->tokens[row->tag][count++] = (lr_placed){(uint32_t)(at + place - 1), row->symbols[place]};
    }
    l->counts[row->tag] = count;
}

/* A group of windows. 0: one has no token in common with the one before. */
static int go_on_by_rows(lr_long *l) {
    l->base = start_before(l, LR_ROW_MAX - STRIDE);
    l->next = 0;
    l->windows = smaller(GROUP, 1 + (smaller(l->n - l->base, (size_t)1 << 20) + STRIDE - LR_ROW_MAX) / STRIDE);
    l->run->merged += l->windows * LR_ROW_MAX;
    const lr_rows rows = {l, next_row, row_done};
    lr_merge_rows(l->run->vocab, &rows);
    for (size_t k = 0; k < l->windows && l->end < l->n; k++)
        if (!join(l, l->tokens[k], l->counts[k], smaller(l->n, l->base + k * STRIDE + LR_ROW_MAX))) return 0;
    return 1;
}

/* Where to begin a window of `size` so that it holds what the last one held, if that can be: then it is merged. */
static size_t find_repeat(const lr_long *l, size_t size) {
    if (l->large_size != size) return SIZE_MAX;
    for (size_t i = l->count, tries = 0; i > 0 && tries < TRIES; i--) {
        const size_t at = l->chain[i - 1].at;
        if (l->end - at < size / 8) continue;
        if (l->end - at > size / 2) break;
        tries++;
        if (l->n - at >= size && memcmp(l->symbols + at, l->symbols + l->large_at, size * sizeof *l->symbols) == 0) return at;
    }
    return SIZE_MAX;
}

static lr_status merge_large(lr_long *l, size_t at, size_t size) {
    if (l->large_room < size) {
        free(l->large);
        l->large = malloc(size * sizeof *l->large);
        l->large_room = l->large == NULL ? 0 : size;
        if (l->large == NULL) return LR_E_MEMORY;
    }
    l->run->merged += size;
    l->large_at = at;
    l->large_size = size;
    const lr_status status = lr_heap_merge(l->run, l->symbols + at, size, l->large, &l->large_count);
    for (size_t i = 0; i < l->large_count && status == LR_OK; i++) l->large[i].at += (uint32_t)at;
    return status;
}

/* One larger window, or as much larger a one as it takes. */
static lr_status go_on_by_heap(lr_long *l) {
    for (size_t size = LARGE;; size *= 4) {
        const size_t repeat = find_repeat(l, size);
        if (repeat != SIZE_MAX) {
            for (size_t i = 0; i < l->large_count; i++) l->large[i].at += (uint32_t)(repeat - l->large_at);
            l->large_at = repeat;
        } else {
            const int all = l->run->merged > l->limit;
            const size_t at = all ? 0 : start_before(l, size / 4), length = all ? l->n : smaller(size, l->n - at);
            const lr_status status = merge_large(l, at, length);
            if (status != LR_OK) return status;
        }
        if (join(l, l->large, l->large_count, l->large_at + l->large_size)) return LR_OK;
    }
}

static lr_status merge_windows(lr_long *l) {
    size_t turns = 0, patience = 1;
    while (l->end < l->n) {
        if (lr_cancelled(l->run)) return LR_END;
        if (turns == 0) {
            if (go_on_by_rows(l)) {
                patience = 1;
                continue;
            }
            turns = patience;
            if (patience < PATIENCE) patience *= 2;
        }
        const lr_status status = go_on_by_heap(l);
        if (status != LR_OK) return status;
        turns--;
    }
    return LR_OK;
}

lr_status lr_long_merge(lr_tok_run *run, uint32_t *symbols, const uint8_t *text, size_t *n) {
    lr_long *l = malloc(sizeof *l);
    lr_placed *chain = malloc(*n * sizeof *chain);
    lr_status status = l == NULL || chain == NULL ? LR_E_MEMORY : LR_OK;
    if (status == LR_OK) {
        *l = (lr_long){.run = run, .symbols = symbols, .text = text, .n = *n, .chain = chain};
        l->limit = run->merged + 8 * *n + 16 * LARGE;
        status = merge_windows(l);
        free(l->large);
    }
    for (size_t i = 0; status == LR_OK && i < l->count; i++) symbols[i] = chain[i].symbol;
    if (status == LR_OK) *n = l->count;
    free(l);
    free(chain);
    return status;
}
