/* Merging symbols: always the pair of the lowest rank, of equal ones the leftmost. */
#include "lr_tok_private.h"

#include <stdlib.h>

/* The symbols of a long piece as a list, and a heap of its pairs by rank and place. */
typedef struct lr_link { uint32_t symbol, next, previous; lr_merge merge; } lr_link;

typedef struct lr_heap { uint64_t *items; size_t count; } lr_heap;

/* Eight children to a parent: one cache line a level, and few levels. */
enum { FAMILY = 8 };

static void sift_down(lr_heap *heap, size_t i) {
    const uint64_t item = heap->items[i];
    for (;;) {
        const size_t first = FAMILY * i + 1;
        if (first >= heap->count) break;
        const size_t last = heap->count - first < FAMILY ? heap->count : first + FAMILY;
        size_t child = first;
        for (size_t k = first + 1; k < last; k++)
            if (heap->items[k] < heap->items[child]) child = k;
        if (heap->items[child] >= item) break;
        heap->items[i] = heap->items[child];
        i = child;
    }
    heap->items[i] = item;
}

static void push(lr_heap *heap, uint64_t item) {
    size_t i = heap->count++;
    while (i > 0 && heap->items[(i - 1) / FAMILY] > item) {
        heap->items[i] = heap->items[(i - 1) / FAMILY];
        i = (i - 1) / FAMILY;
    }
    heap->items[i] = item;
}

static uint64_t pop(lr_heap *heap) {
    const uint64_t item = heap->items[0];
    heap->items[0] = heap->items[--heap->count];
    if (heap->count) sift_down(heap, 0);
    return item;
}

static void look_up(const lr_vocab *vocab, lr_link *links, lr_heap *heap, uint32_t at) {
    lr_link *link = &links[at];
    link->merge = lr_pairs_find(vocab, link->symbol, links[link->next].symbol);
    if (link->merge.rank != LR_NO_RANK) push(heap, (uint64_t)link->merge.rank << 32 | at);
}

/* links[0, n) in a row, links[n] closes it. Ranks that are out of date are known by not being the link's. */
static lr_status merge_many(lr_tok_run *run, lr_link *links, lr_heap *heap, uint32_t n) {
    for (size_t steps = 0; heap->count; steps++) {
        if ((steps & 0xffff) == 0xffff && lr_cancelled(run)) return LR_END;
        const uint64_t item = pop(heap);
        const uint32_t at = (uint32_t)item;
        lr_link *link = &links[at];
        if (link->merge.rank != (uint32_t)(item >> 32)) continue;
        const uint32_t gone = link->next, next = links[gone].next;
        link->symbol = (uint32_t)link->merge.id;
        link->next = next;
        link->merge.rank = LR_NO_RANK;
        links[gone].merge.rank = LR_NO_RANK;
        links[gone].symbol = LR_NO_RANK;
        links[next].previous = at;
        if (next < n) look_up(run->vocab, links, heap, at);
        if (at > 0) look_up(run->vocab, links, heap, link->previous);
    }
    return LR_OK;
}

lr_status lr_heap_merge(lr_tok_run *run, const uint32_t *symbols, size_t size, lr_placed *out, size_t *count) {
    const uint32_t n = (uint32_t)size;
    lr_link *links = malloc((n + (size_t)1) * sizeof *links);
    /* Each merge adds at most two entries for the one that it took. */
    lr_heap heap = {malloc((size_t)n * 2 * sizeof *heap.items), 0};
    lr_status status = links == NULL || heap.items == NULL ? LR_E_MEMORY : LR_OK;
    *count = 0;
    if (status == LR_OK) {
        for (uint32_t i = 0; i <= n; i++)
            links[i] = (lr_link){i < n ? symbols[i] : LR_NO_RANK, i + 1, i - 1, {LR_NO_RANK, -1}};
        for (uint32_t i = 0; i + 1 < n; i++) {
            links[i].merge = lr_pairs_find(run->vocab, symbols[i], symbols[i + 1]);
            if (links[i].merge.rank != LR_NO_RANK) heap.items[heap.count++] = (uint64_t)links[i].merge.rank << 32 | i;
        }
        for (size_t i = heap.count / FAMILY + 1; i-- > 0; )
            if (i < heap.count) sift_down(&heap, i);
        status = merge_many(run, links, &heap, n);
        for (uint32_t i = 0; i < n && status == LR_OK; i = links[i].next) out[(*count)++] = (lr_placed){i, links[i].symbol};
    }
    free(links);
    free(heap.items);
    return status;
}

/* The only row that there is. */
typedef struct lr_single { lr_row *row; uint32_t *symbols; size_t *n; } lr_single;

static int only_row(void *owner, lr_row *row) {
    lr_single *single = owner;
    if (single->row == NULL) return 0;
    *row = *single->row;
    single->row = NULL;
    return 1;
}

static void only_done(void *owner, const lr_row *row) {
    lr_single *single = owner;
    *single->n = 0;
    for (uint64_t left = lr_row_tokens(row); left; left &= left - 1)
        single->symbols[(*single->n)++] = row->symbols[__builtin_ctzll(left)];
}

static void merge_row(const lr_vocab *vocab, lr_row *row, uint32_t *symbols, size_t *n) {
    lr_single single = {row, symbols, n};
    const lr_rows rows = {&single, only_row, only_done};
    lr_merge_rows(vocab, &rows);
}

lr_status lr_symbols_merge(lr_tok_run *run, uint32_t *symbols, const uint8_t *text, size_t *n) {
    lr_row row;
    if (*n > LR_ROW_MAX) return lr_long_merge(run, symbols, text, n);
    if (*n == 0) return LR_OK;
    run->merged += *n;
    memcpy(row.symbols + 1, symbols, *n * sizeof *symbols);
    row.n = (uint32_t)*n;
    lr_row_look_up(run->vocab, &row);
    merge_row(run->vocab, &row, symbols, n);
    return LR_OK;
}

int lr_bpe_row(const lr_vocab *vocab, const uint8_t *text, size_t size, lr_row *row) {
    int32_t any = 0;
    if (size > LR_ROW_MAX) return 0;
    for (uint32_t i = 0; i < size; i++) {
        const int32_t id = vocab->byte_ids[text[i]];
        any |= id;
        row->symbols[i + 1] = (uint32_t)id;
        if (i + 1 < size) lr_row_set(row, i + 1, vocab->byte_pairs[(size_t)text[i] << 8 | text[i + 1]]);
    }
    row->n = (uint32_t)size;
    return any >= 0;
}

lr_status lr_bpe_merge(lr_tok_run *run, const uint8_t *text, size_t size, int32_t *ids, size_t *count) {
    const lr_vocab *vocab = run->vocab;
    uint32_t few[256], *symbols = size <= 256 ? few : malloc(size * sizeof *symbols);
    if (symbols == NULL) return LR_E_MEMORY;
    /* A byte that no token stands for is lost in either tokenizer; in llama.cpp its neighbours stay apart. */
    const int keep = vocab->rules == LR_RULES_LLAMA_CPP;
    size_t n = 0, known = 0;
    for (size_t i = 0; i < size; i++) {
        const int32_t id = vocab->byte_ids[text[i]];
        known += id >= 0;
        if (keep || id >= 0) symbols[n++] = (uint32_t)id;
    }
    const lr_status status = lr_symbols_merge(run, symbols, known == size ? text : NULL, &n);
    *count = 0;
    for (size_t i = 0; i < n && status == LR_OK; i++)
        if (symbols[i] != LR_NO_RANK) ids[(*count)++] = (int32_t)symbols[i];
    if (symbols != few) free(symbols);
    return status;
}
