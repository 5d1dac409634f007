/* Finding special tokens in text: leftmost first, and of several at one place the longest. */
#include "lr_vocab_private.h"

#include <stdlib.h>

typedef struct lr_sorted { const uint8_t *text; uint32_t size; int32_t id; } lr_sorted;

static int by_text(const void *a, const void *b) {
    const lr_sorted *x = a, *y = b;
    const uint32_t least = x->size < y->size ? x->size : y->size;
    const int order = memcmp(x->text, y->text, least);
    if (order != 0) return order;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static int kind_of(const lr_vocab *vocab, int32_t id) {
    const uint8_t type = vocab->types[id];
    return type == LR_TOKEN_USER_DEFINED ? 2 : type == LR_TOKEN_CONTROL || type == LR_TOKEN_UNKNOWN ? 1 : 0;
}

int lr_special_can_be_found(const lr_vocab *vocab, uint32_t id) {
    const size_t size = vocab->starts[id + 1] - vocab->starts[id];
    return lr_utf8_valid(vocab->bytes + vocab->starts[id], size) == size;
}

lr_status lr_vocab_sort_specials(lr_vocab *vocab) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < vocab->count; i++) count += kind_of(vocab, (int32_t)i) != 0;
    if (count == 0) return LR_OK;
    lr_sorted *sorted = malloc(count * sizeof *sorted);
    vocab->specials = malloc(count * sizeof *vocab->specials);
    if (sorted == NULL || vocab->specials == NULL) {
        free(sorted);
        return LR_E_MEMORY;
    }
    for (uint32_t i = 0; i < vocab->count; i++) {
        const int kind = kind_of(vocab, (int32_t)i);
        if (kind == 0 || !lr_special_can_be_found(vocab, i)) continue;
        const uint8_t *text = vocab->bytes + vocab->starts[i];
        sorted[vocab->special_count++] = (lr_sorted){text, vocab->starts[i + 1] - vocab->starts[i], (int32_t)i};
        vocab->special_first[text[0]] |= (uint8_t)kind;
    }
    qsort(sorted, vocab->special_count, sizeof *sorted, by_text);
    for (uint32_t i = 0; i < vocab->special_count; i++) vocab->specials[i] = sorted[i].id;
    free(sorted);
    return LR_OK;
}

static size_t length_of(const lr_vocab *vocab, int32_t id) {
    return vocab->starts[id + 1] - vocab->starts[id];
}

/* Of the specials [*low, *high), which agree up to `depth`, those that go on with `c`. */
static void narrow(const lr_vocab *vocab, size_t depth, uint8_t c, uint32_t *low, uint32_t *high) {
    uint32_t bounds[2];
    for (int side = 0; side < 2; side++) {
        uint32_t a = *low, b = *high;
        while (a < b) {
            const uint32_t middle = a + (b - a) / 2;
            const int32_t id = vocab->specials[middle];
            const int there = length_of(vocab, id) <= depth ? -1 : vocab->bytes[vocab->starts[id] + depth];
            if (there < c + side) a = middle + 1;
            else b = middle;
        }
        bounds[side] = a;
    }
    *low = bounds[0];
    *high = bounds[1];
}

/* The longest special token at text[0, size), or -1. */
static int32_t longest(const lr_vocab *vocab, const uint8_t *text, size_t size, int wanted) {
    uint32_t low = 0, high = vocab->special_count;
    int32_t best = -1;
    for (size_t depth = 0; depth < size && low < high; depth++) {
        narrow(vocab, depth, text[depth], &low, &high);
        if (low == high) break;
        /* A token that ends here sorts before those that go on. */
        const int32_t id = vocab->specials[low];
        if (length_of(vocab, id) == depth + 1 && (kind_of(vocab, id) & wanted)) best = id;
    }
    return best;
}

lr_status lr_special_find(const lr_vocab *vocab, const uint8_t *text, size_t from, size_t size, int special,
                          size_t *start, size_t *end, int32_t *id) {
    const int wanted = special < 0 ? 0 : special ? 3 : 2;
    int firsts = 0, only = 0;
    for (int i = 0; i < 256; i++)
        if (vocab->special_first[i] & wanted) firsts++, only = i;
    if (firsts == 0) return LR_END;
    for (size_t p = from; p < size; p++) {
        if (firsts == 1) {
            const uint8_t *next = memchr(text + p, only, size - p);
            if (next == NULL) return LR_END;
            p = (size_t)(next - text);
        } else if (!(vocab->special_first[text[p]] & wanted)) {
            continue;
        }
        const int32_t found = longest(vocab, text + p, size - p, wanted);
        if (found < 0) continue;
        *start = p;
        *end = p + length_of(vocab, found);
        *id = found;
        return LR_OK;
    }
    return LR_END;
}

lr_status lr_special_at(const lr_vocab *vocab, uint32_t index, int32_t *id) {
    if (index >= vocab->special_count) return LR_END;
    *id = vocab->specials[index];
    return LR_OK;
}
