#include "lr_ledger.h"

#include <stdbool.h>
#include <stddef.h>

/* Cells that a sequence of so many tokens takes in a group. */
static uint64_t held(const lr_ledger_group *group, uint64_t tokens) {
    if (group->kind == LR_LEDGER_WINDOW) return tokens < group->window ? tokens : group->window;
    if (group->kind == LR_LEDGER_CHUNK) return tokens == 0 ? 0 : (tokens - 1) % group->window + 1;
    return tokens;
}

static uint64_t streams(const lr_ledger *l) {
    return l->unified ? 1 : l->n_seq;
}

/* Whether bytes, and so all their parts, stay below 2^63. */
static bool add_capacity(uint64_t *sum, const lr_ledger_group *group, uint64_t n) {
    uint64_t most = (uint64_t)INT64_MAX;
    if (group->cells == 0 || group->row_bytes == 0) return true;
    if (group->cells > most / n || group->row_bytes > (most - *sum) / (group->cells * n)) return false;
    *sum += group->cells * n * group->row_bytes;
    return true;
}

lr_status lr_ledger_init(lr_ledger *l, const lr_ledger_group *groups, uint32_t n_groups, uint64_t *used,
                         uint32_t n_seq, uint32_t unified) {
    if (l == NULL || groups == NULL || used == NULL || n_seq == 0) return LR_E_ARGUMENT;
    if (n_groups == 0 || n_groups > LR_LEDGER_GROUPS) return LR_E_ARGUMENT;
    uint64_t capacity = 0;
    *l = (lr_ledger){.used = used, .cells = UINT64_MAX, .n_groups = n_groups, .n_seq = n_seq, .unified = unified};
    for (uint32_t i = 0; i < n_groups; i++) {
        if (groups[i].kind > LR_LEDGER_CHUNK) return LR_E_ARGUMENT;
        if (groups[i].kind != LR_LEDGER_FULL && groups[i].window == 0) return LR_E_ARGUMENT;
        if (!add_capacity(&capacity, &groups[i], streams(l))) return LR_E_OVERFLOW;
        if (groups[i].kind == LR_LEDGER_FULL && groups[i].cells < l->cells) l->cells = groups[i].cells;
        l->groups[i] = groups[i];
    }
    for (uint32_t seq = 0; seq < n_seq; seq++) used[seq] = 0;
    return LR_OK;
}

lr_status lr_ledger_until_full(const lr_ledger *l, uint32_t seq, uint64_t *tokens) {
    if (l == NULL || tokens == NULL || seq >= l->n_seq) return LR_E_ARGUMENT;
    *tokens = l->cells - (l->unified ? l->tokens : l->used[seq]);
    return LR_OK;
}

lr_status lr_ledger_set(lr_ledger *l, uint32_t seq, uint64_t n) {
    if (l == NULL || seq >= l->n_seq) return LR_E_ARGUMENT;
    uint64_t others = l->tokens - l->used[seq];
    if (n > l->cells - (l->unified ? others : 0) || n > UINT64_MAX - others) return LR_FULL;
    l->used[seq] = n;
    l->tokens = others + n;
    if (l->tokens > l->high_water) l->high_water = l->tokens;
    return LR_OK;
}

lr_status lr_ledger_add(lr_ledger *l, uint32_t seq, uint64_t n) {
    if (l == NULL || seq >= l->n_seq) return LR_E_ARGUMENT;
    if (n > UINT64_MAX - l->used[seq]) return LR_FULL;
    return lr_ledger_set(l, seq, l->used[seq] + n);
}

/* Tokens in front of `from` that a group needs to go on from there and has already let go. A window slides with
 * the newest token; a chunk's keys go when the next chunk begins. */
static uint64_t missing(const lr_ledger_group *group, uint64_t used, uint64_t from) {
    uint64_t first_held = used - held(group, used), first_needed = from - held(group, from);
    uint64_t end = first_held < from ? first_held : from;
    return end > first_needed ? end - first_needed : 0;
}

lr_status lr_ledger_remove(lr_ledger *l, uint32_t seq, uint64_t from, uint64_t to, lr_ledger_freed *freed) {
    if (l == NULL || seq >= l->n_seq || from > to) return LR_E_ARGUMENT;
    uint64_t used = l->used[seq];
    if (to > used) to = used;
    if (from > used) from = used;
    uint64_t left = used - (to - from);
    lr_ledger_freed gone = {.tokens = to - from};
    for (uint32_t i = 0; i < l->n_groups; i++) {
        const lr_ledger_group *group = &l->groups[i];
        uint64_t before = held(group, used), after = held(group, left);
        /* A shorter sequence may hold more of a chunk: those cells would have to be computed again. */
        if (before > after) gone.bytes += (before - after) * group->row_bytes;
        uint64_t again = to == used && from < to ? missing(group, used, from) : 0;
        if (again > gone.recompute) gone.recompute = again;
    }
    l->used[seq] = left;
    l->tokens -= gone.tokens;
    if (freed != NULL) *freed = gone;
    return LR_OK;
}

lr_status lr_ledger_read(const lr_ledger *l, lr_ledger_reading *r) {
    if (l == NULL || r == NULL) return LR_E_ARGUMENT;
    *r = (lr_ledger_reading){.tokens = l->tokens, .high_water = l->high_water, .until_full = l->cells};
    for (uint32_t seq = 0; seq < l->n_seq; seq++) {
        uint64_t left = l->cells - (l->unified ? l->tokens : l->used[seq]);
        if (left < r->until_full) r->until_full = left;
        for (uint32_t i = 0; i < l->n_groups; i++) r->group_cells[i] += held(&l->groups[i], l->used[seq]);
    }
    for (uint32_t i = 0; i < l->n_groups; i++) {
        const lr_ledger_group *group = &l->groups[i];
        uint64_t most = group->cells * streams(l);
        if (r->group_cells[i] > most) r->group_cells[i] = most;
        r->group_bytes[i] = r->group_cells[i] * group->row_bytes;
        r->bytes += r->group_bytes[i];
        r->bytes_capacity += most * group->row_bytes;
    }
    return LR_OK;
}
